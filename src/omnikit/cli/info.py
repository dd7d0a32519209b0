"""`omnikit info experiment=emova_3b`: parameters of every part and what each stage takes; nothing is loaded."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

HELP = """Parameters of a system by part, what learns in every stage, and the memory that it takes; nothing is loaded.

  omnikit info experiment=emova_3b
  omnikit info experiment=emova_72b --devices 64
  omnikit info experiment=emova_7b trainer.activation_checkpointing=false --json
"""
STAGES = ("prealign", "align", "sft")
"""The stages of the language model, which decide what a system needs."""
COLUMNS = ("weights", "gradients", "moments", "working", "activations", "logits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--devices", type=int, default=8, metavar="N", help="how many devices share the work (8)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Build everything without memory, and print what it would take."""
    from omnikit.cli.config import compose_config
    from omnikit.errors import OmnikitError
    from omnikit.training.choices import plan_of
    from omnikit.training.memory import skeleton, stage_memory

    if args.devices < 1:
        raise OmnikitError(f"--devices is {args.devices}; give 1 or more.")
    chosen = [item for item in args.overrides if not item.startswith("stage=")]
    configs = [compose_config("train", [*chosen, f"stage={stage}"]) for stage in STAGES]
    plan, _ = plan_of(configs[0])
    parts = {slot: skeleton(node.component, plan.parameters[slot]) for slot, node in plan.nodes.items()}
    stages = [stage_memory(config, plan, parts, args.devices) for config in configs]
    record: dict[str, Any] = {
        "name": configs[0]["name"],
        "parts": {
            slot: {
                "component": plan.nodes[slot].component,
                "parameters": sum(weight.numel() for weight in part.parameters()),
            }
            for slot, part in parts.items()
        },
        "devices": args.devices,
        "stages": {
            stage.stage: {
                "tokens_per_device": stage.tokens,
                "parts": {
                    slot: {"trainable": trainable, "frozen": frozen}
                    for slot, (trainable, frozen) in stage.parts.items()
                    if trainable + frozen
                },
                "bytes_per_device": {way: {**asdict(held), "total": held.total} for way, held in stage.held.items()},
            }
            for stage in stages
        },
    }
    print(json.dumps(record, indent=1) if args.json else _text(record))
    return 0


def _text(record: dict[str, Any]) -> str:
    lines = [f"{record['name']}: parameters by part"]
    for slot, part in record["parts"].items():
        lines.append(f"  {slot:<17} {_millions(part['parameters']):>11}   {part['component']}")
    whole = sum(part["parameters"] for part in record["parts"].values())
    lines.append(f"  {'in all':<17} {_millions(whole):>11}")
    for name, stage in record["stages"].items():
        lines += ["", f"{name}: {stage['tokens_per_device']} tokens at once on each of {record['devices']} devices"]
        lines.append(f"  {'':<17} {'learns':>11} {'frozen':>11}")
        for slot, counts in stage["parts"].items():
            lines.append(f"  {slot:<17} {_millions(counts['trainable']):>11} {_millions(counts['frozen']):>11}")
        lines.append(f"  {'GiB a device':<17} " + " ".join(f"{column:>11}" for column in (*COLUMNS, "in all")))
        for way, held in stage["bytes_per_device"].items():
            numbers = " ".join(f"{held[column] / 2**30:>11.1f}" for column in (*COLUMNS, "total"))
            lines.append(f"  {way:<17} {numbers}")
    lines += [
        "",
        "Weights, gradients and moments (AdamW) are float32 and exact. Activations are estimated, without pictures;",
        "logits are those of a batch of which every token is trained.",
    ]
    return "\n".join(lines)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"
