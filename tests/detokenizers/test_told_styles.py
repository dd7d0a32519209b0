"""Voices that are told their style vectors: what they learn from, what they give up, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detokenizers import small_uvits, test_cfm_mel
from omnikit.artefacts import load_component, save_component
from omnikit.detokenizers.cfm_mel import CfmMel
from omnikit.errors import ContractError, DataError, OmnikitError
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch
from omnikit.types import Style, Units

MAKERS: dict[str, Callable[[], Any]] = {
    "uvits_frame": small_uvits.small,
    "uvits_reduced": lambda: small_uvits.small("reduced"),
    "cfm_mel": test_cfm_mel.small,
}


@pytest.fixture(params=list(MAKERS))
def made(request: pytest.FixtureRequest) -> tuple[Detokenizer, VoiceBatch]:
    """A voice of a style width of 4, and two rows to learn from."""
    voice = MAKERS[request.param]().train()
    layout = getattr(voice, "layout", "frame")
    return voice, small_uvits.batch_of(layout, [10, 6])


def told(batch: VoiceBatch, vectors: torch.Tensor, space_id: str = "space-1") -> VoiceBatch:
    return replace(batch, style=Style(vector=vectors, space_id=space_id))


def total(voice: Detokenizer, batch: VoiceBatch) -> torch.Tensor:
    return voice.training_forward(batch, torch.Generator().manual_seed(0)).losses.total


def test_the_loss_depends_on_what_is_told_and_teaches_what_reads_it(made: tuple[Detokenizer, VoiceBatch]) -> None:
    voice, batch = made
    vectors = torch.eye(4)[:2].requires_grad_()
    output = voice.training_forward(told(batch, vectors), torch.Generator().manual_seed(0))
    assert output.style is None  # what is told is learnt by nobody
    assert not torch.equal(output.losses.total, total(voice, told(batch, vectors.detach().flip(0))))
    output.losses.total.backward()
    assert bool((vectors.grad.abs().sum(1) > 0).all())
    taught = {
        name.split(".")[0]
        for name, weight in voice.named_parameters()
        if any(word in name for word in ("cond", "style", "tint")) and weight.grad is not None and weight.grad.any()
    }
    assert taught >= ({"field", "tint"} if isinstance(voice, CfmMel) else {"dec", "enc_q", "flow"})


def test_its_own_encoder_is_not_run(made: tuple[Detokenizer, VoiceBatch], monkeypatch: pytest.MonkeyPatch) -> None:
    voice, batch = made
    assert voice.training_forward(batch, torch.Generator().manual_seed(0)).style is not None

    def run(*_: object) -> None:
        raise AssertionError("the reference encoder was run")

    monkeypatch.setattr(StyleEncoder, "forward", run)
    assert bool(total(voice, told(batch, torch.eye(4)[:2])).isfinite())
    with pytest.raises(AssertionError, match="was run"):
        total(voice, batch)


def test_vectors_of_another_space_or_shape_teach_nothing(made: tuple[Detokenizer, VoiceBatch]) -> None:
    voice, batch = made
    with pytest.raises(ContractError, match="space 'elsewhere', the detokenizer takes 'space-1'"):
        total(voice, told(batch, torch.eye(4)[:2], "elsewhere"))
    with pytest.raises(ContractError, match=r"shape \[2, 3\]"):
        total(voice, told(batch, torch.eye(3)[:2]))
    with pytest.raises(ContractError, match="NaN"):
        total(voice, told(batch, torch.full((2, 4), torch.nan)))


def test_a_told_voice_hears_nothing_by_itself(made: tuple[Detokenizer, VoiceBatch], tmp_path: Path) -> None:
    voice, batch = made
    names = set(voice.state_dict())
    assert voice.style_vectors(batch.audio) is not None
    voice.use_told_styles("speakers-1")
    assert set(voice.state_dict()) == names  # any config of the voice fits its file
    (encoder,) = (part for part in voice.modules() if isinstance(part, StyleEncoder))
    assert not any(weight.any() or weight.requires_grad for weight in encoder.parameters())
    total(voice, told(batch, torch.eye(4)[:2], "speakers-1")).backward()
    untaught = {name.split(".")[0] for name, weight in voice.named_parameters() if weight.grad is None}
    assert untaught in ({"enc_r"}, {"reference"})
    save_component(voice, tmp_path / "voice", half=True)
    loaded = load_component(tmp_path / "voice")
    for known in (voice, loaded):
        with pytest.raises(DataError, match="'speakers-1' that come from outside"):
            total(known, batch)
        with pytest.raises(OmnikitError, match="hears no recordings itself"):
            known.style_vectors(batch.audio)
    units: Units = batch.units
    own = Style(vector=torch.eye(4)[:2], space_id="speakers-1")
    assert loaded.decode(units, own, torch.Generator()).wave.isfinite().all()
    with pytest.raises(ContractError, match="space 'space-1', the detokenizer takes 'speakers-1'"):
        loaded.decode(units, replace(own, space_id="space-1"), torch.Generator())


def test_a_voice_that_has_spoken_takes_its_new_space_at_once() -> None:
    voice, units, style = small_uvits.small().eval(), small_uvits.units_of([4]), small_uvits.style_of(1)
    voice.decode(units, style, torch.Generator())
    voice.use_told_styles("speakers-1")
    voice.decode(units, replace(style, space_id="speakers-1"), torch.Generator())
    with pytest.raises(ContractError, match="'speakers-1'"):
        voice.decode(units, style, torch.Generator())


def test_others_say_that_they_cannot() -> None:
    class Deaf(Detokenizer):
        decode = style_vectors = training_forward = make_discriminator = lambda self: None  # type: ignore[assignment]

    plain = small_uvits.small(style_dim=0, style_space=None), test_cfm_mel.small(style_dim=0, style_space=None)
    for voice in (Deaf(), *plain):
        with pytest.raises(OmnikitError, match="learns no style vectors that come from outside: 'speakers-1'"):
            voice.use_told_styles("speakers-1")
