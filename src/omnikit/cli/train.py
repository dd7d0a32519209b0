"""`omnikit train experiment=… stage=…`: train one stage; any Hydra override works, `-m` runs a Hydra multirun."""

from __future__ import annotations

import argparse

HELP = """Train one stage of a system.

  omnikit train experiment=emova_tiny stage=tokenizer data.path=corpus
  omnikit train experiment=emova_tiny --explain      derived values and where they come from, nothing is trained
  omnikit train -m experiment=emova_tiny seed=0,1    one run after another (Hydra multirun)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--explain", action="store_true", help="print the derived values and stop")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination of comma-separated values")


def run(args: argparse.Namespace) -> int:
    """Compose, then train."""
    from omnikit.cli.config import compose_config, sweep

    if args.multirun:
        configs = sweep("train", args.overrides)
    else:
        configs = [compose_config("train", args.overrides)]
    if args.explain:
        from omnikit.training.choices import plan_of

        for config in configs:
            plan, _ = plan_of(config)
            print(plan.explain())
        return 0
    from omnikit.training.runner import run_stage

    for config in configs:
        cost = run_stage(config)
        if not cost:  # of several processes the first one speaks
            continue
        print(f"{config['out']}/{config['stage']['name']}: {cost['steps']} steps in {cost['wall_s']:.0f} s")
    return 0
