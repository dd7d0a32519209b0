"""`tokenizer/s3` keeps the promises of its slot, hears as Whisper does, learns from texts, and leaves its decoder."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, read_card, save_component
from omnikit.cli import main as omnikit_command
from omnikit.cli.config import compose_config
from omnikit.errors import ContractError, MediaError, OmnikitError, WeightsError
from omnikit.types import Audio
from omnikit.wiring import Node, Wire, negotiate

MODEL = {"num_mels": 20, "dim": 16, "layers": 2, "cut": 1, "heads": 2, "ffn_dim": 16}
DECODER = {"layers": 1, "heads": 2, "ffn_dim": 16, "dropout": 0.0}
SMALL: dict[str, Any] = {"model": MODEL, "fsq": {"levels": [3, 3, 3]}, "decoder": DECODER}
VQ: dict[str, Any] = {**SMALL, "model": {**MODEL, "rate": 50}, "quantizer": "vq", "vq": {"num_units": 12}}


def made(**changes: Any) -> Any:
    torch.manual_seed(1)
    return omnikit.create("tokenizer/s3", **{**SMALL, **changes}).eval()


def sounds(*num_samples: int) -> Audio:
    time = torch.arange(max(num_samples)) / 16_000
    rows = [
        0.3 * torch.sin(2 * torch.pi * (150 + 170 * row) * (time + 0.2 * time.remainder(2) ** 2))
        for row in range(len(num_samples))
    ]
    lengths = torch.tensor(num_samples)
    return Audio(torch.stack(rows) * (torch.arange(len(time)) < lengths[:, None]), lengths, 16_000)


def texts() -> tuple[Tensor, Tensor]:
    return torch.tensor([[3, 4, 5, 6], [9, 9, 2, 0], [7, 1, 0, 0]]), torch.tensor([4, 3, 2])


@pytest.mark.parametrize("changes", [SMALL, {**VQ, "reduced": True}], ids=["fsq", "vq"])
def test_conformance(changes: dict[str, Any]) -> None:
    results = omnikit.testing.check("tokenizer/s3", **changes)
    assert [str(result) for result in results if result.failed] == []


def test_it_is_listed_without_importing_transformers() -> None:
    code = (
        "import sys, omnikit\nassert 'tokenizer/s3' in omnikit.available('tokenizer')\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- units


@pytest.mark.parametrize(("rate", "counts"), [(25, [21, 25]), (50, [41, 50])])
def test_units_come_at_their_rate(rate: int, counts: list[int]) -> None:
    units = made(model={**MODEL, "rate": rate}).encode(sounds(13_000, 16_000))
    assert units.rate == rate and units.lengths.tolist() == counts


def test_ids_are_the_rounded_digits_of_the_projected_steps() -> None:
    tokenizer = made()
    audio = sounds(16_000)
    units, steps = tokenizer.encode(audio), tokenizer.features(audio).features
    with torch.no_grad():
        digits = torch.round(tokenizer.quantizer.bound(tokenizer.down(steps)))[0] + 1  # [T, 3], 0 to 2
    assert torch.equal(units.codes[0, 0], (digits * torch.tensor([1.0, 3.0, 9.0])).sum(-1).long())
    assert torch.equal(tokenizer.embed(units).features[0], digits - 1)
    assert len(units.codes.unique()) > 1


def test_a_codebook_is_as_wide_as_the_encoder_and_gives_the_nearest_code() -> None:
    tokenizer = made(**VQ)
    audio = sounds(16_000)
    steps, book = tokenizer.features(audio).features[0], tokenizer.quantizer.codebook
    assert book.shape == (12, 16)
    assert torch.equal(tokenizer.encode(audio).codes[0, 0], torch.cdist(steps, book).argmin(-1))


def test_the_published_sizes_are_those_of_the_papers() -> None:
    first, second = (
        negotiate({"tokenizer": Node("tokenizer/s3", _node(name))}, []).contracts["tokenizer"].gives["units"]
        for name in ("s3_cosyvoice", "s3_cosyvoice2")
    )
    assert (tuple(first.codebooks), first.rate) == ((4096,), 50)
    assert (tuple(second.codebooks), second.rate) == ((3**8,), 25)


def test_long_recordings_are_read_in_windows_of_30_seconds() -> None:
    tokenizer = made()
    audio = sounds(31 * 16_000, 8_000)
    units = tokenizer.encode(audio)
    assert units.lengths.tolist() == [775, 13]
    parts = [
        tokenizer.encode(Audio(wave[None], torch.tensor([len(wave)]), 16_000))
        for wave in (audio.wave[0, : 30 * 16_000], audio.wave[0, 30 * 16_000 :])
    ]
    assert torch.equal(units.codes[0], torch.cat([part.codes[0] for part in parts], 1))
    with pytest.raises(MediaError, match="max_s=30"):
        tokenizer.loss(audio, *(item[:2] for item in texts()))


def test_it_hears_what_whisper_hears() -> None:
    """With every block before the cut, at 50 Hz, and its last norm, steps are those of transformers' encoder."""
    from omnikit_s3.networks import LowerHalf, make_encoder
    from omnikit_s3.sizes import ModelSizes

    torch.manual_seed(2)
    encoder = make_encoder(ModelSizes(**{**MODEL, "cut": 2, "rate": 50})).eval()
    wave = sounds(30 * 16_000 - 1_000).wave
    wave = torch.nn.functional.pad(wave, (0, 1_000))  # Whisper mirrors the end, which is silent here
    half = LowerHalf(encoder, rate=50, cut=2).eval()
    half.norm = encoder.layer_norm
    with torch.no_grad():
        theirs = encoder(half.front(wave)).last_hidden_state
        steps, lengths = half(wave, torch.tensor([wave.shape[1]]))
        torch.testing.assert_close(steps, theirs, rtol=1e-4, atol=1e-4)
    assert lengths.tolist() == [1_500]


