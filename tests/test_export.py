"""Graphs give what their components infer, in PyTorch and, as ONNX files, in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS

import omnikit
from omnikit import export
from omnikit.cli import main
from omnikit.testing import subject
from omnikit.types import Audio, Style, Units

TOKENIZERS = [
    ("tokenizer/spiral_fsq", "reduced"),
    ("tokenizer/spiral_fsq", "frame"),
    ("tokenizer/bottleneck", "vq"),
    ("tokenizer/bottleneck", "none"),
]
VOICES = [
    ("detokenizer/uvits", "reduced_hifigan", {}),
    ("detokenizer/uvits", "frame_istft", {"latent": {"frame_prior_layers": 1}}),
    ("detokenizer/uvits", "frame_source", {}),
    ("detokenizer/uvits", "no_style", {}),
    ("detokenizer/cfm_mel", "", {}),
    ("detokenizer/cfm_mel", "no_style", {}),
]
CLOSE = 1e-4
LOUD = 0.05
"""What a sound must reach at least, so that being close to it means something."""


@pytest.fixture
def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def made(component_id: str, variant: str, numbers: torch.Generator, more: dict[str, Any] | None = None) -> Any:
    """A small component whose every weight says something; nothing in it is as it was initialised."""
    parameters = VARIANTS[component_id][variant]
    groups = {name: {**parameters[name], **value} for name, value in (more or {}).items()}
    component = subject(component_id, **{**parameters, **groups}).make()
    with torch.no_grad():
        for weight in component.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=numbers)
        if hasattr(component, "dec") and hasattr(component.dec, "conv_post"):
            component.dec.conv_post.weight *= 100
        if variant == "frame_source":
            component.dec.out.bias += 1  # its filters start soft
    return component


def units_of(voice: Any, num_units: int, numbers: torch.Generator) -> tuple[Units, Style]:
    """Random units and a style for a detokenizer."""
    codes = torch.randint(0, voice.codebooks[0], (1, len(voice.codebooks), num_units), generator=numbers)
    layout = voice.parameters_given.get("layout", "frame")
    rate = voice.parameters_given["unit_rate"]
    units = Units(codes, torch.tensor([num_units]), voice.codebooks, rate, voice.vocab_id, layout)
    if not voice.style_dim:
        return units, Style()
    return units, Style(vector=torch.randn(1, voice.style_dim, generator=numbers), space_id=voice.style_space)


def without_noise(voice: Any, units: Units, style: Style) -> torch.Tensor:
    """What a detokenizer decodes with noise of deviation 0."""
    generator = torch.Generator().manual_seed(0)
    if hasattr(voice, "noise_scale"):
        kept = voice.noise_scale, voice.duration_noise_scale
        voice.noise_scale = voice.duration_noise_scale = 0.0
        wave = voice.decode(units, style, generator).wave
        voice.noise_scale, voice.duration_noise_scale = kept
        return wave
    return voice.decode(units, style, generator, temperature=0.0).wave


def close(variant: str, wave: torch.Tensor) -> float:
    """How far apart two sounds may be; where a pitch is counted up, rounding adds up in the phase of its harmonics."""
    return CLOSE * max(1.0, wave.shape[-1] / 16_000) if variant == "frame_source" else CLOSE


def inputs_of(units: Units, style: Style) -> list[torch.Tensor]:
    return [units.codes] if style.vector is None else [units.codes, style.vector]


def expect_units(units: Units, found: list[torch.Tensor]) -> None:
    """`found` are the outputs of a graph; those of merged runs have zeros behind the longest row."""
    num_steps = units.codes.shape[-1]
    assert torch.equal(found[0][..., :num_steps], units.codes)
    if units.durations is not None:
        assert torch.equal(found[1], units.lengths)
        assert torch.equal(found[2][:, :num_steps], units.durations)
        assert not found[2][:, num_steps:].any()


def run_graph(component: Any, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        found = component.as_graph().module.eval()(*inputs)
    return [found] if isinstance(found, torch.Tensor) else list(found)


@pytest.mark.parametrize(("component_id", "variant"), TOKENIZERS)
@pytest.mark.parametrize("num_samples", [1, 161, 8000])
def test_a_tokenizers_graph_gives_its_units(
    component_id: str, variant: str, num_samples: int, numbers: torch.Generator
) -> None:
    tokenizer = made(component_id, variant, numbers)
    wave = torch.randn(2, num_samples, generator=numbers)
    units = tokenizer.encode(Audio(wave, torch.full((2,), num_samples), 16_000))
    expect_units(units, run_graph(tokenizer, [wave]))


def test_the_trained_tokenizers_graph_hears_what_it_hears(numbers: torch.Generator) -> None:
    tokenizer = omnikit.load("tokenizer/spiral_fsq.tiny")
    time = torch.arange(24_000) / 16_000
    glide = torch.sin(2 * torch.pi * (120 * time + 20 * time.square()) + 2 * torch.sin(40 * time)) * (4 * time).sin()
    wave = 0.3 * glide + 0.01 * torch.randn(24_000, generator=numbers)
    units = tokenizer.encode(Audio(wave[None], torch.tensor([24_000]), 16_000))
    assert len(units.codes.unique()) > 5
    expect_units(units, run_graph(tokenizer, [wave[None]]))


@pytest.mark.parametrize(("component_id", "variant", "more"), VOICES)
def test_a_voices_graph_gives_its_sound(
    component_id: str, variant: str, more: dict[str, Any], numbers: torch.Generator
) -> None:
    voice = made(component_id, variant, numbers, more)
    for num_units in (1, 9, 30):
        units, style = units_of(voice, num_units, numbers)
        wave = without_noise(voice, units, style)
        (found,) = run_graph(voice, inputs_of(units, style))
        assert found.shape == wave.shape
        assert float(wave.abs().max()) > LOUD
        assert float((found - wave).abs().max()) < close(variant, wave)


def session(path: Path) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_a_tokenizer_is_exported_to_onnx(tmp_path: Path, numbers: torch.Generator) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    tokenizer = made("tokenizer/spiral_fsq", "reduced", numbers)
    tokenizer.train()
    there = session(export.onnx(tokenizer, tmp_path / "new" / "encode.onnx"))
    assert tokenizer.training and tokenizer.encoder.feature_encoder.block_modules[0].training
    facts = there.get_modelmeta().custom_metadata_map
    assert facts["component"] == "tokenizer/spiral_fsq"
    assert (facts["needs.audio.sample_rate"], facts["gives.units.codebooks"]) == ("16000", "[20]")
    assert [item.name for item in there.get_inputs()] == ["wave"]
    for shape in ((1, 320), (2, 8000), (3, 20_001)):
        wave = torch.randn(shape, generator=numbers)
        units = tokenizer.encode(Audio(wave, torch.full(shape[:1], shape[1]), 16_000))
        expect_units(units, [torch.from_numpy(item) for item in there.run(None, {"wave": wave.numpy()})])


@pytest.mark.parametrize(("component_id", "variant", "more"), [VOICES[0], VOICES[1], VOICES[2], VOICES[5]])
def test_a_voice_is_exported_to_onnx(
    component_id: str, variant: str, more: dict[str, Any], tmp_path: Path, numbers: torch.Generator
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    voice = made(component_id, variant, numbers, more)
    there = session(export.onnx(voice, tmp_path / "decode.onnx", without_noise=True))
    for num_units in (1, 40, 800):
        units, style = units_of(voice, num_units, numbers)
        wave = without_noise(voice, units, style)
        fed = {
            item.name: given.numpy() for item, given in zip(there.get_inputs(), inputs_of(units, style), strict=True)
        }
        (found,) = there.run(None, fed)
        assert found.shape == tuple(wave.shape)
        assert float(wave.abs().max()) > LOUD
        assert float((torch.from_numpy(found) - wave).abs().max()) < close(variant, wave)


def test_what_cannot_be_exported_is_refused(tmp_path: Path, numbers: torch.Generator) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    path = tmp_path / "x.onnx"
    for component_id, variant in (("detokenizer/uvits", "no_style"), ("detokenizer/cfm_mel", "no_style")):
        with pytest.raises(omnikit.OmnikitError, match=r"draws random numbers(.|\n)*without_noise=True"):
            export.onnx(made(component_id, variant, numbers), path)
    with pytest.raises(omnikit.OmnikitError, match="Only encoder=spiral"):
        export.onnx(made("tokenizer/bottleneck", "hubert", numbers), path)
    with pytest.raises(omnikit.OmnikitError, match="MLPProjector cannot be exported"):
        export.onnx(omnikit.create("projector/mlp", in_dim=4, out_dim=4), path)
    assert not path.exists()


def test_a_voice_whose_noise_is_off_samples_nothing(numbers: torch.Generator) -> None:
    voice = made("detokenizer/uvits", "no_style", numbers)
    assert voice.as_graph().samples
    voice.noise_scale = voice.duration_noise_scale = 0.0
    assert not voice.as_graph().samples


def test_the_command_refuses_a_system_and_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.onnx"
    assert main(["export", "tiny", "--onnx", str(path)]) == 2
    assert "tiny#tokenizer" in capsys.readouterr().err
    assert main(["export", "detokenizer/uvits.tiny", "--onnx", str(path)]) == 2
    assert "--without-noise" in capsys.readouterr().err
    assert not path.exists()
