"""Figures as records that can be compared: a metric by its id, a signature, and every item where a figure has them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib import metadata
from typing import Any

from omnikit.evaluation.figures import Figure

LOWER = (
    "error",
    "length of",
    "unparsed",
    "bit rate",
    "leak",
    "read from",
    "shuffled",
    "distance",
    "real-time factor",
    "first sound",
    "off the rule",
    "unasked",
)
HIGHER = (
    "right",
    "named",
    "heard",
    "recognised",
    "says",
    "speech out",
    "text out",
    "kept",
    "used",
    "perplexity",
    "pnmi",
    "purity",
    "accuracy",
    "measurable",
    "similarity, made",
)
"""Words in the names of figures without a target that say which way is better."""


def metric_id(figure: Figure) -> str:
    """The id of a figure: `part.name` in lower case, everything else as underscores."""
    part, name = (re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") for text in (figure.part, figure.name))
    return f"{part}.{name}"


def higher_is_better(figure: Figure) -> bool | None:
    """Which way is better: as the target says, else as the name says; None where neither does."""
    if figure.target is not None:
        return figure.target.at_least
    name = figure.name.lower()
    if any(word in name for word in LOWER):
        return False
    return True if any(word in name for word in HIGHER) else None


def signature(figure: Figure, data: str, seed: int) -> str:
    """What a value is of: metric (and group), version, seed, items and data. Others with it alone are comparable.

    `data` is the sha256 of the corpus, `seed` drew the items.
    """
    items = figure.items
    group = f"|{figure.group}" if figure.group else ""
    drawn = "" if items is None else "|items:" + hashlib.sha256("\n".join(items.ids).encode()).hexdigest()[:12]
    num = figure.num_items if items is None else len(items.ids)
    version = metadata.version("omnikit-core")
    return f"{metric_id(figure)}{group}|omnikit:{version}|seed:{seed}{drawn}|data:{data[:12]}|n:{num}"


def signed(figures: Iterable[Figure], data: str, seed: int) -> list[dict[str, Any]]:
    """Figures as JSON-ready data, each with its signature."""
    return [{**figure.as_dict(), "signature": signature(figure, data, seed)} for figure in figures]


def score_records(figures: Iterable[Figure], data: str, seed: int) -> Iterator[dict[str, Any]]:
    """One record a figure of the table, in the units of Σ errors / Σ lengths (a percentage is a fraction here).

    `data` is the sha256 of the corpus, `seed` drew the items. Values with different signatures are not comparable.
    """
    for figure in figures:
        if figure.group:
            continue
        scale, items = 100.0 if figure.unit == "%" else 1.0, figure.items
        record: dict[str, Any] = {
            "metric": metric_id(figure),
            "signature": signature(figure, data, seed),
            "name": f"{figure.part}: {figure.name}",
            "higher_is_better": higher_is_better(figure),
            "value": _number(figure.value / scale),
            "low": _number(figure.low / scale),
            "high": _number(figure.high / scale),
            "unit": figure.unit,
        }
        if items is not None:
            record |= {
                "errors": [float(value) for value in items.errors],
                "lengths": [float(value) for value in items.lengths],
                "items": list(items.ids),
                "clusters": list(items.clusters),
            }
        record |= {name: asdict(found) for name in ("confusion", "use") if (found := getattr(figure, name)) is not None}
        yield record


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
