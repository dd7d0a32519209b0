"""The voices: variants of espeak-ng's en-us, with flutter, roughness and echo at zero so that each is reproducible.

Only variants of a plain gender are used; no whisper and no robots. The klatt variants are left out: their synthesiser
carries state from call to call that cannot be reset, and about one call in 25 comes out otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnikit.errors import unknown_name


@dataclass(frozen=True)
class Voice:
    """A speaker: its name (an espeak-ng variant, `base` for none), its gender, and whether training may hear it."""

    name: str
    gender: str
    held_out: bool = False


_TRAIN_FEMALE = "Alicia Andrea anika belinda f1 f2 f3 f4 grandma linda steph steph3"
_TRAIN_MALE = "base Andy Lee Henrique antonio michel miguel m1 m2 m3 m4 m6 m8 sandro travis m5 Diogo max"
_HELD_FEMALE = "Annie aunty f5"
_HELD_MALE = "Denis m7 victor"

VOICES: dict[str, Voice] = {
    voice.name: voice
    for names, gender, held_out in (
        (_TRAIN_FEMALE, "female", False),
        (_TRAIN_MALE, "male", False),
        (_HELD_FEMALE, "female", True),
        (_HELD_MALE, "male", True),
    )
    for voice in (Voice(name, gender, held_out) for name in names.split())
}
CANONICAL_VOICE = "base"
"""The one neutral voice that all reply units come from."""
TARGET_VOICES: dict[str, str] = {"female": "f3", "male": "m3"}
"""The two voices that the detokenizer learns to speak with, by gender."""


def voice_named(name: str) -> Voice:
    """The voice of that name; raises UnknownName."""
    if name not in VOICES:
        raise unknown_name("voice", name, VOICES)
    return VOICES[name]


def voices_of(gender: str, held_out: bool = False) -> tuple[str, ...]:
    """Names of the voices of a gender, training or held-out ones."""
    return tuple(voice.name for voice in VOICES.values() if voice.gender == gender and voice.held_out == held_out)