def test_units_of_other_weights_are_refused() -> None:
    units = made(vocab_id="other").encode(sounds(9_000))
    with pytest.raises(WeightsError, match="other"):
        made().embed(units)
    voice = {"codebooks": [27], "unit_rate": 25, "layout": "frame", "vocab_id": "tokenizer-0123456789"}
    with pytest.raises(ContractError, match="never the same units"):
        nodes = {"tokenizer": Node("tokenizer/s3", SMALL), "detokenizer": Node("detokenizer/uvits", voice)}
        negotiate(nodes, [Wire.parse("tokenizer.units -> detokenizer.units")])


# ---- learning


@pytest.mark.parametrize("changes", [SMALL, VQ], ids=["fsq", "vq"])
def test_cross_entropy_falls_through_the_units(changes: dict[str, Any]) -> None:
    tokenizer = made(**changes).train()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), 5e-3)
    audio, found = sounds(9_000, 12_000, 7_000), []
    for _ in range(15):
        losses = tokenizer.loss(audio, *texts())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        found.append(float(losses.parts["cross_entropy"]))
    assert found[-1] < 0.8 * found[0]
    assert tokenizer.encoder.conv1.weight.grad.abs().sum() > 0


def test_a_text_that_ends_earlier_counts_its_own_labels_alone() -> None:
    tokenizer = made()
    labels, lengths = texts()
    whole = tokenizer.loss(sounds(9_000, 12_000, 7_000), labels, lengths).total
    longer = torch.cat([labels, torch.full((3, 2), 5)], 1)
    other = longer.clone()
    other[2, 2:] = 11  # beyond its length
    assert torch.allclose(tokenizer.loss(sounds(9_000, 12_000, 7_000), other, lengths).total, whole, atol=1e-6)


def test_the_decoder_reads_back_what_a_step_by_step_search_finds() -> None:
    tokenizer = made()
    audio = sounds(9_000, 4_000)
    with torch.no_grad():
        for row, read in enumerate(tokenizer.read_labels(audio)):
            single = Audio(audio.wave[row : row + 1], audio.lengths[row : row + 1], 16_000)
            codes, _, valid, _ = tokenizer._read(single)
            found: list[int] = []
            while len(found) < int(valid.sum()):
                scores = tokenizer.recogniser(tokenizer.up(codes), valid, torch.tensor([found], dtype=torch.long))
                label = int(scores[0, -1].argmax())
                if label == 28:
                    break
                found.append(label)
            assert read == found


def test_texts_that_cannot_be_learnt_are_refused() -> None:
    labels, lengths = texts()
    audio = sounds(9_000, 12_000, 7_000)
    with pytest.raises(OmnikitError, match="writes 5 classes"):
        made(num_classes=5).loss(audio, labels, lengths)
    with pytest.raises(OmnikitError, match="room for 3"):
        made(decoder={**DECODER, "max_labels": 3}).loss(audio, labels, lengths)


class _Stop(Exception):
    pass


