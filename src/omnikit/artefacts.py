"""Trained components on disk: a folder with `component.json` (what it is) and `model.safetensors` (its weights).

A component may lean on another folder (`base` in its card: where, and the hash of its weights): it then holds only the
tensors that are not the same there, or none at all. So what stayed frozen is saved once.
A system is a folder with one such folder a slot and `system.json`. Nothing here executes what it reads: the id in a
card is looked up in the registry, parameters are plain data, weights are tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from omnikit.contracts import bind_parameters
from omnikit.errors import WeightsError, naming_extras, unknown_name
from omnikit.hub import HUB, fetch
from omnikit.registry import id_of, resolve
from omnikit.slots.base import Component

CARD = "component.json"
WEIGHTS = "model.safetensors"


def weights_root(tag: str) -> Path:
    """The folder of weights that ship with omnikit under `tag`. Raises `UnknownName` listing the tags that exist."""
    base = Path(str(resources.files("omnikit"))) / "weights"
    if not (base / tag).is_dir():
        tags = [item.name for item in base.iterdir() if item.is_dir()] if base.is_dir() else []
        raise unknown_name("weights", tag, tags, "Give a tag or a folder that `omnikit train` wrote.")
    return base / tag


def locate(reference: str) -> Path:
    """A folder from a path, a tag, or `hf:repository@revision` on the hub (of which `#slot` fetches one part alone)."""
    if reference.startswith(HUB):
        return fetch(reference)
    path = Path(reference).expanduser()
    return path if path.is_dir() else weights_root(reference)


def component_folder(reference: str) -> Path:
    """The folder of one component: `folder`, `system#slot`, `tag#slot`, `hf:repository@revision#slot`."""
    root, _, slot = reference.partition("#")
    folder = locate(reference) if root.startswith(HUB) else locate(root)
    return folder / slot if slot else folder


def save_component(
    component: Component,
    folder: Path,
    *,
    half: bool = False,
    provenance: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> str:
    """Write a component whole or not at all; returns the sha256 of its weights.

    `half` rounds floating-point weights to float16 on disk (loading gives float32 again). `base` refers to a folder
    (as `component_folder` takes it) whose tensors are not written again where they are the same.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tensors = {name: _stored(value, half) for name, value in tensors_of(component).items()}
        leaning = {}
        if base is not None:
            below = component_folder(base)
            known = read_weights(below)
            tensors = {name: value for name, value in tensors.items() if not _same(value, known.get(name))}
            leaning = {"base": {"reference": _lasting(base), "sha256": read_card(below)["sha256"]}}
        save_file(tensors, staging / WEIGHTS, metadata={"format": "pt"})
        more: Any = getattr(component, "save_extra", None)
        if more is not None:
            more(staging)
        with (staging / WEIGHTS).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if leaning:
            digest = hashlib.sha256((digest + leaning["base"]["sha256"]).encode()).hexdigest()
        card = {
            "omnikit": metadata.version("omnikit-core"),
            "id": id_of(type(component)),
            "parameters": _plain(component.parameters_given),
            "sha256": digest,
            **leaning,
            "provenance": dict(provenance or {}),
        }
        (staging / CARD).write_text(json.dumps(card, indent=1) + "\n")
        os.chmod(staging, 0o755)
        os.chmod(staging / WEIGHTS, 0o644)
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return digest


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a component folder. Raises `WeightsError` when there is none or it cannot be read."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no component: {CARD} is missing.") from error
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is no JSON: {error}.") from error
    if not isinstance(card, dict) or "id" not in card or not isinstance(card.get("parameters"), dict):
        raise WeightsError(f"{path} is no component card: it must hold an id and parameters.")
    return card


def declare_licence(folder: Path, licence: str) -> None:
    """Write the `licence` (an SPDX name) into the card of every component in `folder`."""
    for path in Path(folder).rglob(CARD):
        card = read_card(path.parent)
        card["provenance"] = {**card.get("provenance", {}), "licence": licence}
        path.write_text(json.dumps(card, indent=1) + "\n")


def licensed(folder: Path, reference: str, licence: str) -> Path:
    """`folder`, fetched as `reference`: every component in it must say its licence in its card, or `licence` says it.

    Raises `WeightsError` naming those without.
    """
    cards = [read_card(path.parent) for path in sorted(Path(folder).rglob(CARD))]
    bare = [card["id"] for card in cards if not {"licence", "license"} & set(card.get("provenance") or {})]
    if bare and not licence:
        raise WeightsError(
            f"{reference} declares no licence for {', '.join(bare)}: nobody may use weights without one.\n"
            "Look at the repository; when you know the licence, say it: load(…, licence='Apache-2.0')."
        )
    return folder


