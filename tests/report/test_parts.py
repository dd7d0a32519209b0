"""Players hold their sound, foreign text stays text, verdicts do not rest on colour."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import soundfile

from omnikit.report.parts import message, player, table, verdict
from omnikit.serving.measure import Sound


def test_a_player_holds_the_sound_as_16_bit_wav() -> None:
    wave = 0.5 * np.sin(np.linspace(0, 300, 8000)).astype(np.float32)
    found = re.search(r'src="data:audio/wav;base64,([^"]+)"', player(Sound(wave, 16_000, np.zeros(0), math.nan), "x"))
    assert found
    read, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])), dtype="float32")
    assert rate == 16_000
    assert np.abs(read - wave).max() < 1e-4


def test_a_sound_that_cannot_be_written_is_told_instead_of_played() -> None:
    broken = player(Sound(np.array([np.nan], dtype=np.float32), 16_000, np.zeros(0), math.nan), "x")
    assert "<audio" not in broken
    assert "NaN" in broken


def test_foreign_text_is_escaped() -> None:
    assert "<script>" not in message("<script>alert(1)</script>", "<script>")
    assert 'aria-label="&quot;&gt;&lt;b&gt;"' in player(
        Sound(np.ones(9, dtype=np.float32), 8000, np.zeros(0), 1.0), '"><b>'
    )


def test_numbers_are_aligned_and_heads_have_a_scope() -> None:
    drawn = table(["a", "b"], [["x", "1"]], "caption")
    assert drawn.count('scope="col"') == 2
    assert '<td class="number">1</td>' in drawn
    assert "<td>x</td>" in drawn


def test_verdicts_say_it_in_words_and_marks() -> None:
    assert "✓ reached" in verdict(True, "reached", "missed")
    assert "✗ missed" in verdict(False, "reached", "missed")
    assert "✓" not in verdict(None)
    assert "✗" not in verdict(None)
