"""`style/reference`: the copy hears what its detokenizer hears, and a system speaks in the style of a recording."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

import omnikit
from omnikit.errors import ContractError, MediaError, OmnikitError
from omnikit.nn.reference_encoder import part_of
from omnikit.serving.style_make import make_reference
from omnikit.system import System
from omnikit.testing.material import sounds
from omnikit.training.style_vectors import LabelledVectors, style_space_of
from omnikit.types import Audio, Style


@pytest.fixture(scope="module")
def system() -> System:
    return omnikit.load("tiny")


@pytest.fixture(scope="module")
def recordings(system: System) -> Audio:
    rate = system.part("detokenizer").sample_rate
    return sounds((rate, rate // 2), rate)


@pytest.fixture(scope="module")
def reference(system: System, recordings: Audio) -> omnikit.slots.style.StyleModule:
    detokenizer = system.part("detokenizer")
    vectors = detokenizer.style_vectors(recordings)
    return make_reference(detokenizer, LabelledVectors(vectors, [{}, {}], style_space_of(detokenizer)))


def test_the_copy_hears_what_the_detokenizer_hears(system: System, reference: object, recordings: Audio) -> None:
    found = reference.from_audio(recordings)
    torch.testing.assert_close(found.vector, system.part("detokenizer").style_vectors(recordings))
    assert found.space_id == system.part("style").space_id


def test_without_a_recording_it_gives_the_mean_of_what_it_was_fitted_on(reference: object, recordings: Audio) -> None:
    mean = reference.from_audio(recordings).vector.mean(0)
    torch.testing.assert_close(reference.from_labels([{}, {}]).vector, mean.expand(2, -1))


def test_a_system_speaks_in_the_style_of_a_recording_by_either_way(
    system: System, reference: object, recordings: Audio
) -> None:
    units = system.hear(recordings)
    units = replace(units, codes=units.codes[:1], lengths=units.lengths[:1])
    one = Audio(recordings.wave[:1], recordings.lengths[:1], recordings.sample_rate)
    other = System(system.plan, {**dict(system.parts), "style": reference})
    by_voice, by_style = (each.speak(units, reference=one, seed=2).wave for each in (system, other))
    torch.testing.assert_close(by_voice, by_style, atol=1e-4, rtol=0)
    assert not torch.equal(by_voice, system.speak(units, seed=2).wave)


@pytest.mark.parametrize("damage", ["silence", "nan", "short"])
def test_what_has_no_style_is_refused_before_anything_is_spoken(
    system: System, reference: object, recordings: Audio, damage: str
) -> None:
    wrong = {
        "silence": replace(recordings, wave=torch.zeros_like(recordings.wave)),
        "nan": replace(recordings, wave=recordings.wave * torch.nan),
        "short": Audio(recordings.wave[:, :3], torch.tensor([3, 3]), recordings.sample_rate),
    }[damage]
    with pytest.raises(MediaError):
        reference.from_audio(wrong)
    with pytest.raises(MediaError):
        system.style_of(reference=wrong)


def test_a_style_of_another_space_is_refused_with_both_names(system: System) -> None:
    own = system.style_of({"emotion": "sad"})
    with pytest.raises(ContractError, match="elsewhere") as error:
        system.say("hello", style=replace(own, space_id="elsewhere"))
    assert str(own.space_id) in str(error.value)


def test_a_style_is_said_in_one_way_only(system: System, recordings: Audio) -> None:
    with pytest.raises(OmnikitError, match="only one"):
        system.style_of({"emotion": "sad"}, reference=recordings)
    with pytest.raises(OmnikitError, match="not both"):
        system.say("hello", style={"emotion": "sad"}, reference=recordings)
    with pytest.raises(OmnikitError, match="It takes: labels"):
        system.style_of(description="a sad man")


def test_a_whole_style_takes_the_place_of_what_the_model_decides(system: System) -> None:
    style = system.style_of({"emotion": "sad", "speed": 1.1})
    reply = system.say("the red star is big.", style=style)
    assert reply.turn.style is style
    assert reply.decided_by == dict.fromkeys(style.labels[0], "user")
    vector_only = Style(vector=style.vector, space_id=style.space_id)
    assert system.say("the red star is big.", style=vector_only).decided_by == {"vector": "user"}


def test_a_detokenizer_without_a_reference_encoder_is_refused() -> None:
    with pytest.raises(OmnikitError, match="0 reference encoders"):
        part_of(torch.nn.Linear(2, 2))

    class Deaf(torch.nn.Linear):
        parameters_given = MappingProxyType({})

        @classmethod
        def contract(cls) -> omnikit.Contract:
            return omnikit.Contract(ignores=frozenset({"style"}))

    with pytest.raises(OmnikitError, match="not applicable"):
        style_space_of(Deaf(2, 2))