def trained_parameters(folder: Path) -> dict[str, Any]:
    """The parameters that the component of a folder is to be made with."""
    card = read_card(folder)
    cls = resolve(card["id"])
    parameters = card["parameters"]
    if hasattr(cls, "restore_parameters"):
        parameters = cls.restore_parameters(parameters, Path(folder))
    return bind_parameters(card["id"], cls, parameters)


def load_component(folder: Path) -> Component:
    """Build the component of a folder and fill in its weights; missing or unknown tensors are refused by name."""
    component_id = read_card(folder)["id"]
    with naming_extras(component_id):
        component = resolve(component_id)(**trained_parameters(folder))
    fill(component, Path(folder))
    return component.eval()


def fill(component: Component, folder: Path) -> None:
    """Copy the weights of `folder` into `component`. Raises `WeightsError` naming every tensor that does not fit."""
    fill_from(component, read_weights(folder), str(folder / WEIGHTS))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a component's folder, those of the base that it leans on among them.

    Raises `WeightsError` for files that are missing or broken, and for a base that is not the one it was saved with.
    """
    path = folder / WEIGHTS
    base = read_card(folder).get("base") if (folder / CARD).is_file() else None
    stored = {}
    if base is not None:
        below = component_folder(base["reference"])
        found = read_card(below)["sha256"]
        if found != base["sha256"]:
            raise WeightsError(
                f"{folder} leans on {base['reference']}, which holds other weights now:\n"
                f"sha256 {found[:16]}…, not {base['sha256'][:16]}…. Get the ones that it was saved with."
            )
        stored = read_weights(below)
    try:
        with safe_open(path, framework="pt") as file:
            return stored | {name: file.get_tensor(name) for name in sorted(file.keys())}
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no weights: {WEIGHTS} is missing.") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}.") from error


def tensors_of(component: Component) -> dict[str, torch.Tensor]:
    """The tensors of a component by the names that they have on disk."""
    named = getattr(component, "file_name", str)
    return {named(name): value for name, value in component.state_dict().items()}


def fill_from(component: Component, stored: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy the tensors `stored` in `source` into `component`. Raises `WeightsError` naming every one that does not fit.

    What a component says that it `starts_fresh` may be missing, all of it. The message has at most eight lines;
    those beyond are counted.
    """
    own = tensors_of(component)
    lately: Any = getattr(component, "starts_fresh", set)
    fresh = set(lately())
    if not fresh & set(stored):
        own = {name: value for name, value in own.items() if name not in fresh}
    problems = [f"missing {name}" for name in own if name not in stored]
    problems += [f"unknown {name}" for name in stored if name not in own]
    problems += [
        f"{name} is {list(stored[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in stored and stored[name].shape != own[name].shape
    ]
    if problems:
        more = f" … and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise WeightsError(f"{source} does not fit {type(component).__name__}:\n  " + "\n  ".join(problems[:6]) + more)
    try:
        named = getattr(component, "file_name", str)
        values = component.state_dict()
        kept = {name: stored[named(name)].to(values[name].dtype) for name in values if named(name) in own}
        component.load_state_dict({**values, **kept})
    except RuntimeError as error:  # a module knows more of its tensors than their shapes
        raise WeightsError(
            f"{source} does not fit {type(component).__name__}: {str(error).splitlines()[-1].strip()}"
        ) from error


def name_after_weights(component: Component, parameter: str, prefix: str) -> str:
    """Set `parameter` to a name that is a hash of the weights, and return it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(component.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    name = f"{prefix}-{digest.hexdigest()[:10]}"
    setattr(component, parameter, name)
    component.parameters_given[parameter] = name
    return name


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint for resuming, read as data only (never executing what it holds)."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _plain(value: Any) -> Any:
    """Parameters as JSON data; an exact rate stays a number that compares equal to it."""
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value) if Fraction(float(value)) == value else str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _same(value: torch.Tensor, known: torch.Tensor | None) -> bool:
    """Whether a tensor is what a base already holds, as precisely as it is kept there."""
    return known is not None and known.shape == value.shape and torch.equal(value.to(known.dtype), known)


def _lasting(reference: str) -> str:
    """A reference that does not depend on where a program runs: paths are made absolute."""
    root, mark, slot = reference.partition("#")
    path = Path(root).expanduser()
    return f"{path.resolve()}{mark}{slot}" if not root.startswith(HUB) and path.is_dir() else reference


def _stored(value: torch.Tensor, half: bool) -> torch.Tensor:
    value = value.detach().cpu().contiguous().clone()
    return value.half() if half and value.is_floating_point() else value
