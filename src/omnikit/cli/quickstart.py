"""`omnikit quickstart`: hear, see and speak in one go, then swap a part; everything ends up in one report.html."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.serving.show import Show
    from omnikit.system import System

HELP = """Make a small fresh piece of corpus, let the tiny system answer spoken questions about pictures aloud,
speak one reply in every emotion, swap the style and the tokenizer, and write it all into one HTML file that needs
nothing beside it. No network is used.

  omnikit quickstart
  omnikit quickstart --out demo.html --seed 3
  omnikit quickstart num_questions=4 live.seconds=20      settings of conf/quickstart.yaml can be overridden
"""

STEPS = (
    "a fresh piece of corpus",
    "the system, through its config",
    "questions about pictures, answered aloud",
    "one reply in every emotion",
    "swap 1: no style",
    "swap 2: another tokenizer, trained live",
    "report",
)
SWAP = "style=none"
_PLAIN_PARTS = 4

Progress = Callable[[int, int], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--out", default="report.html", help="the report to write (default: report.html)")
    parser.add_argument("--seed", type=int, default=0, help="another seed asks other questions (default: 0)")
    parser.add_argument("--system", default="tiny", help="a folder of trained parts, or a tag (default: tiny)")
    parser.add_argument("--skip-live", action="store_true", help="leave out the part that trains for under a minute")


class Steps:
    """Tells how far the demonstration is: bars on a terminal, plain lines elsewhere (both on stderr)."""

    def __init__(self) -> None:
        self.number = 0
        self.live = sys.stderr.isatty()

    @contextmanager
    def step(self) -> Iterator[Progress]:
        """The next step; gives a progress callback (done, total)."""
        name, began = f"{self.number + 1}/{len(STEPS)} {STEPS[self.number]}", time.perf_counter()
        self.number += 1
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Bar(*columns, console=Console(stderr=True)) as bar:
                task = bar.add_task(name, total=1)
                yield lambda done, total: bar.update(task, completed=done, total=total)
                total = next(item.total for item in bar.tasks if item.id == task)
                bar.update(task, completed=total)
            return
        _say(f"[{name}]")
        told = 0

        def show(done: int, total: int) -> None:
            nonlocal told
            part = _PLAIN_PARTS * done // max(total, 1)
            if part > told:
                told = part
                _say(f"    {done}/{total}")

        yield show
        _say(f"    done in {time.perf_counter() - began:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> int:
    """Demonstrate, then write the report."""
    out = Path(args.out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise OmnikitError(f"--out '{args.out}' must end in .html.")
    if not out.resolve().parent.is_dir():
        raise OmnikitError(f"--out '{args.out}': the folder {out.resolve().parent} does not exist.")
    if args.seed < 0:
        raise OmnikitError(f"--seed {args.seed}: give 0 or more.")
    from omnikit.cli.config import compose_config

    quoted = args.system.replace("'", r"\'")
    chosen = [f"weights='{quoted}'", f"seed={args.seed}", *args.overrides]
    config, swapped = compose_config("quickstart", chosen), compose_config("quickstart", [*chosen, SWAP])
    import torch

    steps, threads = Steps(), torch.get_num_threads()
    torch.set_num_threads(1)  # parts this small gain nothing from more, and lose much where cores are shared
    with tempfile.TemporaryDirectory(prefix="omnikit-quickstart-") as folder:
        show = demonstrate(config, swapped, Path(folder), steps, live=not args.skip_live)
        with steps.step():
            from omnikit.report.page import write_page

            size = write_page(out, show)
    torch.set_num_threads(threads)
    for item in show.figures:
        print(f"{item.name:<46} {item.value:<34} {item.aim}")
    print(f"{out}: {size / 1e6:.1f} MB; open it in a browser")
    return 0


def demonstrate(
    config: Mapping[str, Any], swapped: Mapping[str, Any], folder: Path, steps: Steps, *, live: bool
) -> Show:
    """Everything but the drawing: make, load, ask, style and swap, as the resolved configs say."""
    began = time.perf_counter()
    from omnikit.data.espeak import Espeak
    from omnikit.serving import demo, swaps
    from omnikit.serving.measure import read_all
    from omnikit.serving.piece import make_piece
    from omnikit.serving.show import Show
    from omnikit.wiring import Node

    seed, settings = config["seed"], config["live"]
    with steps.step() as progress:
        piece = make_piece(
            folder,
            seed,
            num_questions=config["num_questions"],
            num_utterances=config["num_utterances"],
            num_lessons=settings["num_lessons"] if live else 0,
            progress=progress,
        )
    with steps.step():
        system = _build(config)
    with steps.step() as progress:
        espeak, answers = Espeak(), []
        asking = time.perf_counter()
        for record in piece.questions:
            if len(answers) >= config["num_shown"] and time.perf_counter() - asking > config["asking_s"]:
                break
            answers.append(demo.answer(system, demo.Asked.from_record(folder, record), espeak, seed))
            progress(len(answers), len(piece.questions))
        reading = read_all(system.part("tokenizer"), folder, piece.utterances)
    with steps.step():
        units, text = demo.units_to_style(system, answers, piece)
        takes = tuple(demo.takes(system, units, seed))
    with steps.step():
        style_off = swaps.switch_style_off(system, Node(swapped["style"]["component"], origin=SWAP), units, seed)
    with steps.step() as progress:
        trained = None
        if live:
            chosen = {name: value for name, value in settings.items() if name not in ("variant", "num_lessons")}
            trained = swaps.train_variant(system, settings["variant"], piece, seed=seed, progress=progress, **chosen)
    read = demo.rate_figure(
        "Phones misread by the tokenizer", reading.phone_error, 0.15, note="utterances by held-out voices, unseen texts"
    )
    wanted = espeak.phonemise(text) if any(character.isalpha() for character in text) else ()
    return Show(
        about=_about(config, system, time.perf_counter() - began),
        plan=system.plan,
        piece=piece,
        shown=tuple(answers[: config["num_shown"]]),
        num_questions=len(answers),
        takes=takes,
        spoken_text=text,
        style_off=style_off,
        live=trained,
        figures=(
            read,
            *demo.figures_of_answers(answers, reading.phone_error),
            *demo.figures_of_takes(takes, wanted, reading.phone_error),
        ),
    )


def _build(config: Mapping[str, Any]) -> System:
    """The system that the config composes, with its trained weights."""
    from omnikit.system import System
    from omnikit.training.choices import plan_of

    plan, weights = plan_of(config)
    untrained = [slot for slot in ("tokenizer", "backbone", "detokenizer") if slot not in weights]
    if untrained:
        raise OmnikitError(
            f"{config['weights']} holds no trained {' and '.join(untrained)}, so this system cannot answer aloud.\n"
            "Train it (omnikit train experiment=emova_tiny stage=…), or give another folder: --system PATH."
        )
    return System.build(plan, weights)


def _about(config: Mapping[str, Any], system: System, seconds: float) -> dict[str, str]:
    """What ran, where, and for how long; for the head of the report."""
    import torch

    import omnikit
    from omnikit.data.espeak import espeak_version

    sizes = sum(tensor.numel() for tensor in system.parameters())
    return {
        "Command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "When": time.strftime("%Y-%m-%d %H:%M %Z"),
        "Took": f"{seconds:.0f} s ({time.process_time():.0f} s of processor time), without a network",
        "Machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch on {torch.get_num_threads()}"
        ),
        "System": f"{config['weights']}: {sizes / 1e6:.1f} M parameters in {len(system.parts)} parts",
        "Seed": str(config["seed"]),
        "Versions": (
            f"omnikit {omnikit.__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
            f"espeak-ng {espeak_version()}"
        ),
    }
