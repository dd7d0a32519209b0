"""`omnikit style list|make|mix|export|import`: what styles there are, and new ones out of recordings and old ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.system import System

HELP = """Styles of a system: list them, make them from labelled recordings, mix them, put them into files.

  omnikit style list                                                        factors, values, what was never heard
  omnikit style make label_centroid --detokenizer tiny --corpus corpus --out mine/style
  omnikit style make reference --detokenizer tiny --corpus corpus --out mine/style
  omnikit style mix emotion=happy:0.7 emotion=sad,gender=male:0.3 --out mixed.safetensors
  omnikit style mix voice.wav emotion=sad:2 --out mixed.safetensors
  omnikit say "the red star is big." --style-file mixed.safetensors --out x.wav
  omnikit style export --out table.safetensors
  omnikit style import table.safetensors --out mine/style

gmvae and text_prompt learn: omnikit train experiment=emova_tiny stage=style style=gmvae
"""
_SHOWN = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five verbs."""
    verbs = parser.add_subparsers(dest="style_verb", required=True, metavar="{list,make,mix,export,import}")
    listed = verbs.add_parser("list", help="factors, values, seen and unseen combinations, space")
    listed.add_argument("--json", action="store_true", help="machine-readable output")
    make = verbs.add_parser("make", help="a style module out of a detokenizer and labelled recordings")
    make.add_argument("name", help="label_centroid or reference")
    make.add_argument("--detokenizer", default="tiny", metavar="REF", help="a system or a detokenizer (default: tiny)")
    make.add_argument("--corpus", required=True, metavar="DIR", help="a corpus whose records say their style")
    make.add_argument("--files", default="voice.train", help="its files, separated by commas (default: voice.train)")
    make.add_argument(
        "--factors", help="the labels that count, e.g. speaker,emotion,speed,pitch,energy (default: all but speaker)"
    )
    make.add_argument(
        "--seconds", type=float, default=240.0, metavar="S", help="audio of a combination, at most (default: 240)"
    )
    make.add_argument("--out", required=True, metavar="DIR", help="folder of the new part")
    mix = verbs.add_parser("mix", help="a weighted mixture of styles, as a style file")
    mix.add_argument(
        "sources", nargs="+", metavar="SOURCE[:WEIGHT]", help="factor=value pairs, a recording, a style file, or words"
    )
    mix.add_argument("--out", required=True, metavar="FILE", help="the style file to write (.safetensors)")
    export = verbs.add_parser("export", help="the whole table of a system's styles, as a style file")
    export.add_argument("--out", required=True, metavar="FILE", help="the style file to write (.safetensors)")
    for verb in (listed, mix, export):
        verb.add_argument("--system", default="tiny", help="a folder of trained parts, or a tag (default: tiny)")
    taken = verbs.add_parser("import", help="a style file with labels, as a part of a system")
    taken.add_argument("file", metavar="FILE", help="a style file (.safetensors)")
    taken.add_argument("--out", required=True, metavar="DIR", help="folder of the new part")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"list": _list, "make": _make, "mix": _mix, "export": _export, "import": _import}
    return verbs[args.style_verb](args)


def _list(args: argparse.Namespace) -> int:
    told = _told(_system(args.system))
    if args.json:
        print(json.dumps(told, indent=1))
        return 0
    print(f"{told['component']}   space {told['space_id']}, {told['dim']} numbers")
    print(f"takes {', '.join(told['takes'])}")
    for name, values in told["factors"].items():
        places = told["scales"].get(name, {})
        ends = sorted(places.values())
        scale = f"   or any number from {ends[0]:g} to {ends[-1]:g}" if ends else ""
        print(f"  {name:<10} {', '.join(values)}{scale}")
    if told["seen"] is None:
        print("no count of recordings is kept")
        return 0
    unseen = told["unseen"]
    print(f"{len(told['seen'])} combinations heard in training, {len(unseen)} predicted" + (":" if unseen else ""))
    for row in unseen[:_SHOWN]:
        print("  " + ",".join(f"{name}={value}" for name, value in row.items()))
    if len(unseen) > _SHOWN:
        print(f"  … and {len(unseen) - _SHOWN} more (--json lists all)")
    return 0


