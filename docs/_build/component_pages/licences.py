"""Under which terms a component comes: the code of its distribution, and weights that are shipped or can be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from omnikit.artefacts import CARD, read_card
from omnikit.contracts import signature_of
from omnikit.registry import describe, resolve

_TERMS = "LICENCES.md"
_BESIDE = ("LICENCE*", "LICENSE*")
_SOURCES = ("pretrained", "model")


def licence_lines(component_id: str) -> Iterator[str]:
    """Markdown, one bullet a fact, then the distribution's own list of terms where it ships one."""
    told = describe(component_id)
    said = metadata.metadata(told.distribution)
    code = next((said[name] for name in ("License-Expression", "License") if name in said), "not declared")
    yield f"- Code: **{code}** ({told.distribution} {told.version})."
    for folder, terms in _shipped(told.target.partition(".")[0]).get(component_id, []):
        yield f"- Trained weights in `{folder}`: {terms}"
    names = [name for name in _SOURCES if name in signature_of(resolve(component_id))]
    if names:
        yield f"- Weights that you name in `{names[0]}` come under the terms of their own model card."
    listed = metadata.distribution(told.distribution).read_text(f"licenses/{_TERMS}")
    if listed:
        rows = [line for line in listed.splitlines() if not line.startswith("# ")]
        yield "\n" + "\n".join(rows).strip()


@cache
def _shipped(package: str) -> dict[str, list[tuple[str, str]]]:
    """Trained parts inside a package, by id: their folder, and what the nearest licence file or the card says."""
    found: dict[str, list[tuple[str, str]]] = {}
    spec = find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location)
        for card in sorted(root.rglob(CARD)):
            read = read_card(card.parent)
            above = [folder for folder in card.parents if folder.is_relative_to(root)]
            files = [path for folder in above for pattern in _BESIDE for path in folder.glob(pattern)]
            terms = str(read.get("provenance", {}).get("licence", ""))
            terms = terms or (" ".join(files[0].read_text(encoding="utf-8").split()) if files else "not declared")
            if (card.parent / "model.safetensors").is_file():
                place = f"{package}/{card.parent.relative_to(root).as_posix()}"
                found.setdefault(read["id"], []).append((place, terms))
    return found
