"""`tokenizer/encodec` and `detokenizer/encodec`: the promises of their slots, the package's numbers, systems."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encodec import EncodecModel
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, read_card, save_component
from omnikit.cli import main as omnikit_command
from omnikit.cli.config import compose_config
from omnikit.errors import ContractError, OmnikitError, WeightsError
from omnikit.types import Audio, Style
from omnikit.wiring import Node, Wire, negotiate

SIZES = {"dim": 8, "num_filters": 2, "ratios": [40, 8]}
TOKENIZER = {"num_codebooks": 3, "codebook_size": 16, **SIZES}
DETOKENIZER = {"codebooks": [16, 16, 16], "vocab_id": "conformance", **SIZES}
WIRE = [Wire.parse("tokenizer.units -> detokenizer.units"), Wire.parse("style.style -> detokenizer.style")]


def tone(num_samples: int, hz: float = 150.0) -> torch.Tensor:
    time = torch.arange(num_samples) / 24_000
    return 0.3 * torch.sin(2 * torch.pi * hz * time) + 0.1 * torch.sin(2 * torch.pi * 7 * hz * time)


def batch(*num_samples: int) -> Audio:
    wave = torch.zeros(len(num_samples), max(num_samples))
    for row, (samples, line) in enumerate(zip(num_samples, wave, strict=True)):
        line[:samples] = tone(samples, 110.0 + 70 * row)
    return Audio(wave, torch.tensor(num_samples), 24_000)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def original() -> EncodecModel:
    """The package's own model with random weights, small."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        layers = {"dimension": 8, "n_filters": 2, "ratios": [40, 8], "norm": "weight_norm", "causal": True}
        quantizer = ResidualVectorQuantizer(dimension=8, n_q=4, bins=16, kmeans_init=False)
        model = EncodecModel(SEANetEncoder(**layers), SEANetDecoder(**layers), quantizer, [0.3, 1.2], 24_000, 1)
    return model.eval()


