"""First sound of a spoken turn, streamed beside the parts in series: `python bench/reply.py [--threads 1]`.

Parts of the published sizes (tokenizer 94.7 M parameters, voice 41.9 M) and a language model of `--layers` layers of
width 768, all with random weights, read a question of `--seconds` and write `--units` units. In series, the whole
answer is written and then spoken; streamed, the voice speaks while the model writes. Both write the same units. Then a
trained system (`--weights`) answers a real spoken question about a picture, with all the words that its format puts
before the units. Exits with 1 where the units differ or the goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from plain_uvits import randomised
from timing import machine, take_turns

import omnikit
from omnikit.data.corpus import make_corpus
from omnikit.slots.backbone import Segment
from omnikit.slots.grammar import times, unit_step
from omnikit.types import Audio, Style, Units

GOAL = 9.0
RATE = 16_000
PROMPT = "You hear a question. Answer it aloud."


class Parts:
    """A tokenizer, a language model and a voice of published sizes, and one turn through them."""

    def __init__(self, seconds: float, num_units: int, layers: int) -> None:
        torch.manual_seed(0)
        units: dict[str, Any] = {"codebooks": [4096], "unit_rate": 25, "layout": "reduced", "vocab_id": "bench"}
        sizes = {"hidden": 768, "heads": 12, "kv_heads": 4, "intermediate": 2560, "layers": layers}
        self.tokenizer = omnikit.create("tokenizer/spiral_fsq", vocab_id="bench").eval()
        self.mind = omnikit.create("backbone/hf_causal", **sizes, **units).eval()
        voice = omnikit.create("detokenizer/uvits", style_dim=256, style_space="bench", **units)
        self.voice = randomised(voice)
        self.style = Style(vector=torch.nn.functional.normalize(torch.randn(1, 256)), space_id="bench")
        wave = 0.1 * torch.randn(1, round(seconds * RATE))
        self.question = Audio(wave, torch.tensor([wave.shape[1]]), RATE)
        self.num_units, self.answer = num_units, times(unit_step(1), num_units, num_units)

    def prompt(self) -> list[Segment]:
        """What the model reads: an instruction and the question in units."""
        units = self.tokenizer.encode(self.question)
        heard = Segment(units=tuple(tuple(row[: int(units.lengths[0])].tolist()) for row in units.codes[0]))
        marks = {name: Segment(control=name) for name in ("start", "user", "speech", "/speech", "dialogue", "reply")}
        before = [marks["start"], marks["user"], Segment(text=PROMPT), marks["speech"]]
        return [*before, heard, marks["/speech"], marks["dialogue"], marks["reply"]]

    def how(self) -> dict[str, Any]:
        """How the model writes: greedily, just so many units."""
        return {"generator": torch.Generator(), "max_new_tokens": self.num_units + 1, "grammar": self.answer}

    def units(self, text: str) -> Units:
        """Units as they are spelled in `text`."""
        codes = torch.tensor(self.mind.parse_units(text))[None]  # [1, K, T]
        return Units(codes, torch.tensor([codes.shape[-1]]), (4096,), Fraction(25), "bench", "reduced")

    def series(self) -> str:
        """Hear, write everything, then speak everything; the answer as it is spelled."""
        text = self.mind.generate([self.prompt()], **self.how())[0].text
        self.voice.decode(self.units(text), self.style, torch.Generator().manual_seed(0))
        return text

    def stream(self) -> Iterator[Audio]:
        """Hear, then speak while writing."""
        arriving = (self.units(text) for text in self.mind.stream(self.prompt(), **self.how()))
        return self.voice.stream(arriving, self.style, torch.Generator().manual_seed(0))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the question")
    parser.add_argument("--units", type=int, default=115, help="units of the answer; 115 are about 5 s")
    parser.add_argument("--layers", type=int, default=14, help="layers of the language model; 14 are 122 M parameters")
    parser.add_argument("--weights", default="tiny", help="a trained system")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.no_grad():
        parts = Parts(args.seconds, args.units, args.layers)
        size = sum(weight.numel() for weight in parts.mind.parameters()) / 1e6
        print(f"{args.seconds:g} s in, {args.units} units out, language model of {size:.0f} M; {args.clock} time")
        print(machine())
        equal = "".join(parts.mind.stream(parts.prompt(), **parts.how())) == parts.series()
        turns = take_turns(
            {"series": parts.series, "first": lambda: next(parts.stream()), "whole": lambda: list(parts.stream())},
            args.rounds,
            clock=args.clock,
        )
        ratio = turns.ratio("series", "first")
        reached = ratio.median >= GOAL
        print(f"first sound over parts in series   {ratio}   goal {GOAL:g}× {'reached' if reached else 'missed'}")
        print(f"whole stream over parts in series  {turns.ratio('series', 'whole')}")
        print(f"the same units streamed as in series: {'yes' if equal else 'no'}")
        trained(args)
    return 0 if equal and reached else 1


def trained(args: argparse.Namespace) -> None:
    """The same for a trained system and a real question."""
    system = omnikit.load(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus", hours=0.005, seed=1, processes=1).folder
        user = json.loads((corpus / "dialogue.test.jsonl").read_text().splitlines()[0])["messages"][0]
        asked = {"image": corpus / user["image"]["path"], "audio": corpus / user["audio"]["path"]}

        def first(kind: str) -> Callable[[], Any]:
            return lambda: next(piece for piece in system.stream_reply(**asked) if getattr(piece, kind))

        turns = take_turns(
            {"series": lambda: system.reply(**asked), "words": first("text"), "sound": first("audio")},
            args.rounds,
            clock=args.clock,
        )
    form = system.plan.nodes["format"].component
    for what in ("words", "sound"):
        print(f"{args.weights} with {form}: first {what} over the whole reply {turns.ratio('series', what)}")


if __name__ == "__main__":
    sys.exit(main())
