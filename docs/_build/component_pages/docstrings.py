"""The docstring of a component, read into its parts: summary, text, parameters, contract, sources, example."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"(Args|Contract|Raises|Ref|Example):\s*(.*)")
_ENTRY = re.compile(r"    (\w[\w, ]*): (.*)")


@dataclass
class Docstring:
    """Parts of a docstring. `meanings` has a text for every parameter that is described."""

    summary: str = ""
    text: list[str] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)
    doctest: str = ""


def read_docstring(cls: type) -> Docstring:
    """The docstring of a class (not an inherited one): paragraphs, `Args:`, one-line sections, and a doctest."""
    found = Docstring()
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].startswith(">>>"):
            found.doctest = paragraph
            continue
        plain: list[str] = []
        while lines:
            section = _SECTION.fullmatch(lines[0])
            if section is None:
                plain.append(lines.pop(0))
                continue
            length = next((at for at, line in enumerate(lines) if at and _SECTION.fullmatch(line)), len(lines))
            body, lines = lines[1:length], lines[length:]
            if section[1] == "Args":
                found.meanings.update(_meanings(body))
            else:
                found.sections[section[1]] = " ".join([section[2], *(line.strip() for line in body)]).strip()
        if plain and not found.summary:
            found.summary = " ".join(plain)
        elif plain:
            found.text.append("\n".join(plain))
    return found


def _meanings(lines: list[str]) -> dict[str, str]:
    """`name, other: what they are` with indented lines below, as a text a name."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry:
            names = [name.strip() for name in entry[1].split(",")]
        for name in names:
            said = entry[2] if entry else line.strip()
            found[name] = f"{found[name]} {said}" if name in found else said
    return found