def _told(system: System) -> dict[str, Any]:
    from omnikit.registry import id_of
    from omnikit.serving.style_files import table_of

    module = system.part("style")
    port = module.contract(**module.parameters_given).gives["style"]
    seen: list[Any] | None = None
    unseen: list[Any] = []
    if module.factors:
        table = table_of(module)
        rows = list(zip(table.style.labels, table.counts.tolist(), strict=True))
        if any(count for _, count in rows):
            seen = [{"labels": dict(labels), "recordings": count} for labels, count in rows if count]
            unseen = [dict(labels) for labels, count in rows if not count]
    return {
        "component": id_of(type(module)),
        "space_id": port.space_id,
        "dim": port.dim,
        "takes": ["labels", *sorted(module.views)],
        "factors": {name: list(values) for name, values in module.factors.items()},
        "scales": {name: dict(places) for name, places in module.scales.items()},
        "seen": seen,
        "unseen": unseen,
    }


def _make(args: argparse.Namespace) -> int:
    from omnikit.artefacts import save_component
    from omnikit.serving.style_make import make_style
    from omnikit.slots.detokenizer import Detokenizer
    from omnikit.system import System, load

    out = _part_folder(args.out)
    loaded = load(args.detokenizer)
    detokenizer = loaded.part("detokenizer") if isinstance(loaded, System) else loaded
    if not isinstance(detokenizer, Detokenizer):
        raise OmnikitError(
            f"{args.detokenizer} is a {type(detokenizer).__name__}, no detokenizer; try {args.detokenizer}#detokenizer."
        )
    factors = args.factors.split(",") if args.factors else None
    module, found = make_style(args.name, detokenizer, Path(args.corpus), args.files.split(","), factors, args.seconds)
    origin = {"detokenizer": args.detokenizer, "corpus": args.corpus, "files": args.files, "factors": args.factors}
    save_component(module, out, provenance=origin)
    print(f"{out}: {args.name} of {len(found.labels)} recordings, space {found.space_id}")
    return 0


def _mix(args: argparse.Namespace) -> int:
    import torch

    from omnikit.serving.style_files import StyleFile, check_path, write_styles
    from omnikit.serving.style_sources import mixed, parse_ingredient

    check_path(Path(args.out))
    ingredients = [parse_ingredient(text) for text in args.sources]
    style, share = mixed(_system(args.system), ingredients)
    write_styles(Path(args.out), StyleFile(style, torch.zeros(1, dtype=torch.long)))
    for item, part in zip(ingredients, share, strict=True):
        print(f"{100 * part:5.1f} %  {item.source}")
    print(f"{args.out}: one style of space {style.space_id}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from omnikit.serving.style_files import check_path, table_of, write_styles

    check_path(Path(args.out))
    table = table_of(_system(args.system).part("style"))
    write_styles(Path(args.out), table)
    print(f"{args.out}: {len(table.style.labels)} styles of space {table.style.space_id}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from omnikit.artefacts import save_component
    from omnikit.serving.style_files import part_of, read_styles

    out = _part_folder(args.out)
    table = read_styles(Path(args.file))
    save_component(part_of(table), out, provenance={"file": args.file})
    print(f"{out}: label_centroid of {len(table.style.labels)} styles, space {table.style.space_id}")
    return 0


def _system(reference: str) -> System:
    from omnikit.system import System

    return System.load(reference)


def _part_folder(out: str) -> Path:
    """The folder that a part may be written to: a new one, or one that holds a part."""
    from omnikit.artefacts import CARD

    folder = Path(out)
    if folder.exists() and not (folder / CARD).is_file():
        raise OmnikitError(f"--out '{out}' exists and is no trained part; give another folder.")
    return folder
