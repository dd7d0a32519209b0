"""How units and phones go together, from frames that carry both: PNMI and purities.

Letters: T frames, P phones, U units, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.errors import OmnikitError
from omnikit.metrics.codebooks import entropy_bits, miller_madow_bits

NUM_GROUPS = 20
NO_PHONE = -1


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (NaN: none)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PhoneticUnits:
    """What units tell of phones, over `num_frames` frames that lie in a phone.

    `pnmi` is I(phone; unit) / H(phone) by plug-in, too high where units are many and frames few; `pnmi_corrected` the
    same with Miller's and Madow's correction in each entropy. `phone_purity` is how often a frame's phone is the
    commonest one of its unit, `cluster_purity` how often a frame's unit is the commonest one of its phone.
    Ref: Hsu et al., "HuBERT", 2021, section IV-E.
    """

    pnmi: Estimate
    pnmi_corrected: Estimate
    phone_purity: Estimate
    cluster_purity: Estimate
    num_frames: int


def frame_phones(spans: Sequence[tuple[int, float, float]], num_frames: int, rate: float) -> np.ndarray:
    """The phone at the middle of every frame: int [T] from (phone, start_s, end_s), -1 where there is none."""
    middles = (np.arange(num_frames) + 0.5) / rate
    phones = np.full(num_frames, NO_PHONE)
    for phone, start, end in spans:
        phones[(middles >= start) & (middles < end)] = phone
    return phones


def phonetic_units(phones: Sequence[np.ndarray], units: Sequence[np.ndarray], groups: Sequence[str]) -> PhoneticUnits:
    """Measures of one codebook from utterances with a phone (-1: none) and a unit a frame, [T] each.

    Intervals are ± 1.96 jackknife standard errors, leaving out one of at most 20 bundles of `groups` (e.g. voices) at a
    time. Raises `OmnikitError` when no frame lies in a phone, or two utterances' frames differ in number.
    """
    names = {name: number % NUM_GROUPS for number, name in enumerate(sorted(set(groups)))}
    bundle = np.concatenate([np.full(len(own), names[name]) for own, name in zip(phones, groups, strict=True)])
    phone, unit = np.concatenate(list(phones)), np.concatenate(list(units))
    if len(phone) != len(unit):
        raise OmnikitError(f"There are {len(phone)} frames with phones and {len(unit)} with units; both must agree.")
    kept = phone != NO_PHONE
    if not kept.any():
        raise OmnikitError("No frame lies in a phone; timed phones are needed to compare units with them.")
    bundle, phone, unit = bundle[kept], phone[kept], unit[kept]
    kinds, unit = np.unique(unit, return_inverse=True)
    sounds, phone = np.unique(phone, return_inverse=True)
    num_bundles = int(bundle.max()) + 1
    counts = np.zeros((num_bundles, len(sounds), len(kinds)), dtype=np.int32)  # [G, P, U]
    np.add.at(counts, (bundle, phone, unit), 1)
    total = counts.sum(0)
    used = np.unique(bundle)
    whole = measures(total)
    left = np.array([measures(total - counts[number]) for number in used]) if len(used) > 1 else None
    pnmi, corrected, phone_purity, cluster_purity = (
        _estimate(value, None if left is None else left[:, i]) for i, value in enumerate(whole)
    )
    return PhoneticUnits(pnmi, corrected, phone_purity, cluster_purity, int(kept.sum()))


def measures(counts: np.ndarray) -> tuple[float, float, float, float]:
    """PNMI, PNMI corrected, phone purity and cluster purity of frame counts [P, U]; NaN where phones are one only."""
    total = counts.sum()
    by_phone, by_unit = counts.sum(1), counts.sum(0)
    plug_in, corrected = (
        (entropy(by_phone) + entropy(by_unit) - entropy(counts.ravel()), entropy(by_phone))
        for entropy in (entropy_bits, miller_madow_bits)
    )
    pnmi, better = (inside / alone if alone > 0 else math.nan for inside, alone in (plug_in, corrected))
    return pnmi, better, float(counts.max(0).sum() / total), float(counts.max(1).sum() / total)


def _estimate(value: float, left: np.ndarray | None) -> Estimate:
    if left is None:
        return Estimate(value, math.nan, math.nan)
    reach = 1.96 * math.sqrt((len(left) - 1) / len(left) * float(((left - left.mean()) ** 2).sum()))
    return Estimate(value, value - reach, value + reach)
