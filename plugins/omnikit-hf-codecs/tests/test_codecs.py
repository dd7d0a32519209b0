"""Mimi and DAC: the promises of their slots, the numbers of transformers, systems of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DacModel, MimiModel

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, read_card, save_component
from omnikit.cli import main as omnikit_command
from omnikit.cli.config import compose_config
from omnikit.errors import ContractError, OmnikitError, WeightsError
from omnikit.types import Audio, Style
from omnikit.wiring import Node, Wire, negotiate

MIMI = {"dim": 16, "code_dim": 8, "num_filters": 2, "num_layers": 1, "heads": 2, "ffn_dim": 16, "ratios": [40, 24]}
DAC = {"code_dim": 4, "encoder_dim": 2, "decoder_dim": 8, "ratios": [5, 64]}
SMALL = {"mimi": MIMI, "dac": DAC}
OWN = {"num_codebooks": 3, "codebook_size": 16}
GIVEN = {"codebooks": [16, 16, 16], "vocab_id": "conformance"}
RATE = {"mimi": 24_000, "dac": 16_000}
FAMILIES = sorted(SMALL)
WIRES = [Wire.parse("tokenizer.units -> detokenizer.units"), Wire.parse("style.style -> detokenizer.style")]


def batch(rate: int, *num_samples: int) -> Audio:
    time = torch.arange(max(num_samples)) / rate
    rows = [0.3 * torch.sin(2 * torch.pi * (120 + 70 * row) * time) for row in range(len(num_samples))]
    lengths = torch.tensor(num_samples)
    return Audio(torch.stack(rows) * (torch.arange(len(time)) < lengths[:, None]), lengths, rate)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def original(family: str) -> Any:
    """The model of transformers with random weights and five codebooks, small."""
    from omnikit_hf_codecs import dac, mimi

    with torch.random.fork_rng():
        torch.manual_seed(4)
        if family == "dac":
            model = DacModel(dac.config_of(5, 16, **DAC, sample_rate=16_000))
            for weight in model.parameters():  # as published they are no tiny numbers
                torch.nn.init.normal_(weight, std=0.2)
            return model.eval()
        model = MimiModel(mimi.config_of(5, 16, **MIMI))
        for part in model.quantizer.modules():
            if hasattr(part, "embed_sum"):
                torch.nn.init.normal_(part.embed_sum)
        return model.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """A family, its model as transformers has it, and the parts that the command makes of it with three codebooks."""
    from omnikit_hf_codecs.pretrained import main

    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    model = original(family)
    model.save_pretrained(folder / "model")
    words = [family, "--source", str(folder / "model"), "--codebooks", "3", "--out", str(folder / "parts")]
    assert main(words) == 0
    return family, model, folder / "parts"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of half a minute."""
    from omnikit.data.corpus import make_corpus

    folder = tmp_path_factory.mktemp("corpus") / "small"
    make_corpus(folder, hours=0.01, seed=3, processes=1)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("slot", "given"), [("tokenizer", OWN), ("detokenizer", GIVEN)])
def test_conformance(slot: str, family: str, given: dict[str, Any]) -> None:
    results = omnikit.testing.check(f"{slot}/{family}", **given, **SMALL[family])
    assert [str(result) for result in results if result.failed] == []


