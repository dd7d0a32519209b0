"""First sound of a spoken turn, streamed beside the parts in series: `python bench/reply.py [--threads 1]`.

Parts of the published sizes (tokenizer 94.7 M parameters, voice 41.9 M) and a language model of `--layers` layers of
width 768, all with random weights, read a question of `--seconds` and write `--units` units. In series, the whole
answer is written and then spoken, by the same formulas written the plain way (the goal is about those) or by our parts;
streamed, the voice speaks while the model writes. All write the same units. Then a trained system (`--weights`) answers
a real spoken question about a picture, with all the words that its format puts before the units. Exits with 1 where the
units differ or the goal is missed.
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
from plain_spiral import PlainTokenizer
from plain_uvits import PlainUVITS, randomised
from timing import machine, take_turns

import omnikit
from omnikit.data.corpus import make_corpus
from omnikit.slots.backbone import Memory, Segment
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
        self.plain_ear = PlainTokenizer(self.tokenizer.state_dict(), (8, 12))
        self.plain_voice = PlainUVITS(self.voice)
        self.style = Style(vector=torch.nn.functional.normalize(torch.randn(1, 256)), space_id="bench")
        wave = 0.1 * torch.randn(1, round(seconds * RATE))
        self.question = Audio(wave, torch.tensor([wave.shape[1]]), RATE)
        self.num_units, self.answer = num_units, times(unit_step(1), num_units, num_units)

    def heard(self) -> list[list[int]]:
        """Units [K][T] of the question."""
        units = self.tokenizer.encode(self.question)
        return [row[: int(units.lengths[0])].tolist() for row in units.codes[0]]

    def before(self) -> list[Segment]:
        """What the model reads before the question: an instruction."""
        return [Segment(control="start"), Segment(control="user"), Segment(text=PROMPT), Segment(control="speech")]

    def prompt(self, heard: list[list[int]]) -> list[Segment]:
        """What the model reads: an instruction and the question in units."""
        after = [Segment(control=name) for name in ("/speech", "dialogue", "reply")]
        return [*self.before(), Segment(units=tuple(map(tuple, heard))), *after]

    def prepared(self) -> Memory:
        """What is kept of an instruction that was read before the question came."""
        memory = Memory()
        list(self.mind.stream(self.before(), generator=torch.Generator(), max_new_tokens=1, memory=memory))
        return memory

    def how(self) -> dict[str, Any]:
        """How the model writes: greedily, just so many units."""
        return {"generator": torch.Generator(), "max_new_tokens": self.num_units + 1, "grammar": self.answer}

    def units(self, text: str) -> Units:
        """Units as they are spelled in `text`."""
        codes = torch.tensor(self.mind.parse_units(text))[None]  # [1, K, T]
        return Units(codes, torch.tensor([codes.shape[-1]]), (4096,), Fraction(25), "bench", "reduced")

    def plain_series(self) -> str:
        """Hear, write and speak by the plain formulas and the layers of transformers; the answer as it is spelled."""
        ids, lengths = self.plain_ear.encode(self.question.wave, self.question.lengths)
        heard = ids[0, : int(lengths)].unique_consecutive()
        with torch.backends.mkldnn.flags(enabled=False):  # our packed weights need it, transformers' layers do not
            text = self.mind.generate([self.prompt([heard.tolist()])], **self.how())[0].text
        noise = self.voice.voice().noise(torch.Generator().manual_seed(0))
        of_units = noise.units(0, self.num_units) * self.voice.duration_noise_scale
        self.plain_voice.decode(
            self.units(text).codes,
            self.style.vector[..., None],
            of_units,
            lambda count: noise.frames(0, count) * self.voice.noise_scale,
        )
        return text

    def series(self) -> str:
        """Hear, write everything, then speak everything by our parts; the answer as it is spelled."""
        text = self.mind.generate([self.prompt(self.heard())], **self.how())[0].text
        self.voice.decode(self.units(text), self.style, torch.Generator().manual_seed(0))
        return text

    def stream(self, memory: Memory | None = None) -> Iterator[Audio]:
        """Hear, then speak while writing; `memory` holds what was read before."""
        prompt = self.prompt(self.heard())
        arriving = (self.units(text) for text in self.mind.stream(prompt, **self.how(), memory=memory))
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
        streamed = "".join(parts.mind.stream(parts.prompt(parts.heard()), **parts.how()))
        equal = streamed == parts.series() == parts.plain_series()
        memories = [parts.prepared() for _ in range(args.rounds)]  # made before the clock runs, one a turn
        candidates = {
            "plain parts": parts.plain_series,
            "our parts": parts.series,
            "first": lambda: next(parts.stream()),
            "first, prepared": lambda: next(parts.stream(memories.pop())),
            "whole": lambda: list(parts.stream()),
        }
        turns = take_turns(candidates, args.rounds, warmups=0, clock=args.clock)
        best = turns.ratio("plain parts", "first, prepared")
        reached = best.median >= GOAL
        print(f"first sound over parts in series      plain {turns.ratio('plain parts', 'first')}")
        print(f"                                       ours {turns.ratio('our parts', 'first')}")
        print(
            f"same, instruction read beforehand     plain {best}   goal {GOAL:g}× {'reached' if reached else 'missed'}"
        )
        print(f"                                       ours {turns.ratio('our parts', 'first, prepared')}")
        print(f"whole stream over parts in series     plain {turns.ratio('plain parts', 'whole')}")
        print(f"                                       ours {turns.ratio('our parts', 'whole')}")
        print(f"the same units in all ways: {'yes' if equal else 'no'}")
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
