"""tokenizer/bottleneck: the same network as the published one, its axes, what fits them, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component, save_component
from omnikit.errors import OmnikitError, UnknownName
from omnikit.tokenizers.bottleneck import BottleneckTokenizer
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio

SPIRAL: dict[str, Any] = {
    "num_mels": 16,
    "widths": [8, 12, 16, 12],
    "layers": [1, 1],
    "heads": [2, 3],
    "ffn_ratio": 2,
    "position": [8, 4],
    "dropout": 0.0,
    "layer_drop": 0.0,
}
HEADS: dict[str, Any] = {"num_classes": 6, "dim": 8, "num_mels": 10}
HUBERT: dict[str, Any] = {"dim": 16, "layers": 1, "heads": 2, "ffn_dim": 24, "conv_dim": 8}
SMALL: dict[str, Any] = {
    "spiral": SPIRAL,
    "hf": HUBERT,
    "fsq": {"levels": [4, 4]},
    "vq": {"num_units": 16, "dim": 3},
    "continuous": {"num_units": 16, "dim": 5},
    "heads": HEADS,
    "reduced": False,
}
SUPERVISIONS = (
    ["ctc_phone"],
    ["ctc_char"],
    ["mel_reconstruction"],
    ["ctc_phone", "mel_reconstruction"],
    ["ctc_char", "mel_reconstruction"],
)


def tokenizer(**changes: Any) -> BottleneckTokenizer:
    torch.manual_seed(3)
    return BottleneckTokenizer(**{**SMALL, **changes})


def speech(*lengths: int) -> Audio:
    wave = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(0))
    envelope = torch.sin(torch.arange(max(lengths)) / 900.0).square()
    return Audio(0.3 * wave * envelope, torch.tensor(lengths), 16_000)


LABELS = (torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.tensor([3, 2]))


def test_the_published_tokenizer_is_one_point_of_it() -> None:
    flat = {"levels": [4, 4], "num_phones": 6, "decoder_dim": 8, "auxiliary_ctc": 0.3, "reduced": False}
    torch.manual_seed(5)
    published = SpiralFSQ(**SPIRAL, **flat).eval()
    torch.manual_seed(5)
    same = BottleneckTokenizer(**{**SMALL, "heads": {**HEADS, "auxiliary_ctc": 0.3}}).eval()
    states = [dict(part.state_dict()) for part in (published, same)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    audio = speech(9_000, 4_000)
    assert torch.equal(published.loss(audio, *LABELS).total, same.loss(audio, *LABELS).total)
    assert torch.equal(published.encode(audio).codes, same.encode(audio).codes)
    assert BottleneckTokenizer.contract() == SpiralFSQ.contract()


@pytest.mark.parametrize(
    ("encoder", "quantizer", "supervision"), product(["spiral", "hf"], ["fsq", "vq", "none"], SUPERVISIONS)
)
def test_every_combination_learns_and_gives_units(encoder: str, quantizer: str, supervision: list[str]) -> None:
    model = tokenizer(encoder=encoder, quantizer=quantizer, supervision=supervision).train()
    audio = speech(9_000, 4_000)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        losses = model.loss(audio, *LABELS)
        losses.total.backward()
        optimizer.step()
    assert all(item.grad is not None for item in model.parameters())
    expected = {"vq": {"commitment"}}.get(quantizer, set())
    expected |= {"ctc"} if any(name.startswith("ctc") for name in supervision) else set()
    expected |= {"mel"} if "mel_reconstruction" in supervision else set()
    assert set(losses.parts) == expected
    torch.testing.assert_close(losses.total.detach(), sum(losses.parts.values()))
    if model.is_fitted_afterwards:
        model.fit_units([audio], torch.Generator().manual_seed(0))
    units = model.encode(audio)
    assert units.sizes == (16,) and units.rate == 25 and units.lengths[0] == 15 - (encoder == "hf")
    assert model.embed(units).features.shape[:2] == units.codes[:, 0].shape


@pytest.mark.parametrize(
    ("supervision", "labels"),
    zip(SUPERVISIONS, ("phones", "characters", "nothing", "phones", "characters"), strict=True),
)
def test_a_head_reads_what_it_was_taught(supervision: list[str], labels: str) -> None:
    model, audio = tokenizer(supervision=supervision), speech(9_000)
    assert model.labels == labels
    if labels == "nothing":
        for read in (model.read_labels, model.read_phones):
            with pytest.raises(OmnikitError, match="no phone or character head"):
                read(audio)
        return
    found = model.read_labels(audio)
    assert len(found) == 1 and all(0 <= index < 6 for index in found[0])
    if labels == "phones":
        assert model.read_phones(audio) == found
    else:
        with pytest.raises(OmnikitError, match="reads characters"):
            model.read_phones(audio)


def test_units_of_the_control_are_what_its_head_reads_once_they_are_fitted() -> None:
    model, audio = tokenizer(quantizer="none").eval(), speech(9_000, 4_000)
    model.fit_units([audio], torch.Generator().manual_seed(0))
    units = model.encode(audio)
    codes, lengths = model.embed(units).features, units.lengths
    best = model.decoder(codes, lengths).argmax(-1)[0].tolist()  # type: ignore[misc]
    merged = [label for place, label in enumerate(best) if label != 6 and (place == 0 or best[place - 1] != label)]
    assert model.read_phones(audio)[0] == merged
    vectors = model.pre_quant(model.features(audio).features)[0]
    means = model.quantizer.codebook  # type: ignore[union-attr]
    assert units.codes[0, 0].tolist() == torch.cdist(vectors, means).argmin(-1).tolist()


def test_reconstruction_alone_asks_for_no_labels() -> None:
    model, audio = tokenizer(supervision=["mel_reconstruction"]).eval(), speech(9_000, 4_000)
    none = torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    assert torch.equal(model.loss(audio, *none).total, model.loss(audio, *LABELS).total)


def test_a_published_encoder_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    HubertModel(HubertConfig(**sizes, conv_dim=[8] * 7)).save_pretrained(tmp_path / "hub")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "hub")
    hf = {"pretrained": str(tmp_path / "hub"), "dim": 16}
    model = omnikit.create("tokenizer/bottleneck", **{**SMALL, "encoder": "hf", "hf": hf}).eval()
    save_component(model, tmp_path / "part")
    for file in (tmp_path / "hub").iterdir():
        file.unlink()  # nothing may be fetched again
    again, audio = load_component(tmp_path / "part"), speech(9_000)
    assert torch.equal(again.encode(audio).codes, model.encode(audio).codes)  # type: ignore[attr-defined]


def test_the_contract_follows_the_chosen_parts() -> None:
    def units(**changes: Any) -> Any:
        return BottleneckTokenizer.contract(**changes).gives["units"]

    assert units(quantizer="vq", vq={"num_units": 77}).codebooks == (77,)
    assert units(quantizer="none", continuous={"num_units": 78}).codebooks == (78,)
    assert units(fsq={"levels": [3] * 8}).codebooks == (6561,)
    assert units(encoder="hf", hf={"stride": 1}).rate == 50
    assert units(encoder="hf", hf={"pretrained": "nobody/nothing", "stride": 3}).rate == Fraction(50, 3)
    assert units(reduced=False, vocab_id="mine").layout == "frame"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "conformer"}, "Unknown encoder 'conformer'"),
        ({"quantizer": "rvq"}, "Did you mean 'vq'"),
        ({"supervision": ["ctc_phones"]}, "Did you mean 'ctc_phone'"),
        ({"supervision": []}, "give a list of different ones"),
        ({"supervision": "ctc_phone"}, "give a list of different ones"),
        ({"supervision": ["ctc_phone", "ctc_phone"]}, "give a list of different ones"),
        ({"supervision": ["ctc_phone", "ctc_char"]}, "cannot both supervise"),
        ({"supervision": ["mel_reconstruction"], "heads": {**HEADS, "auxiliary_ctc": 0.3}}, "auxiliary_ctc=0"),
        ({"vq": {"num_units": 1}, "quantizer": "vq"}, "at least 2 codes"),
        ({"fsq": {"level": [3]}}, "Did you mean 'levels'"),
        ({"heads": {"dim": "wide"}}, "a value like 512"),
    ],
)
def test_choices_that_do_not_fit_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OmnikitError, match=message) as caught:
        tokenizer(**changes)
    assert len(str(caught.value).splitlines()) <= 8


def test_labels_beyond_the_head_are_refused_before_they_are_learnt() -> None:
    with pytest.raises(OmnikitError, match="class 9, the CTC head has 6 classes of phones"):
        tokenizer().loss(speech(9_000), torch.tensor([[9]]), torch.tensor([1]))


def test_groups_are_part_of_the_signature() -> None:
    with pytest.raises(UnknownName, match="continuous"):
        omnikit.create("tokenizer/bottleneck", continous={"dim": 3})
