"""From a resolved config to nodes: which component sits in each slot, with which parameters, from which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omnikit.artefacts import CARD, locate, read_card, trained_parameters
from omnikit.contracts import bind_parameters
from omnikit.errors import WeightsError
from omnikit.registry import SEATS, resolve, slots
from omnikit.wiring import Node, Plan, Wire, negotiate

NAMES_OF_MEANING = ("vocab_id", "space_id", "style_space")
"""Parameters that only trained weights may state."""


def slot_nodes(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The component nodes of a config by slot."""
    return {
        slot: config[slot]
        for slot in (*slots(), *SEATS)
        if isinstance(config.get(slot), Mapping) and "component" in config[slot]
    }


def weight_folders(config: Mapping[str, Any], earlier: Sequence[Path] = ()) -> dict[str, Path]:
    """Where each slot's trained weights are: its own `weights`, else the latest `earlier` folder, else root `weights`.

    Slots that the config calls `fresh` never take the root's.
    Slots without trained weights are left out, also those where the folders hold another component than the one chosen.
    """
    found: dict[str, Path] = {}
    for slot, node in slot_nodes(config).items():
        if node.get("weights"):
            folder = locate(str(node["weights"]))
            found[slot] = folder if (folder / CARD).is_file() else folder / slot
            read_card(found[slot])
            continue
        rooted = config.get("weights") and slot not in config.get("fresh", ())
        roots = [*reversed(earlier), *([locate(str(config["weights"]))] if rooted else [])]
        folder = next((root / slot for root in roots if _holds(root / slot, node["component"])), None)
        if folder is not None:
            found[slot] = folder
    return found


def as_trained(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of the root `weights` that are others than the config's, where that was left as `default` has it.

    So a system is judged with the format, the emitter and whatever else it was trained with, unless others are chosen.
    """
    if not config.get("weights"):
        return {}
    root, found = locate(str(config["weights"])), {}
    for slot, node in slot_nodes(config).items():
        if node == default.get(slot) and (root / slot / CARD).is_file() and not _holds(root / slot, node["component"]):
            found[slot] = {"component": read_card(root / slot)["id"]}
    return found


def chosen_nodes(config: Mapping[str, Any], weights: Mapping[str, Path]) -> dict[str, Node]:
    """Nodes for negotiation; a trained component brings the parameters it was made with.

    Raises `WeightsError` when a folder holds another component than the config chooses.
    """
    nodes = {}
    for slot, node in slot_nodes(config).items():
        component = node["component"]
        set_here = {name: value for name, value in node.items() if name not in ("component", "weights")}
        if slot not in weights:
            nodes[slot] = Node(component, set_here, origin=f"the config's {slot}")
            continue
        card = read_card(weights[slot])
        if card["id"] != component:
            raise WeightsError(
                f"{weights[slot]} holds {card['id']}, the config chooses {component}.\n"
                f"Choose {slot}={card['id'].split('/')[1]}, or other weights ({slot}.weights=…)."
            )
        trained = trained_parameters(weights[slot])
        defaults = bind_parameters(component, resolve(component), {})
        changed = {
            name: value
            for name, value in set_here.items()
            if name not in NAMES_OF_MEANING and _data(value) != _data(defaults.get(name))
        }
        nodes[slot] = Node(component, {**trained, **changed}, origin=str(weights[slot]))
    return nodes


def plan_of(config: Mapping[str, Any], earlier: Sequence[Path] = ()) -> tuple[Plan, dict[str, Path]]:
    """The negotiated plan of a config and the folders of its trained parts."""
    weights = weight_folders(config, earlier)
    wires = [Wire.parse(text) for text in config["system"]["wires"]]
    return negotiate(chosen_nodes(config, weights), wires), weights


def _holds(folder: Path, component: str) -> bool:
    return (folder / CARD).is_file() and read_card(folder)["id"] == component


def _data(value: Any) -> Any:
    return [_data(item) for item in value] if isinstance(value, list | tuple) else value
