"""`omnikit load SOURCE … --out FOLDER`: weights that others published, written as ordinary trained parts."""

from __future__ import annotations

import argparse
from pathlib import Path

from omnikit.errors import WeightsError

HELP = """Turn files of weights that others published into trained parts: FOLDER/tokenizer, FOLDER/detokenizer, …

  omnikit load s2u.ckpt --out published
  omnikit load model.safetensors#tokenizer --out published
  omnikit load s2u.ckpt emova-3b/ --out published    a whole language model with what it sees by, and its tokenizer

Reads .safetensors, .ckpt, .pth, .pt and .bin as data, in folders with an index too, never running code from a file.
Every tensor must fit; nothing is written unless all parts do. Use the result as `omnikit.load("published#tokenizer")`,
or as the weights of a system.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a file or folder of weights; SOURCE#slot reads one part of it"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the parts go")
    parser.add_argument("--prompts", metavar="FILE", help="sentences to ask a language model with, in place of our own")


def run(args: argparse.Namespace) -> int:
    """Read everything, then write it, and say what was read."""
    from omnikit.artefacts import CARD, save_component
    from omnikit.errors import unknown_name
    from omnikit.published.layouts import LAYOUTS
    from omnikit.published.load import Part, read_parts
    from omnikit.registry import create, slots
    from omnikit.slots.base import Component
    from omnikit.system import PUBLISHED_FORMAT

    out = Path(args.out)
    found: dict[str, tuple[str, Part]] = {}
    for source in args.sources:
        path, _, slot = source.partition("#")
        if slot and slot not in slots():
            raise unknown_name("slot", slot, slots())
        parts = [part for part in read_parts(Path(path)) if slot in ("", part.slot)]
        if not parts:
            raise WeightsError(f"{path} holds no {slot}. Leave '#{slot}' out to load what it holds.")
        for part in parts:
            if part.slot in found:
                raise WeightsError(f"Two sources hold a {part.slot}: {found[part.slot][0]} and {path}.")
            target = out / part.slot
            if target.exists() and not (target / CARD).is_file():
                raise WeightsError(f"{target} exists and is no trained part; give another --out.")
            found[part.slot] = (path, part)
    built: dict[str, Component] = {}
    origins: dict[str, dict[str, str]] = {}
    for slot, (path, part) in sorted(found.items(), key=lambda item: LAYOUTS.index(item[1][1].layout)):
        built[slot] = part.build(path, built)
        origins[slot] = {"source": path, "family": part.layout.about, "prefix": part.prefix}
    if args.prompts and "backbone" not in built:
        raise WeightsError(f"--prompts {args.prompts} is for a language model; {', '.join(args.sources)} hold none.")
    if "backbone" in built:
        built["format"] = create(PUBLISHED_FORMAT, prompts=args.prompts)
        origins["format"] = {"source": found["backbone"][0], "family": "EMOVA replies", "prefix": ""}
    for slot, component in built.items():
        save_component(component, out / slot, provenance=origins[slot])
        print(f"{out / slot}: {origins[slot]['family']} from {origins[slot]['source']}")
        tensors = component.state_dict().values()
        print(f"  {len(tensors)} tensors, {sum(weight.numel() for weight in component.parameters()):,} parameters")
        for name, value in component.parameters_given.items():
            print(f"  {name}: {value}")
    return 0
