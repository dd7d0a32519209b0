"""What mkdocs builds beside the files of docs/: pages of files that live elsewhere, and a page a component.

README.md, CONTRIBUTING.md, CHANGELOG.md and the READMEs of plugins stay where people look for them in a repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from component_pages.page import INDEX, every_page

from omnikit.registry import slots

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "conformance"
FROM_ELSEWHERE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"} | {
    path.relative_to(ROOT).as_posix(): f"plugins/{path.parent.name}{'' if path.stem == 'README' else '-licences'}.md"
    for name in ("README.md", "LICENCES.md")
    for path in sorted(ROOT.glob(f"plugins/*/{name}"))
}
"""Files of the repository that become pages, with the pages' paths."""
_LINK = re.compile(r"\[([^\]\[]*)\]\((?!\w+:)([^)#\s]+\.md)(#[\w-]+)?\)")
_NOT_RUN = re.compile(r"(?m)^<!-- not run: (.+?) -->")


def pages_from_elsewhere() -> dict[str, str]:
    """The text of `FROM_ELSEWHERE`, with links as they are in the site."""
    return {page: relinked((ROOT / name).read_text(encoding="utf-8"), name) for name, page in FROM_ELSEWHERE.items()}


def relinked(text: str, name: str) -> str:
    """A file of the repository with its links to other files leading to their pages; a bare path reads as a title."""
    page = page_of(name)

    def led(link: re.Match[str]) -> str:
        said, path, anchor = link[1], link[2], link[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        title = title_of(ROOT / target) if said.removesuffix(anchor) in (path, target, posixpath.basename(path)) else said
        return f"[{title}]({posixpath.relpath(page_of(target), posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(led, text)


def page_of(name: str) -> str:
    """The path, below the site's root, of the page that a file of the repository becomes."""
    return FROM_ELSEWHERE.get(name, name.removeprefix("docs/"))


def title_of(path: Path) -> str:
    """The first heading of a file."""
    found = re.search(r"(?m)^# (.+)$", path.read_text(encoding="utf-8")) if path.is_file() else None
    return found[1] if found else path.name


def components_nav(pages: dict[str, str]) -> list[Any]:
    """The navigation of the section on components: the list, then every slot's components."""
    nav: list[Any] = [INDEX]
    for slot in slots():
        found = sorted(page for page in pages if page.startswith(f"components/{slot}/"))
        nav += [{slot: [{Path(page).stem: page} for page in found]}] if found else []
    return nav


def plugins_nav() -> list[Any]:
    """The pages of the distributions in plugins/, by name."""
    pages = sorted(page for page in FROM_ELSEWHERE.values() if page.startswith("plugins/"))
    return [{Path(page).stem: page} for page in pages if not page.endswith("-licences.md")]


def on_config(config: Any) -> Any:
    """Make the pages, and put them into the navigation."""
    config.extra["generated"] = pages = {**pages_from_elsewhere(), **every_page(RESULTS)}
    for section in config.nav:
        if "Components" in section:
            section["Components"] = [*components_nav(pages), {"plugins of this repository": plugins_nav()}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Give the pages to mkdocs as if they lay in docs/."""
    from mkdocs.structure.files import File

    for path, text in config.extra["generated"].items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links of docs/ to their pages, and show which blocks the tests do not run, and why."""
    if page.file.generated_by is None:
        markdown = relinked(markdown, f"docs/{page.file.src_uri}")
    return _NOT_RUN.sub(r'<p class="not-run">The tests do not run this block: \1.</p>', markdown)
