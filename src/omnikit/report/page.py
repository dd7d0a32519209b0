"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from omnikit.report.diagram import draw_system
from omnikit.report.parts import escape, figure, table, verdict
from omnikit.report.sections import answer_card, emotions, live_swap, meta, style_off
from omnikit.serving.demo import Figure
from omnikit.serving.show import Show

_HERE = Path(__file__).parent


def render_page(show: Show) -> str:
    """The whole report as HTML text; style, script, pictures and sound are inside."""
    template = Template((_HERE / "template.html").read_text(encoding="utf-8"))
    links = [(str(link.wire), str(link.port) if link.port else link.note) for link in show.plan.links]
    wires = table(
        ["wire", "carries"], [[escape(wire), escape(carried)] for wire, carried in links], "Every wire as negotiated", 2
    )
    derived = table(
        ["derived", "value", "said by"],
        [[escape(f"{d.slot}.{d.parameter}"), escape(d.value), escape(d.said_by)] for d in show.plan.derivations],
        "What nobody had to set",
        3,
    )
    caption = "Every part as it was loaded; on the arrows, what flows and how fast. Dashed parts stand empty."
    return template.substitute(
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        meta=meta(show.about),
        system=figure(draw_system(show.plan), caption, "wide"),
        wires=wires,
        derived=derived if show.plan.derivations else "",
        questions_intro=_questions_intro(show),
        questions="".join(answer_card(number, item) for number, item in enumerate(show.shown, start=1)),
        emotions=emotions(show.takes, show.spoken_text),
        swaps=style_off(show.style_off) + live_swap(show.live),
        figures=_figures(show.figures),
    )


def write_page(path: Path, show: Show) -> int:
    """Write the report whole or not at all; returns its size in bytes."""
    part = path.with_name(path.name + ".part")
    part.write_text(render_page(show), encoding="utf-8")
    part.replace(path)
    return path.stat().st_size


def _questions_intro(show: Show) -> str:
    return (
        f"<p>The first {len(show.shown)} of {show.num_questions} questions that were drawn; none was picked for how it "
        f"came out. The voices are {escape(', '.join(show.piece.voices))}: none of them was heard in training, and "
        "neither were the texts.</p>"
    )


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        [
            f"{escape(item.name)}{f' <span class=dim>{escape(item.note)}</span>' if item.note else ''}",
            escape(item.value),
            escape(item.aim) or "–",
            verdict(item.reached, "reached", "missed"),
        ]
        for item in figures
    ]
    return table(
        ["measured in this run", "value", "aim", ""],
        rows,
        "Rates are with their 95 % interval over utterances; few utterances make it wide",
    )
