"""Sound from units, ours beside the plain way: `python bench/detokenizer.py [--units 115] [--threads 1]`.

The published size (41.9 M parameters) with random weights on random units, both sides with equal weights and equal
noise, taking turns in one run: ours by PyTorch alone, with the C kernel of the head where it can be built, and with the
head in bfloat16. Prints ratios, errors relative to the peak, and when a stream gives its first sound;
then the alignment search of training beside the published Cython extension; where that is not installed, beside our own
search in PyTorch, and its goal is not judged. Exits with 1 where the sound differs or a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch
from plain_uvits import PlainUVITS, randomised
from timing import Turns, machine, take_turns
from torch import Tensor

import omnikit
from omnikit.detokenizers.uvits_voice import Voice
from omnikit.nn.alignment import monotonic_path, searched_path
from omnikit.nn.hifigan_kernel import HiFiGANKernel
from omnikit.nn.hifigan_stream import HiFiGANStream
from omnikit.types import Audio, Style, Units

GOALS = {
    "PyTorch": 1.2,
    "kernel": 1.8,
    "bfloat16": 2.1,
    "first sound": 10.0,
    "… by kernel": 13.0,
    "known units": 1 / 1.25,
    "arriving": 1 / 1.25,
    "alignment": 5.0,
}
LARGEST_ERROR, SMALLEST_SNR_DB = 1e-5, 30.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=115, help="length of the utterance; 115 are about 5 s")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ours, units, style = material(args.units)
    plain = PlainUVITS(ours)

    def baseline() -> Tensor:
        noise = ours.voice().noise(torch.Generator().manual_seed(0))
        scaled = noise.units(0, args.units) * ours.duration_noise_scale
        frames = lambda count: noise.frames(0, count) * ours.noise_scale  # noqa: E731
        return plain.decode(units.codes, style.vector[..., None], scaled, frames)

    expected = baseline()
    print(
        f"{expected.shape[1] / ours.sample_rate:.1f} s of sound, {args.clock} time, {args.rounds} rounds\n{machine()}"
    )
    single = in_turns(by_pytorch(ours), baseline, units, style, args)
    errors = {"PyTorch": apart(by_pytorch(ours), expected, units, style)}
    fast = None
    if isinstance(ours.voice().dec, HiFiGANKernel):
        fast = in_turns(ours.voice(), baseline, units, style, args)
        errors["kernel"] = apart(ours.voice(), expected, units, style)
    ours.precision = torch.bfloat16
    half = in_turns(ours.voice(), baseline, units, style, args)
    noise = decoded(ours.voice(), units, style) - expected
    snr = float(10 * torch.log10(expected.square().mean() / noise.square().mean()))
    said = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"float32 error of the peak: {said} (at most {LARGEST_ERROR:.0e} allowed); bfloat16 SNR {snr:.1f} dB")
    best = fast or single
    reached = {
        "PyTorch": single.ratio("plain", "decode"),
        "bfloat16": half.ratio("plain", "decode"),
        "first sound": single.ratio("plain", "first"),
        "known units": best.ratio("decode", "stream"),
        "arriving": best.ratio("decode", "stream arriving"),
    }
    if fast is None:
        print("the kernel of the head cannot be built here (no C compiler, or OMNIKIT_NATIVE=0)")
    else:
        reached |= {"kernel": fast.ratio("plain", "decode"), "… by kernel": fast.ratio("plain", "first")}
    for name, turns in {"PyTorch": single, "kernel": fast, "bfloat16": half}.items():
        if turns is not None:
            print(f"for comparison  {name}: over plain float32, first sound {turns.ratio('plain', 'first')}")
            print(f"    of arriving units {turns.ratio('plain', 'first arriving')}")
            print(f"    stream over decode: known {turns.ratio('decode', 'stream')}")
            print(f"    arriving {turns.ratio('decode', 'stream arriving')}")
    met, alignment = True, aligned(args)
    if alignment is None:
        print(f"alignment    not judged (goal {GOALS['alignment']:.2g}×): the published extension is not installed")
    else:
        reached["alignment"] = alignment
    for name, goal in GOALS.items():
        if name not in reached:
            continue
        good = reached[name].median >= goal
        met = met and good
        print(f"{name:<12} {reached[name]}   goal {goal:.2g}× {'reached' if good else 'missed'}")
    return 0 if met and max(errors.values()) <= LARGEST_ERROR and snr >= SMALLEST_SNR_DB else 1


def material(num_units: int) -> tuple[Any, Units, Style]:
    """The detokenizer at published size, random units and a random style."""
    torch.manual_seed(0)
    ours: Any = omnikit.create(
        "detokenizer/uvits", codebooks=[4096], vocab_id="bench", unit_rate=25, style_dim=256, style_space="bench"
    )
    codes = torch.randint(4096, (1, 1, num_units))
    units = Units(codes, torch.tensor([num_units]), (4096,), Fraction(25), "bench", "reduced")
    return randomised(ours), units, Style(vector=torch.nn.functional.normalize(torch.randn(1, 256)), space_id="bench")


def by_pytorch(ours: Any) -> Voice:
    """What decodes without the kernel."""
    voice = Voice(ours)
    voice.dec = HiFiGANStream(ours.dec)
    return voice


def decoded(voice: Voice, units: Units, style: Style) -> Tensor:
    """The sound of the whole."""
    return voice.decode(units, style, torch.Generator().manual_seed(0)).wave


def apart(voice: Voice, expected: Tensor, units: Units, style: Style) -> float:
    """The largest error relative to the peak."""
    return float((decoded(voice, units, style) - expected).abs().max() / expected.abs().max())


def in_turns(voice: Voice, baseline: Callable[[], Tensor], units: Units, style: Style, args: Any) -> Turns:
    """Whole and streams of ours beside the plain way in float32."""

    def stream(given: Units | Iterator[Units]) -> Iterator[Audio]:
        return voice.stream(given, style, torch.Generator().manual_seed(0))

    def arriving() -> Iterator[Units]:
        for code in units.codes.split(1, -1):
            yield Units(code, torch.tensor([1]), units.sizes, units.rate, units.vocab_id, units.layout)

    return take_turns(
        {
            "plain": baseline,
            "decode": lambda: decoded(voice, units, style),
            "first": lambda: next(stream(units)),
            "first arriving": lambda: next(stream(arriving())),
            "stream": lambda: list(stream(units)),
            "stream arriving": lambda: list(stream(arriving())),
        },
        args.rounds,
        clock=args.clock,
    )


def aligned(args: Any) -> Any:
    """The alignment search of a batch of 32, 200 units and 800 frames each, over the published extension.

    None where that is not installed: what is printed then is beside our own search in PyTorch.
    """
    value = torch.randn(32, 800, 200, generator=torch.Generator().manual_seed(0))
    frames, units = torch.full((32,), 800), torch.full((32,), 200)

    def ours() -> None:
        for _ in range(20):
            monotonic_path(value, frames, units)

    def plain() -> None:
        for _ in range(20):
            searched_path(value, frames, units)

    try:
        from monotonic_align import maximum_path
    except ImportError:
        turns = take_turns({"plain": plain, "ours": ours}, args.rounds, clock=args.clock)
        print(f"for comparison  alignment search over our own in PyTorch {turns.ratio('plain', 'ours')}")
        return None
    mask = torch.ones_like(value)

    def published() -> None:
        for _ in range(20):
            maximum_path(value, mask)

    over_plain = take_turns({"plain": plain, "published": published}, args.rounds, clock=args.clock)
    print(
        f"for comparison  published alignment extension over our plain search {over_plain.ratio('plain', 'published')}"
    )
    turns = take_turns({"published": published, "ours": ours}, args.rounds, clock=args.clock)
    return turns.ratio("published", "ours")


if __name__ == "__main__":
    sys.exit(main())
