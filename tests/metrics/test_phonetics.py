"""PNMI and purities against their definitions written out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from omnikit.errors import OmnikitError
from omnikit.metrics.phonetics import frame_phones, phonetic_units


def by_definition(phones: list[int], units: list[int]) -> tuple[float, float, float]:
    """PNMI, phone purity and cluster purity, one sum at a time."""
    num, joint = len(phones), Counter(zip(phones, units, strict=True))
    by_phone, by_unit = Counter(phones), Counter(units)
    mutual = sum(n / num * math.log(n * num / (by_phone[p] * by_unit[u])) for (p, u), n in joint.items())
    entropy = -sum(n / num * math.log(n / num) for n in by_phone.values())
    phone_purity = sum(max(joint[p, u] for p in by_phone) for u in by_unit) / num
    cluster_purity = sum(max(joint[p, u] for u in by_unit) for p in by_phone) / num
    return mutual / entropy, phone_purity, cluster_purity


def test_the_definitions() -> None:
    rng = np.random.default_rng(0)
    phones = [rng.integers(0, 5, 60) for _ in range(12)]
    units = [(own * 3 + rng.integers(0, 4, 60)) % 11 for own in phones]
    found = phonetic_units(phones, units, [str(n % 6) for n in range(12)])
    wanted = by_definition(np.concatenate(phones).tolist(), np.concatenate(units).tolist())
    measured = (found.pnmi.value, found.phone_purity.value, found.cluster_purity.value)
    assert measured == pytest.approx(wanted)
    assert found.num_frames == 720
    assert found.pnmi.low < found.pnmi.value < found.pnmi.high


def test_units_that_are_phones_tell_all_and_random_units_nothing_once_corrected() -> None:
    rng = np.random.default_rng(0)
    phones = [rng.integers(0, 8, 100) for _ in range(20)]
    groups = [str(n) for n in range(20)]
    same = phonetic_units(phones, [own + 3 for own in phones], groups)
    assert (same.pnmi.value, same.phone_purity.value, same.cluster_purity.value) == pytest.approx((1, 1, 1))
    random = phonetic_units(phones, [rng.integers(0, 40, 100) for _ in range(20)], groups)
    assert random.pnmi.value > 0.03  # the bias of the plug-in: about 7 · 39 / (2 · 2000 · ln 8)
    assert abs(random.pnmi_corrected.value) < 0.01


def test_frames_without_a_phone_do_not_count() -> None:
    phones = [np.array([0, -1, 1, -1])]
    one, other = (phonetic_units(phones, [np.array(row)], ["a"]) for row in ([0, 5, 1, 6], [0, 7, 1, 7]))
    assert math.isnan(one.pnmi.low)
    assert one.num_frames == 2
    assert one.pnmi.value == other.pnmi.value == pytest.approx(1.0)


def test_a_frame_has_the_phone_at_its_middle() -> None:
    spans = [(4, 0.0, 0.1), (7, 0.1, 0.15), (9, 0.3, 0.4)]
    assert frame_phones(spans, 5, 10.0).tolist() == [4, -1, -1, 9, -1]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(OmnikitError, match="No frame"):
        phonetic_units([np.array([-1, -1])], [np.array([0, 1])], ["a"])
    with pytest.raises(OmnikitError, match="2 frames with phones and 3"):
        phonetic_units([np.array([0, 1])], [np.array([0, 1, 2])], ["a"])
