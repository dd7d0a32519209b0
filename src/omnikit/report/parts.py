"""Small pieces of HTML: players, tables, figures with captions, quoted messages. `escape` is for all foreign text."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omnikit.data.media import write_audio
from omnikit.errors import MediaError
from omnikit.report.pictures import data_uri
from omnikit.serving.measure import Sound


def escape(text: object) -> str:
    """Text that is safe inside elements and quoted attributes."""
    return html.escape(str(text), quote=True)


def player(sound: Sound, label: str) -> str:
    """An audio element that holds its sound as 16-bit WAV, written through the door by which all sound leaves."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            content = write_audio(Path(folder) / "sound.wav", sound.wave, sound.sample_rate).read_bytes()
        except MediaError as error:
            return f'<p class="no-sound">{escape(error)}</p>'
    source = data_uri("audio/wav", content)
    return f'<audio controls preload="metadata" aria-label="{escape(label)}" src="{source}"></audio>'


def figure(drawing: str, caption: str, extra: str = "") -> str:
    """A drawing with its caption; wide drawings scroll inside on narrow screens."""
    inside = f'<div class="scroll" tabindex="0">{drawing}</div><figcaption>{caption}</figcaption>'
    return f'<figure class="{extra}">{inside}</figure>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, numeric_from: int = 1) -> str:
    """A table of ready HTML cells; columns from `numeric_from` on are aligned as numbers."""

    def cell(tag: str, index: int, content: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kind = ' class="number"' if index >= numeric_from else ""
        return f"<{tag}{scope}{kind}>{content}</{tag}>"

    top = "".join(cell("th", i, item) for i, item in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", i, item) for i, item in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def message(text: str, title: str) -> str:
    """A message as the command line prints it."""
    inside = f'<figcaption>{escape(title)}</figcaption><pre tabindex="0">{escape(text)}</pre>'
    return f'<figure class="message">{inside}</figure>'


def verdict(reached: bool | None, yes: str = "yes", no: str = "no") -> str:
    """A yes or no that does not rest on colour alone."""
    if reached is None:
        return '<span class="verdict none">–</span>'
    kind, mark, word = ("good", "✓", yes) if reached else ("bad", "✗", no)
    return f'<span class="verdict {kind}">{mark} {escape(word)}</span>'
