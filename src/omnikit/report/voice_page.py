"""The report of a voice: its figures, what every style moves, what is heard, and players to listen for oneself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from omnikit.evaluation.figures import Figure, measured
from omnikit.evaluation.voice_tables import voice_tables
from omnikit.evaluation.voice_takes import Reading
from omnikit.report.parts import escape, figure, player, table, verdict
from omnikit.report.pictures import sound_figure
from omnikit.report.sections import meta
from omnikit.serving.measure import listen

_HERE = Path(__file__).parent


def render_voice_page(figures: Sequence[Figure], readings: Sequence[Reading], about: Mapping[str, str]) -> str:
    """The report as HTML text; style, script, drawings and sound are inside."""
    return Template((_HERE / "voice.html").read_text(encoding="utf-8")).substitute(
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        meta=meta(about),
        figures=_figures(figures),
        tables="".join(
            table(
                [escape(cell) for cell in item.head], [[escape(cell) for cell in row] for row in item.rows], item.title
            )
            for item in voice_tables(figures)
        ),
        readings="".join(_card(number, item) for number, item in enumerate(readings, start=1)),
    )


def write_voice_page(
    path: Path, figures: Sequence[Figure], readings: Sequence[Reading], about: Mapping[str, str]
) -> int:
    """Write the report whole or not at all; returns its size in bytes."""
    part = path.with_name(path.name + ".part")
    part.write_text(render_voice_page(figures, readings, about), encoding="utf-8")
    part.replace(path)
    return path.stat().st_size


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        [
            escape(item.part),
            f"{escape(item.name)} <span class=dim>{escape(item.how)}</span>",
            escape(measured(item)),
            str(item.num_items),
            escape(item.target) if item.target else "–",
            verdict(item.reached, "reached", "missed"),
        ]
        for item in figures
        if not item.group
    ]
    return table(["part", "figure", "measured", "n", "target", ""], rows, "Intervals: 95 %, over utterances", 2)


def _card(number: int, reading: Reading) -> str:
    """One text: as recorded, and in every style; the default style of each speaker is drawn as well."""
    takes = "".join(
        f'<div class="take"><p class="label">{escape(take.name)}</p>'
        f"{player(listen(take.wave, reading.sample_rate), f'text {number}, {take.name}')}</div>"
        for take in reading.takes
    )
    first = listen(reading.takes[0].wave, reading.sample_rate)
    name = reading.takes[0].name
    about = f"Text {number}, {name}: {first.duration_s:.2f} s of sound."
    return (
        f'<article class="card"><h3>“{escape(reading.text)}”</h3><div class="takes">'
        f'<div class="take"><p class="label">the recording that the units are from</p>'
        f"{player(listen(reading.source, reading.sample_rate), f'text {number}, the recording')}</div>{takes}</div>"
        f"{figure(sound_figure(first, about), f'{escape(name)}: waveform, spectrogram and F0')}</article>"
    )
