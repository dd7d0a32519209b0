"""`omnikit train experiment=… stage=…`: train one stage; any Hydra override works, `-m` runs a Hydra multirun."""

from __future__ import annotations

import argparse
import sys

from omnikit.errors import OmnikitError

FAILED = 3

HELP = """Train one stage of a system.

  omnikit train experiment=emova_tiny stage=tokenizer data.path=corpus
  omnikit train experiment=emova_tiny curriculum=joint      prealign, align and sft in a row; goes on where it stopped
  omnikit train experiment=emova_tiny --explain      derived values and where they come from, nothing is trained
  omnikit train -m experiment=emova_tiny seed=0,1    one run after another (Hydra multirun);
                                                     one that fails is told at the end, exit code 3
  omnikit train --config runs/x/tokenizer/config.yaml    a run from its resolved config
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--config", help="a fully resolved config (the config.yaml of a run) instead of overrides")
    parser.add_argument("--explain", action="store_true", help="print the derived values and stop")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination of comma-separated values")


def run(args: argparse.Namespace) -> int:
    """Compose, then train."""
    from omnikit.cli.config import compose_config, read_config, sweep
    from omnikit.training.curriculum import runs_of

    if args.config is not None:
        if args.overrides or args.multirun:
            raise OmnikitError("--config is a whole run by itself; leave overrides and -m away.")
        configs = [read_config(args.config)]
    elif args.multirun:
        configs = sweep("train", args.overrides)
    else:
        configs = [compose_config("train", args.overrides)]
    configs = [run for config in configs for run in runs_of(config)]
    if args.explain:
        from omnikit.training.choices import plan_of

        for config in configs:
            plan, _ = plan_of(config)
            print(plan.explain())
        return 0
    from omnikit.training.runner import run_stage

    failures: dict[str, OmnikitError] = {}
    for config in configs:
        if config["out"] in failures:  # what comes behind a stage that failed has nothing to start from
            continue
        try:
            cost = run_stage(config)
        except OmnikitError as error:
            if not args.multirun:
                raise
            failures[config["out"]] = error
            continue
        if not cost:  # of several processes the first one speaks
            continue
        print(f"{config['out']}/{config['stage']['name']}: {cost['steps']} steps in {cost['wall_s']:.0f} s")
    for out, failure in failures.items():
        print(f"failed {out}: {failure}", file=sys.stderr)
    return FAILED if failures else 0
