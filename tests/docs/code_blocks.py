"""Fenced code blocks of README.md, CONTRIBUTING.md and docs/, and commands as bash would run them, without running any.

A block that the tests cannot run has a comment on the line before it: `<!-- not run: needs a network -->`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = ("omnikit", "python", "pip", "nox", "pytest", "torchrun", "cp")
"""Programs that a page may call; anything else is an unknown command, and fails."""
_FENCE = re.compile(r"```(\w*)\s*")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_COMMENT = "<!-- not run"
_INLINE = re.compile(r"(?<!`)`(omnikit [^`]+)`(?!`)")
_RECORD, _WORD = "\x1e", "\x1f"


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language, its text, and why it is not run (empty where it is)."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.fullmatch(lines[at])
        if fence is None:
            at += 1
            continue
        end = lines.index("```", at + 1)
        before = next((line for line in reversed(lines[:at]) if line.strip()), "")
        marked = _NOT_RUN.fullmatch(before)
        yield Block(page, at + 1, fence[1], "\n".join(lines[at + 1 : end]) + "\n", marked[1] if marked else "")
        at = end + 1


def blocks_in(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def inline_commands() -> list[tuple[str, str]]:
    """`omnikit …` inside of sentences, with the page; those with an ellipsis stand for many."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks_of(page):
            text = text.replace(block.text, "")
        found += [(page.name, " ".join(item.split())) for item in _INLINE.findall(text) if "…" not in item]
    return found


def num_marks(page: Path) -> int:
    """How many blocks a page means to leave out."""
    return sum(line.startswith(_COMMENT) for line in page.read_text(encoding="utf-8").splitlines())


def commands_of(code: str, folder: Path) -> list[list[str]]:
    """The words of every command that bash would start for `code`: loops, quotes and variables are its own business.

    Every known program is a function that writes its words down; no other program can be found.
    """
    bash = shutil.which("bash")
    assert bash is not None
    write = f"{{ printf '%s{_WORD}' \"${{FUNCNAME[0]}}\" \"$@\" >&3; printf '{_RECORD}' >&3; }}"
    prelude = "\n".join(f"{name}() {write}" for name in COMMANDS)
    log = folder / "commands"
    done = subprocess.run(
        [bash, "--norc", "--noprofile", "-eu", "-c", f"exec 3>{log}\n{prelude}\n{code}"],
        env={"PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    records = log.read_text(encoding="utf-8").split(_RECORD)[:-1]
    return [record.split(_WORD)[:-1] for record in records]