def test_a_stage_trains_it_resumes_and_its_decoder_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from omnikit_s3.keep import main

    from omnikit.data.corpus import make_corpus
    from omnikit.training import progress

    make_corpus(tmp_path / "corpus", hours=0.01, seed=3, processes=1)
    words = [
        *("train", "experiment=emova_tiny", "stage=tokenizer", "tokenizer=s3_tiny", "detokenizer.layout=frame"),
        *("tokenizer.model.dim=16", "tokenizer.model.heads=2", "tokenizer.decoder.heads=2", "trainer.num_workers=0"),
        *("trainer.precision=32-true", "trainer.checkpoint_minutes=0", "trainer.log_every=1"),
        *("recipe.tokenizer.optim.steps=3", "recipe.tokenizer.optim.warmup_steps=1", "recipe.tokenizer.batch_s=8"),
        *("recipe.tokenizer.num_valid=2", f"data.path={tmp_path}/corpus", "--traceback"),
    ]
    assert omnikit_command([*words, f"out={tmp_path}/whole"]) == 0
    save = progress.Saver.save

    def save_once_then_die(self: progress.Saver, trainer: object) -> None:
        save(self, trainer)
        raise _Stop

    monkeypatch.setattr(progress.Saver, "save", save_once_then_die)
    with pytest.raises(_Stop):
        omnikit_command([*words, f"out={tmp_path}/run"])
    monkeypatch.setattr(progress.Saver, "save", save)
    assert omnikit_command([*words, f"out={tmp_path}/run"]) == 0
    whole, resumed = (load_component(tmp_path / name / "tokenizer/parts/tokenizer") for name in ("whole", "run"))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)
    with (tmp_path / "whole/tokenizer/curves.csv").open() as file:
        curves = {row["name"] for row in csv.DictReader(file)}
    assert {"cross_entropy", "loss", "valid_cer"} <= curves

    part = tmp_path / "whole/tokenizer/parts/tokenizer"
    assert main([str(part), "--out", str(tmp_path / "s3")]) == 0
    light = load_component(tmp_path / "s3")
    assert light.recogniser is None and light.vocab_id == whole.vocab_id != "untrained-s3"
    assert read_card(tmp_path / "s3")["provenance"]["stage"] == "tokenizer"
    assert (tmp_path / "s3/model.safetensors").stat().st_size < 0.7 * (part / "model.safetensors").stat().st_size
    audio = sounds(16_000, 9_000)
    assert torch.equal(light.encode(audio).codes, whole.encode(audio).codes)
    for refused in (lambda: light.loss(audio, *texts()), lambda: light.read_labels(audio)):
        with pytest.raises(OmnikitError, match="no text decoder any more"):
            refused()
    save_component(omnikit.create("projector/mlp", in_dim=4, out_dim=4), tmp_path / "other")
    assert main([str(tmp_path / "other"), "--out", str(tmp_path / "no")]) == 2
    assert "projector/mlp" in capsys.readouterr().err


# ---- published models


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub has it: a small Whisper with random weights."""
    from transformers import WhisperConfig, WhisperModel

    folder = tmp_path_factory.mktemp("whisper")
    sizes = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2}
    more = {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_mel_bins": 20}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(4)
        WhisperModel(WhisperConfig(vocab_size=30, **sizes, **more, **ids)).save_pretrained(folder)
    return folder


def test_training_starts_from_a_published_whisper(published: Path, tmp_path: Path) -> None:
    from omnikit_s3.tokenizer import without_decoder
    from transformers import WhisperModel

    tokenizer = made(model={"pretrained": str(published), "cut": 2, "rate": 50})
    theirs = WhisperModel.from_pretrained(published).encoder
    for own, other in ((tokenizer.encoder.blocks[1], theirs.layers[1]), (tokenizer.recogniser.norm, theirs.layer_norm)):
        assert all(torch.equal(own.state_dict()[name], value) for name, value in other.state_dict().items())
    save_component(tokenizer, tmp_path / "part")
    audio = sounds(9_000)
    assert torch.equal(load_component(tmp_path / "part").encode(audio).codes, tokenizer.encode(audio).codes)
    light = without_decoder(load_component(tmp_path / "part"))
    assert light.parameters_given["model"]["pretrained"] == "none"
    assert torch.equal(light.encode(audio).codes, tokenizer.encode(audio).codes)


def test_models_that_cannot_be_had_are_refused(published: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    with pytest.raises(OmnikitError, match="could not be loaded"):
        made(model={"pretrained": str(tmp_path / "nothing")})
    with pytest.raises(OmnikitError, match="of 3 blocks"):
        made(model={"pretrained": str(published), "cut": 4})
    AutoConfig.for_model("hubert").save_pretrained(tmp_path / "hubert")
    with pytest.raises(OmnikitError, match="no Whisper"):
        made(model={"pretrained": str(tmp_path / "hubert")})


def test_sizes_that_cannot_be_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        *({"model": {**MODEL, **item}} for item in ({"rate": 40}, {"cut": 0}, {"cut": 3}, {"heads": 3}, {"dim": 15})),
        *({"decoder": {**DECODER, **item}} for item in ({"layers": -1}, {"heads": 5}, {"max_labels": 0})),
        *({"quantizer": "rvq"}, {"fsq": {"levels": [1, 3]}}, {"model": {"depth": 2}}),
    ]
    for changes in wrong:
        with pytest.raises(OmnikitError):
            made(**changes)


def test_a_system_composes_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=emova_tiny", "tokenizer=s3_tiny", "detokenizer.layout=frame"]
    assert omnikit_command(["check", *words]) == 0
    assert "729" in capsys.readouterr().out


def _node(name: str) -> dict[str, Any]:
    node = compose_config("train", [f"tokenizer={name}"])["tokenizer"]
    return {key: value for key, value in node.items() if key not in ("component", "weights")}
