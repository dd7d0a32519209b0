"""The figures of `voice` and `control` as tables: what every style moved, and what was heard for what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnikit.evaluation import voice_control, voice_quality
from omnikit.evaluation.figures import Figure, measured


@dataclass(frozen=True)
class Table:
    """Plain cells under a `title`; the first column names the rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as Markdown, its title above."""
        lines = [f"**{self.title}**", "", f"| {' | '.join(self.head)} |", "|---" * len(self.head) + "|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])


def voice_tables(figures: Sequence[Figure]) -> list[Table]:
    """The tables that these figures fill; none where neither part was judged."""
    return [*_effects(figures), *_confusions(figures)]


def _effects(figures: Sequence[Figure]) -> list[Table]:
    """A row for every change of style: what it moved and, in brackets, what the rule says; then the phone errors."""
    own = {(item.group, item.name): item for item in figures if item.part == voice_control.PART and item.group}
    groups = list(dict.fromkeys(group for group, _ in own))
    if not groups:
        return []
    names = [f"{name} moved" for name in voice_control.DIMENSIONS]
    errors = ["phone error, changed styles", "phone error above the default style"]
    rows = []
    for group in groups:
        moved = [_against(own[group, name]) for name in names]
        rows.append([group, *moved, *(measured(own[group, name]) for name in errors)])
    title = "The same units in every style: against the default style of the same speaker (in brackets: the rule)"
    return [Table(title, ["style", *names, "phone error", "above default"], rows)]


def _against(figure: Figure) -> str:
    said = figure.how.removeprefix("the rule says ")
    return measured(figure) + (f" ({said})" if said != figure.how else "")


def _confusions(figures: Sequence[Figure]) -> list[Table]:
    """A matrix for every factor: a row for what was asked, a column for what was heard, in %."""
    cells = [item for item in figures if item.part == voice_quality.PART and item.group.startswith("asked ")]
    tables = []
    for name in dict.fromkeys(item.name for item in cells):
        found = {}
        for item in cells:
            if item.name == name:
                asked, heard = item.group.removeprefix("asked ").split(", heard ")
                found[asked, heard] = item
        columns = list(dict.fromkeys(heard for _, heard in found))
        rows = []
        for asked in dict.fromkeys(asked for asked, _ in found):
            own = [found[asked, heard] for heard in columns]
            rows.append([asked, *(f"{item.value:.0f}" for item in own), str(own[0].num_items)])
        tables.append(Table(f"{name}, % of what was asked (rows)", ["asked", *columns, "n"], rows))
    return tables
