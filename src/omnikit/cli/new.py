"""`omnikit new plugin SLOT NAME [--out DIR]`: a complete distribution with one working component, to be made yours."""

from __future__ import annotations

import argparse
import json
import keyword
import re
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

from omnikit.errors import OmnikitError, unknown_name
from omnikit.plugins import CONTRACT_API, CORE
from omnikit.registry import available

HELP = """Write a new plugin: a distribution with one component that works, a variant, tests, README, licence and CI.

  omnikit new plugin tokenizer my_codec
  cd omnikit-my-codec && pip install -e . && omnikit conformance tokenizer/my_codec

Nothing is changed in omnikit: the distribution's entry points are enough for it to be listed, composed and compared.
"""
_LONGEST = 32
_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "LICENSE": "LICENSE.txt",
    ".github/workflows/tests.yml": "tests.yml.txt",
    "tests/test_conformance.py": "test_conformance.py.txt",
    "src/$package/conf/$slot/$variant.yaml": "variant.yaml.txt",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{plugin}")
    plugin = kinds.add_parser("plugin", help="a distribution with one component")
    plugin.add_argument("slot", help=f"one of {', '.join(_slots())}")
    plugin.add_argument("name", help="the component's name in lower snake case, e.g. my_codec")
    plugin.add_argument("--out", default=".", metavar="DIR", help="where its folder goes (default: here)")


def run(args: argparse.Namespace) -> int:
    """Write the files, none of them over another."""
    folder = write_plugin(args.slot, args.name, Path(args.out))
    print(f"{folder}: {args.slot}/{args.name}")
    print(f"  pip install -e {folder}\n  omnikit conformance {args.slot}/{args.name}\n  pytest {folder}")
    return 0


def write_plugin(slot: str, name: str, out: Path) -> Path:
    """Write the distribution of `slot/name` into a folder of its own in `out`, and return that.

    Raises `UnknownName` for a slot without a template, `OmnikitError` for a name that cannot be used or is taken.
    """
    about = _slots()
    if slot not in about:
        raise unknown_name("slot with a template", slot, about, "For another slot, see docs/plugins.md.")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name) or len(name) > _LONGEST:
        raise OmnikitError(
            f"'{name}' is no name for a component; write it in lower snake case, at most {_LONGEST} letters: my_codec."
        )
    if f"{slot}/{name}" in available(slot):
        raise OmnikitError(f"'{slot}/{name}' is taken; `omnikit ls {slot}` lists all names.")
    words = _words(slot, name, about[slot])
    folder = out / words["distribution"]
    if folder.exists():
        raise OmnikitError(f"{folder} exists; give another --out, or another name.")
    texts = {path: _template(f"files/{template}") for path, template in _FILES.items()}
    texts |= {"src/$package/$module.py": _template(f"slots/{slot}.py.txt")}
    texts |= {f"src/$package/{place}__init__.py": f'"""{words["about"]}"""\n' for place in ("", "conf/")}
    for path, text in texts.items():
        target = folder / Template(path).substitute(words)
        target.parent.mkdir(parents=True, exist_ok=True)
        filled = text if path == "LICENSE" or path.endswith("__init__.py") else Template(text).substitute(words)
        target.write_text(filled, encoding="utf-8")
    return folder


def _words(slot: str, name: str, about: dict[str, Any]) -> dict[str, str]:
    """What stands for the placeholders of the templates."""
    value = about["variant_value"]
    return {
        "slot": slot,
        "name": name,
        "module": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "distribution": f"omnikit-{name.replace('_', '-')}",
        "package": f"omnikit_{name}",
        "variant": f"{name}_variant",
        "about": about["about"],
        "variant_about": about["variant_about"],
        "variant_parameter": about["variant_parameter"],
        "variant_value": json.dumps(value),
        "example": Template("\n".join(about["example"])).substitute(name=name),
        "core_version": metadata.version(CORE),
        "contract_api": str(CONTRACT_API),
    }


def _slots() -> dict[str, dict[str, Any]]:
    """What is said of every slot that has a template."""
    return json.loads(_template("slots.json"))


def _template(path: str) -> str:
    return resources.files("omnikit").joinpath("scaffold", *path.split("/")).read_text(encoding="utf-8")
