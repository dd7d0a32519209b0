"""`omnikit ckpt ls|extract|graft|diff`: the parts of trained systems, taken out, exchanged and compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.surgery import Change

HELP = """Look into trained systems, take parts out, put others in, and compare two.

  omnikit ckpt ls tiny
  omnikit ckpt extract tiny#tokenizer --out tokenizer
  omnikit ckpt graft tiny style=other/style detokenizer=runs/mine/system#detokenizer --out mixed
  omnikit ckpt graft tiny style=other/style --dry-run
  omnikit ckpt diff tiny runs/emova_tiny/system

A graft is negotiated before anything is copied: parts that were trained for other units or styles are refused.
"""
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four verbs."""
    verbs = parser.add_subparsers(dest="ckpt_verb", required=True, metavar="{ls,extract,graft,diff}")
    listed = verbs.add_parser("ls", help="the parts of a system: component, tensors, what their numbers mean")
    listed.add_argument("system", help="a folder of trained parts, or a tag")
    extract = verbs.add_parser("extract", help="one part as a folder of its own")
    extract.add_argument("part", metavar="SYSTEM#SLOT", help="a part of a system")
    extract.add_argument("--out", required=True, metavar="DIR", help="folder of the part")
    graft = verbs.add_parser("graft", help="a copy of a system with other parts, and what that changes")
    graft.add_argument("system", help="a folder of trained parts, or a tag")
    graft.add_argument("parts", nargs="+", metavar="SLOT=PART", help="a part's folder, or SYSTEM#SLOT")
    graft.add_argument("--out", metavar="DIR", help="folder of the new system")
    graft.add_argument("--dry-run", action="store_true", help="only say what would change, or why it does not fit")
    diff = verbs.add_parser("diff", help="where two systems, or two parts, differ")
    diff.add_argument("before", help="a system or a part")
    diff.add_argument("after", help="another one of the same kind")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"ls": _ls, "extract": _extract, "graft": _graft, "diff": _diff}
    return verbs[args.ckpt_verb](args)


def _ls(args: argparse.Namespace) -> int:
    from omnikit.artefacts import locate
    from omnikit.surgery import parts_of

    rows = []
    for place, part in parts_of(locate(args.system)).items():
        tensors = part.tensors().values()
        numbers = f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors):,} numbers"
        rows.append((place, part.component, numbers, " ".join(f"{k}={v}" for k, v in part.meanings.items())))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("   ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    return 0


def _extract(args: argparse.Namespace) -> int:
    from omnikit.surgery import extract

    part = extract(args.part, Path(args.out))
    print(f"{args.out}: {part.component}")
    return 0


def _graft(args: argparse.Namespace) -> int:
    from omnikit.surgery import graft, part_at

    if bool(args.out) == args.dry_run:
        raise OmnikitError("Say where the new system goes (--out DIR), or ask only what would happen (--dry-run).")
    wrong = [item for item in args.parts if "=" not in item]
    if wrong:
        raise OmnikitError(f"'{wrong[0]}' is no SLOT=PART; write e.g. style=other/style or style=tiny#style.")
    parts = dict(item.split("=", 1) for item in args.parts)
    changes = graft(args.system, parts, None if args.dry_run else Path(args.out))
    for place, reference in parts.items():
        part = part_at(reference)
        print(f"{place}: {part.component} from {reference}, {len(part.tensors())} tensors; none is made anew")
    _show(changes)
    print("Every wire fits." + ("" if args.dry_run else f" {args.out} holds the new system."))
    return 0


def _diff(args: argparse.Namespace) -> int:
    from omnikit.artefacts import CARD, component_folder
    from omnikit.surgery import Part, part_changes, parts_of, tensor_changes

    sides = []
    for reference in (args.before, args.after):
        folder = component_folder(reference)
        sides.append({"": Part.of(folder)} if (folder / CARD).is_file() else parts_of(folder))
    before, after = sides
    if ("" in before) != ("" in after):
        raise OmnikitError(f"{args.before} and {args.after} are a system and a part; compare two of one kind.")
    for place in (*before, *(place for place in after if place not in before)):
        old, new = before.get(place), after.get(place)
        changes = list(part_changes(old, new))
        tensors = tensor_changes(old, new) if old and new and old.component == new.component else []
        same = "the same" if not changes and not tensors else f"{len(changes)} facts, {len(tensors)} tensors differ"
        print(f"{place or (old or new).component}: {same}")  # type: ignore[union-attr]
        _show([*changes, *tensors])
    return 0


def _show(changes: Sequence[Change]) -> None:
    for change in changes[:_SHOWN]:
        print(f"  {change}")
    if len(changes) > _SHOWN:
        print(f"  … and {len(changes) - _SHOWN} more")
