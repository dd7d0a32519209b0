"""From the timing of one rendering to that of another: how long every unit of the first lasts in the second.

Letters: N units, P phones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omnikit.errors import DataError

TimedPhone = Sequence[str | float]
"""(symbol, start_s, end_s)."""


def warp_durations(
    canonical_phones: Sequence[TimedPhone],
    styled_phones: Sequence[TimedPhone],
    num_units: int,
    unit_s: float,
    frame_s: float,
    num_frames: int,
) -> np.ndarray:
    """Frames of the styled rendering that every canonical unit covers: int64 [N], never negative, sum = `num_frames`.

    The borders of the units are carried over by a map that is linear between the borders of the phones; when the two
    renderings do not say the same phones, the map is one uniform stretch. Raises DataError on sizes that make no sense.
    """
    if num_units < 1 or num_frames < 0 or unit_s <= 0 or frame_s <= 0:
        raise DataError(
            f"Cannot spread {num_frames} frames of {frame_s} s over {num_units} units of {unit_s} s.\n"
            "Give at least one unit, no negative number of frames, and positive lengths."
        )
    source = [0.0]
    target = [0.0]
    if [phone[0] for phone in canonical_phones] == [phone[0] for phone in styled_phones]:
        for one, other in zip(canonical_phones, styled_phones, strict=True):
            source += [float(one[1]), float(one[2])]
            target += [float(other[1]), float(other[2])]
    source.append(max(num_units * unit_s, source[-1]))
    target.append(max(num_frames * frame_s, target[-1]))
    knots = np.maximum.accumulate(source)
    places = np.maximum.accumulate(target)
    keep = np.concatenate([np.diff(knots) > 0, [True]])  # of equal knots the last one counts
    edges = np.interp(np.arange(num_units + 1) * unit_s, knots[keep], places[keep]) / frame_s
    frames = np.clip(np.rint(edges).astype(np.int64), 0, num_frames)
    frames[0], frames[-1] = 0, num_frames
    return np.diff(frames)