@pytest.fixture(scope="module")
def parts(original: EncodecModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the original's checkpoint."""
    from omnikit_encodec.pretrained import main

    folder = tmp_path_factory.mktemp("encodec")
    torch.save(original.state_dict(), folder / "encodec.th")
    words = ["--checkpoint", str(folder / "encodec.th"), "--codebooks", "4", "--out", str(folder / "parts")]
    assert main(words) == 0
    return folder / "parts"


@pytest.mark.parametrize(
    ("component", "small"), [("tokenizer/encodec", TOKENIZER), ("detokenizer/encodec", DETOKENIZER)]
)
def test_conformance(component: str, small: dict[str, object]) -> None:
    assert [str(result) for result in omnikit.testing.check(component, **small) if result.failed] == []


def test_they_are_listed_without_importing_encodec() -> None:
    code = (
        "import sys, omnikit\nassert 'tokenizer/encodec' in omnikit.available('tokenizer')\n"
        "assert 'detokenizer/encodec' in omnikit.available('detokenizer')\nprint('encodec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_units_and_sound_are_those_of_the_package(original: EncodecModel, parts: Path) -> None:
    tokenizer, detokenizer = load_component(parts / "tokenizer"), load_component(parts / "detokenizer")
    audio = batch(4_801, 9_600, 333)
    units = tokenizer.encode(audio)
    sound = detokenizer.decode(units, Style(), draws())
    assert len(units.codes.unique()) > 4
    for row, length in enumerate(audio.lengths.tolist()):
        with torch.no_grad():
            ((codes, scale),) = original.encode(audio.wave[row : row + 1, None, :length])
            wave = original.decode([(codes, scale)])[0, 0]
        steps = int(units.lengths[row])
        assert torch.equal(units.codes[row, :, :steps], codes[0])
        assert int(sound.lengths[row]) == len(wave) == 320 * steps
        assert torch.allclose(sound.wave[row, : len(wave)], wave.clamp(-1, 1), atol=1e-6)


def test_fewer_codebooks_are_the_first_of_them(original: EncodecModel, parts: Path, tmp_path: Path) -> None:
    from omnikit_encodec.pretrained import load_checkpoint

    torch.save(original.state_dict(), tmp_path / "encodec.th")
    tokenizer, detokenizer = load_checkpoint(tmp_path / "encodec.th", 2)
    whole = load_component(parts / "tokenizer")
    audio = batch(6_000)
    assert torch.equal(tokenizer.encode(audio).codes, whole.encode(audio).codes[:, :2])
    assert detokenizer.vocab_id == tokenizer.vocab_id != whole.vocab_id
    with pytest.raises(WeightsError, match="holds 4 codebooks"):
        load_checkpoint(tmp_path / "encodec.th", 5)


def test_bandwidths_are_codebooks() -> None:
    from omnikit_encodec.pretrained import codebooks_at

    assert [codebooks_at(kbits) for kbits in (0.5, 0.75, 1.5, 3, 6, 12, 24)] == [1, 1, 2, 4, 8, 16, 32]


def test_cards_say_where_weights_come_from_and_under_which_licence(parts: Path) -> None:
    for slot in ("tokenizer", "detokenizer"):
        said = read_card(parts / slot)["provenance"]
        assert said["licence"] == "CC-BY-NC-4.0" and said["source"].endswith("encodec.th")


def test_vectors_of_units_are_sums_of_the_codebooks(parts: Path) -> None:
    tokenizer = load_component(parts / "tokenizer")
    units = tokenizer.encode(batch(2_000))
    books = [layer.codebook for layer in tokenizer.quantizer.vq.layers]
    summed = sum(book[codes] for book, codes in zip(books, units.codes[0], strict=True))
    assert torch.allclose(tokenizer.embed(units).features[0], summed)


def test_units_of_other_weights_are_refused(parts: Path) -> None:
    detokenizer = load_component(parts / "detokenizer")
    other = omnikit.create("tokenizer/encodec", **{**TOKENIZER, "num_codebooks": 4}).eval()
    with pytest.raises(WeightsError, match="untrained-encodec"):
        detokenizer.decode(other.encode(batch(2_000)), Style(), draws())


def test_longer_durations_sound_longer(parts: Path) -> None:
    detokenizer, tokenizer = load_component(parts / "detokenizer"), load_component(parts / "tokenizer")
    units = tokenizer.encode(batch(3_200))
    twice = detokenizer.decode(units, Style(), draws(), torch.full((1, 10), 2))
    spelled = replace(units, codes=units.codes.repeat_interleave(2, -1), lengths=2 * units.lengths)
    assert torch.equal(twice.wave, detokenizer.decode(spelled, Style(), draws()).wave)


def test_a_step_down_its_gradient_lowers_the_loss() -> None:
    torch.manual_seed(2)
    tokenizer = omnikit.create("tokenizer/encodec", **TOKENIZER).train()
    optimizer = torch.optim.SGD(tokenizer.decoder.parameters(), 0.01)
    books = tokenizer.quantizer.vq.layers[0].codebook.clone()
    nothing = torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    found = []
    for _ in range(3):
        losses = tokenizer.loss(batch(2_400, 3_000), *nothing)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        found.append(float(losses.total.detach()))
    assert found[0] > found[1] > found[2]
    assert torch.equal(tokenizer.quantizer.vq.layers[0].codebook, books)


# ---- systems


def test_the_codec_fits_itself_and_a_style_is_not_applicable() -> None:
    nodes = {"tokenizer": Node("tokenizer/encodec"), "detokenizer": Node("detokenizer/encodec")}
    plan = negotiate({**nodes, "style": Node("style/label_centroid", {"space_id": "x", "dim": 4})}, WIRE)
    assert tuple(plan.parameters["detokenizer"]["codebooks"]) == (1024,) * 8
    assert plan.parameters["detokenizer"]["vocab_id"] == "untrained-encodec"
    assert [link.note for link in plan.links] == ["", "not applicable"]


def test_a_voice_of_other_units_is_refused_by_contract() -> None:
    voice = Node("detokenizer/uvits", {"codebooks": [64], "unit_rate": 25, "vocab_id": "tokenizer-0123456789"})
    with pytest.raises(ContractError, match="do not fit"):
        negotiate({"tokenizer": Node("tokenizer/encodec"), "detokenizer": voice}, WIRE)
    same = {**voice.parameters, "codebooks": [1024] * 8, "unit_rate": 75, "layout": "frame"}
    with pytest.raises(ContractError, match="never the same units"):
        negotiate({"tokenizer": Node("tokenizer/encodec"), "detokenizer": replace(voice, parameters=same)}, WIRE)
    with pytest.raises(ContractError, match="rate differs"):
        nodes = {"tokenizer": Node("tokenizer/spiral_fsq"), "detokenizer": Node("detokenizer/encodec")}
        negotiate(nodes, WIRE)


def test_systems_and_variants_compose(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tokenizer=encodec", "detokenizer=encodec"]
    assert omnikit_command(["check", "experiment=emova_tiny", *words]) == 0
    assert "not applicable" in capsys.readouterr().out
    node = compose_config("train", ["tokenizer=encodec_32_books"])["tokenizer"]
    assert node["component"] == "tokenizer/encodec" and node["num_codebooks"] == 32


def test_a_mind_learns_several_codebooks(tmp_path: Path) -> None:
    from omnikit.data.corpus import make_corpus
    from omnikit.system import System

    make_corpus(tmp_path / "corpus", hours=0.01, seed=3, processes=1)
    tokenizer = omnikit.create("tokenizer/encodec", **_tiny("tokenizer"), vocab_id="encodec-test")
    save_component(tokenizer, tmp_path / "tokenizer")
    words = [
        *("experiment=emova_tiny", "stage=align", "tokenizer=encodec_tiny", "detokenizer=encodec_tiny", "style=none"),
        *("vision_encoder.dim=32", "vision_encoder.depth=1", "backbone.hidden=32", "backbone.layers=1"),
        *("backbone.heads=2", "backbone.kv_heads=1", "backbone.intermediate=32", "trainer.precision=32-true"),
        *("trainer.num_workers=0", "recipe.align.optim.steps=1", "recipe.align.batch_tokens=900"),
        *("recipe.align.num_valid_batches=1", "recipe.align.text_vocab=300", f"tokenizer.weights={tmp_path}/tokenizer"),
        *(f"data.path={tmp_path}/corpus", f"out={tmp_path}/run"),
    ]
    assert omnikit_command(["train", *words, "--traceback"]) == 0
    backbone = load_component(tmp_path / "run" / "align" / "parts" / "backbone")
    assert list(backbone.parameters_given["codebooks"]) == [64, 64]
    assert backbone.parameters_given["vocab_id"] == "encodec-test"
    system = System.load(tmp_path / "run" / "system")
    heard = system.hear(Audio(batch(9_000).wave, torch.tensor([9_000]), 24_000))
    assert heard.codes.shape[1] == 2 and heard.vocab_id == "encodec-test"


def _tiny(slot: str) -> dict[str, object]:
    node = compose_config("train", [f"{slot}=encodec_tiny"])[slot]
    return {name: value for name, value in node.items() if name not in ("component", "vocab_id", "weights")}


# ---- weights


@pytest.mark.parametrize("content", [None, b"no checkpoint", b""])
def test_a_bad_checkpoint_is_refused(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    from omnikit_encodec.pretrained import main

    path = tmp_path / "x.th"
    if content is not None:
        path.write_bytes(content)
    assert main(["--checkpoint", str(path), "--out", str(tmp_path / "part")]) == 2
    assert "x.th" in capsys.readouterr().err
    assert not (tmp_path / "part").exists()


def test_a_checkpoint_that_lacks_tensors_is_refused(original: EncodecModel, tmp_path: Path) -> None:
    from omnikit_encodec.pretrained import load_checkpoint

    state = {name: value for name, value in original.state_dict().items() if not name.endswith("lstm.bias_hh_l0")}
    torch.save(state, tmp_path / "x.th")
    with pytest.raises(WeightsError, match="does not fit EnCodec's encoder"):
        load_checkpoint(tmp_path / "x.th", 2)


def test_without_a_network_fetching_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from omnikit_encodec import pretrained

    def fail(*words: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsError, match="--checkpoint FILE"):
        pretrained.download(tmp_path)


def test_sizes_that_cannot_be_are_refused() -> None:
    from omnikit_encodec.detokenizer import EncodecDetokenizer

    for wrong in ({"num_codebooks": 0}, {"codebook_size": 1}, {"ratios": []}):
        with pytest.raises(OmnikitError):
            omnikit.create("tokenizer/encodec", **{**TOKENIZER, **wrong})
    with pytest.raises(ContractError, match="Build it as part of a system"):
        EncodecDetokenizer()