def test_they_are_listed_without_importing_transformers() -> None:
    code = (
        "import sys, omnikit\nfound = [*omnikit.available('tokenizer'), *omnikit.available('detokenizer')]\n"
        "assert {'tokenizer/mimi', 'detokenizer/mimi', 'tokenizer/dac', 'detokenizer/dac'} <= set(found)\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_units_and_sound_are_those_of_transformers(published: tuple[str, Any, Path]) -> None:
    family, model, parts = published
    tokenizer, detokenizer = load_component(parts / "tokenizer"), load_component(parts / "detokenizer")
    hop = detokenizer.hop_size
    audio = batch(RATE[family], 4 * hop, 7 * hop, 3 * hop)
    units = tokenizer.encode(audio)
    sound = detokenizer.decode(units, Style(), draws())
    assert len(units.codes.unique()) > 3
    for row, length in enumerate(audio.lengths.tolist()):
        with torch.no_grad():
            codes = model.encode(audio.wave[row : row + 1, None, :length]).audio_codes[:, :3]
            wave = model.decode(audio_codes=codes).audio_values.flatten()
        steps = int(units.lengths[row])
        assert torch.equal(units.codes[row, :, :steps], codes[0])
        assert int(sound.lengths[row]) == hop * steps
        samples = min(len(wave), hop * steps)
        assert torch.allclose(sound.wave[row, :samples], wave[:samples].clamp(-1, 1), atol=1e-5)


def test_parts_say_where_they_come_from_and_belong_together(published: tuple[str, Any, Path]) -> None:
    family, _, parts = published
    assert read_card(parts / "tokenizer")["provenance"]["source"].endswith("model")
    tokenizer, detokenizer = load_component(parts / "tokenizer"), load_component(parts / "detokenizer")
    assert detokenizer.vocab_id == tokenizer.vocab_id and tokenizer.vocab_id.startswith(f"{family}-")
    other = omnikit.create(f"tokenizer/{family}", **OWN, **SMALL[family]).eval()
    with pytest.raises(WeightsError, match=f"untrained-{family}"):
        detokenizer.decode(other.encode(batch(RATE[family], 5_000)), Style(), draws())


def test_sources_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from omnikit_hf_codecs.pretrained import main

    original("dac").save_pretrained(tmp_path / "dac")
    out = ["--out", str(tmp_path / "parts")]
    assert main(["mimi", "--source", str(tmp_path / "dac"), *out]) == 2
    assert "is a dac, no mimi" in capsys.readouterr().err
    assert main(["dac", "--source", str(tmp_path / "dac"), "--codebooks", "6", *out]) == 2
    assert "holds 5 codebooks" in capsys.readouterr().err
    assert main(["dac", "--source", str(tmp_path / "nothing"), *out]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()


def test_longer_durations_sound_longer(published: tuple[str, Any, Path]) -> None:
    family, _, parts = published
    detokenizer, tokenizer = load_component(parts / "detokenizer"), load_component(parts / "tokenizer")
    units = tokenizer.encode(batch(RATE[family], 4 * detokenizer.hop_size))
    twice = detokenizer.decode(units, Style(), draws(), torch.full((1, 4), 2))
    spelled = replace(units, codes=units.codes.repeat_interleave(2, -1), lengths=2 * units.lengths)
    assert torch.equal(twice.wave, detokenizer.decode(spelled, Style(), draws()).wave)


# ---- systems


@pytest.mark.parametrize("family", FAMILIES)
def test_a_codec_fits_itself_and_a_style_is_not_applicable(family: str) -> None:
    nodes = {"tokenizer": Node(f"tokenizer/{family}"), "detokenizer": Node(f"detokenizer/{family}")}
    plan = negotiate({**nodes, "style": Node("style/label_centroid", {"space_id": "x", "dim": 4})}, WIRES)
    assert plan.parameters["detokenizer"]["vocab_id"] == f"untrained-{family}"
    assert [link.note for link in plan.links] == ["", "not applicable"]
    voice = Node("detokenizer/uvits", {"codebooks": [1024], "unit_rate": 25, "vocab_id": "tokenizer-0123456789"})
    with pytest.raises(ContractError, match="do not fit"):
        negotiate({**nodes, "detokenizer": voice}, WIRES)


def test_two_codecs_do_not_fit_each_other() -> None:
    with pytest.raises(ContractError, match="rate differs"):
        negotiate({"tokenizer": Node("tokenizer/mimi"), "detokenizer": Node("detokenizer/dac")}, WIRES)


@pytest.mark.parametrize(("tokenizer", "detokenizer"), [("mimi", "mimi"), ("dac_44khz", "dac_44khz")])
def test_systems_and_variants_compose(tokenizer: str, detokenizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"tokenizer={tokenizer}", f"detokenizer={detokenizer}"]
    assert omnikit_command(["check", "experiment=emova_tiny", *words]) == 0
    assert "not applicable" in capsys.readouterr().out


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mind_learns_several_codebooks(family: str, corpus: Path, tmp_path: Path) -> None:
    node = compose_config("train", [f"tokenizer={family}_tiny"])["tokenizer"]
    sizes = {name: value for name, value in node.items() if name not in ("component", "vocab_id", "weights")}
    save_component(omnikit.create(f"tokenizer/{family}", **sizes, vocab_id="codec-test"), tmp_path / "tokenizer")
    words = [
        *("experiment=emova_tiny", "stage=align", f"tokenizer={family}_tiny", f"detokenizer={family}_tiny"),
        *("vision_encoder.dim=32", "vision_encoder.depth=1", "backbone.hidden=32", "backbone.layers=1"),
        *("backbone.heads=2", "backbone.kv_heads=1", "backbone.intermediate=32", "trainer.precision=32-true"),
        *("trainer.num_workers=0", "recipe.align.optim.steps=1", "recipe.align.batch_tokens=900"),
        *(
            "recipe.align.num_valid_batches=1",
            "recipe.align.text_vocab=300",
            "style=none",
            f"tokenizer.weights={tmp_path}/tokenizer",
        ),
        *(f"data.path={corpus}", f"out={tmp_path}/run"),
    ]
    assert omnikit_command(["train", *words, "--traceback"]) == 0
    backbone = load_component(tmp_path / "run" / "align" / "parts" / "backbone")
    assert list(backbone.parameters_given["codebooks"]) == [64, 64]
    assert backbone.parameters_given["vocab_id"] == "codec-test"


def test_sizes_that_cannot_be_are_refused() -> None:
    wrong = [
        ("mimi", {"num_codebooks": 1}),
        ("mimi", {"codebook_size": 24}),
        ("dac", {"num_codebooks": 0}),
        ("dac", {"decoder_dim": 6}),
    ]
    for family, sizes in wrong:
        with pytest.raises(OmnikitError):
            omnikit.create(f"tokenizer/{family}", **{**OWN, **SMALL[family], **sizes})
