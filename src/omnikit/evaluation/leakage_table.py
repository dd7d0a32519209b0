"""Leakage reports as Markdown tables: one tokenizer, or several side by side, from records or from their JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.errors import DataError
from omnikit.evaluation.probing import FACTORS, Reading, strongest
from omnikit.evaluation.views import FEATURES, MELS, RUNS, UNITS

MAIN_VIEWS = (UNITS, FEATURES, MELS)


@dataclass(frozen=True)
class Report:
    """A report as its JSON file holds it: a short `name`, the readings, and figures by name with value, low, high."""

    name: str
    about: Mapping[str, Any]
    readings: tuple[Reading, ...]
    figures: tuple[Mapping[str, Any], ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """A report from the data of `Leakage.as_dict`."""
        about = {name: value for name, value in data.items() if name not in ("readings", "figures")}
        readings = tuple(Reading.from_dict(item) for item in data["readings"])
        return cls(data["name"], about, readings, tuple(data["figures"]))

    @property
    def views(self) -> list[str]:
        """The views that were read: units, single codebooks, then the others."""
        found = dict.fromkeys(item.view for item in self.readings)
        others = [view for view in (RUNS, FEATURES, MELS) if view in found]
        return [*(view for view in found if view not in others), *others]


def read_report(path: Path) -> Report:
    """A report from a JSON file that `omnikit probe --json` wrote. Raises `DataError` for anything else."""
    try:
        return Report.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no leakage report ({type(error).__name__}: {error}).\n"
            "Write one by: omnikit probe tokenizer=… --json FILE"
        ) from error


def probe_table(report: Report) -> str:
    """A row a factor: chance, and from every view what its strongest reader reads, with its shuffled control."""
    views = report.views
    rows = [
        f"| factor | chance | {' | '.join(views)} | units, shuffled labels | strongest reader of units | n, voices |",
        "|---" * (len(views) + 5) + "|",
    ]
    for factor in FACTORS:
        own = {view: strongest(report.readings, factor, view) for view in views}
        units = own.get(UNITS)
        if units is None:
            rows.append(f"| {factor} |" + " not measurable |" + " |" * (len(views) + 3))
            continue
        cells = [_rate(item.accuracy) if item else "–" for item in own.values()]
        size = f"{units.accuracy.num_items}, {units.num_voices}"
        control = _rate(units.shuffled)
        rows.append(
            f"| {factor} | {100 * units.chance:.1f} | {' | '.join(cells)} | {control} | {units.reader} | {size} |"
        )
    return "\n".join(rows)


def reader_table(report: Report, view: str = UNITS) -> str:
    """Every reader of one view: factor by reader."""
    readers = list(dict.fromkeys(item.reader for item in report.readings if item.view == view))
    rows = [f"| {view} | {' | '.join(readers)} |", "|---" * (len(readers) + 1) + "|"]
    for factor in FACTORS:
        own = {item.reader: item for item in report.readings if (item.factor, item.view) == (factor, view)}
        if own:
            cells = [_rate(own[reader].accuracy) if reader in own else "–" for reader in readers]
            rows.append(f"| {factor} | {' | '.join(cells)} |")
    return "\n".join(rows)


def figure_table(report: Report) -> str:
    """The figures of the units, with how each was got."""
    rows = ["| figure | measured [95 % interval] | n | how |", "|---|---|---|---|"]
    rows += [f"| {item['name']} | {_figure(item)} | {item['num_items']} | {item['how']} |" for item in report.figures]
    return "\n".join(rows)


def compare_table(reports: Sequence[Report]) -> str:
    """Several tokenizers side by side: what is read from units, features and log-mels, then the units' figures."""
    names = [report.name for report in reports]
    rows = [
        f"| read from | factor | chance | {' | '.join(names)} |",
        "|---" * (len(names) + 3) + "|",
    ]
    for view in MAIN_VIEWS:
        shown = view
        for factor in FACTORS:
            own = [strongest(report.readings, factor, view) for report in reports]
            known = next((item for item in own if item), None)
            if known is None:
                continue
            cells = [_rate(item.accuracy) if item else "–" for item in own]
            rows.append(f"| {shown} | {factor} | {100 * known.chance:.1f} | {' | '.join(cells)} |")
            shown = ""
    rows += ["", f"| figure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    tables = [{item["name"]: item for item in report.figures} for report in reports]
    for name in dict.fromkeys(name for table in tables for name in table):
        rows.append(f"| {name} | {' | '.join(_figure(table.get(name)) for table in tables)} |")
    return "\n".join(rows)


def _rate(rate: Any) -> str:
    if math.isnan(rate.value):
        return "not measurable"
    return f"{100 * rate.value:.1f}" + _between(100 * rate.low, 100 * rate.high)


def _between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"


def _figure(item: Mapping[str, Any] | None) -> str:
    if item is None or item["value"] is None:
        return "–"
    low, high = (math.nan if item[end] is None else item[end] for end in ("low", "high"))
    unit = f" {item['unit']}" if item["unit"] else ""
    return f"{item['value']:.1f}{unit}{_between(low, high)}"
