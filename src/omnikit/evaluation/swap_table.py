"""The swap matrix as a page of documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from omnikit.evaluation.swap_matrix import AXES, Outcome
from omnikit.registry import entries

_ABOUT = """\
# Which parts go together

<!-- Printed by `omnikit swaps > docs/swap_matrix.md`. -->

A row of the first table is a system of parts in their smallest size, with random weights: built, taught one step of
stage `sft` (a dialogue about a picture, a text to speak, a transcript), then asked for one answer with sound, on a CPU.
Any two parts of different columns stand together in one row at least, or in the second table, because negotiation
refuses the two in any company. Printed again, or of one part alone, e.g. one of your own:

```sh
omnikit swaps
omnikit swaps tokenizer/my_codec
```

A part is built as its variant `NAME_tiny` where there is one, else with its defaults. Styles that learn in the space of
a trained voice are told a space, as that voice would. What trained weights are bound to is not seen here: a voice that
was trained on the units of one tokenizer refuses those of any other, of the same rate and codebooks too.
"""


def page_of(found: Sequence[Outcome]) -> str:
    """The page: systems that work, those that failed if there are any, and refusals with their reasons."""
    kinds = {verdict: [item for item in found if item.verdict == verdict] for verdict in ("ok", "failed", "refused")}
    parts = {part for item in found for part in item.row.values()}
    lines = [_ABOUT, f"Parts of {', '.join(_sources(parts))}.", ""]
    lines += [f"## {len(kinds['ok'])} systems that work", ""]
    names = [slot.replace("_", " ") for slot in AXES]
    lines += _table(names, ([_name(item.row[slot]) for slot in AXES] for item in kinds["ok"]))
    if kinds["failed"]:
        lines += ["", f"## {len(kinds['failed'])} systems that fail", ""]
        failed = ([*(_name(item.row[slot]) for slot in AXES), item.reason] for item in kinds["failed"])
        lines += _table([*names, "error"], failed)
    if kinds["refused"]:
        lines += ["", f"## {len(kinds['refused'])} pairs that are refused", ""]
        lines += _table(["these two", "why"], ([", ".join(item.blamed), item.reason] for item in kinds["refused"]))
    return "\n".join(lines) + "\n"


def _sources(parts: Iterable[str]) -> list[str]:
    """The distributions of parts, with their versions."""
    known = entries()
    points = [known[part] for part in parts if part in known]
    alone = ["this process"] if any(part not in known for part in parts) else []
    return [*sorted({f"{point.distribution} {point.version}" for point in points}), *alone]


def _name(component_id: str) -> str:
    return component_id.partition("/")[2]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
