"""Model FLOP utilisation of a training step of stage 2: `python bench/mfu.py [--size 3b] [--checkpoint] [--compile]`.

A random language model of a size by name, with a picture encoder and the projector between them, learns the mixture of
`recipe=emova` for `align` from tar shards, by the house's own stage and runner: packed rows, clipping, AdamW. Every
sample's operations are counted beforehand (`training.flops`), forward and backward, by itself and with nothing
recomputed, so neither padding nor recomputation counts as work; attention counts whole, as if nothing were hidden by
causality. Utilisation is that count over what the device could do at its peak in the time of the step, its waiting for
data included. One more step is profiled: shares are of its wall time, by the operation that launched the work. The text
vocabulary is plain bytes, so the head is smaller than a published model's.

Ref: Chowdhery et al. 2022 (PaLM, arXiv 2204.02311), appendix B, for the utilisation.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import omnikit  # noqa: F401  before Lightning, which loads torchvision

# isort: split
import lightning
import numpy as np
import torch
from PIL import Image
from timing import machine
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from omnikit.backbones.hf_causal import HFCausal
from omnikit.cli.config import compose_config
from omnikit.data.language_batches import LanguageBatch, LanguageBatches, LanguageSample, language_samples
from omnikit.data.packing import Mixture
from omnikit.data.shards import find_shards
from omnikit.data.shards_stream import ShardStream
from omnikit.data.shards_write import write_shards
from omnikit.formats.json import JsonFormat
from omnikit.projectors.mlp import MLPProjector
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.training.flops import FlopCount
from omnikit.training.job import Context, Job
from omnikit.training.runner import _fit
from omnikit.vision_encoders.timm import TimmEncoder

UNITS: dict[str, Any] = {"codebooks": (4096,), "unit_rate": 25, "layout": "reduced", "vocab_id": "bench"}
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 128},
    "0.5b": {"hidden": 896, "layers": 24, "heads": 14, "kv_heads": 2, "intermediate": 4864},
    "1.5b": {"hidden": 1536, "layers": 28, "heads": 12, "kv_heads": 2, "intermediate": 8960},
    "3b": {"hidden": 2048, "layers": 36, "heads": 16, "kv_heads": 2, "intermediate": 11008},
}
"""Sizes of language models; those above `tiny` are Qwen2.5's (arXiv 2412.15115)."""
EYES: dict[bool, dict[str, int]] = {
    True: {"image_size": 32, "patch_size": 16, "dim": 32, "depth": 1, "heads": 2},
    False: {"image_size": 384, "patch_size": 16, "dim": 1152, "depth": 27, "heads": 16},
}
"""The picture encoder of the tiny model, and of all others: a ViT of SigLIP's so400m shape (arXiv 2303.15343)."""
PEAKS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Dense bfloat16 FLOP/s of tensor cores, by the names of devices; NVIDIA's data sheets, without sparsity."""
PARTS = {
    "attention": ("scaled_dot_product", "flash_attention", "efficient_attention", "cudnn_attention"),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "convolution"),
    "optimiser": ("_foreach_", "_fused_adam", "linalg_vector_norm"),
}
"""What operations are called, by the part of a step that they are. Clipping counts with the optimiser; where a device
has no kernel for attention, its products count as matrix products and its softmax with the rest."""
NUM_RECORDS = 128
PICTURES = ("caption", "dialogue")


class Stopwatch(lightning.Callback):
    """Wall time of every step but the first, from end to end, the wait for its batch in it; the last one's profile."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.ended = 0.0
        self.seconds: list[float] = []
        self.waits: list[float] = []
        self.profile: Any = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """The batch has come."""
        self.waits.append(time.perf_counter() - self.ended)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step has been taken."""
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.ended)
        done = batch_idx + 1
        if done == self.num_steps:
            self.profile.stop()
        if done == self.num_steps - 1:
            on_device = [ProfilerActivity.CUDA] if module.device.type == "cuda" else []
            self.profile = profile(activities=[ProfilerActivity.CPU, *on_device])
            self.profile.start()
        self.ended = time.perf_counter()


@dataclass(frozen=True)
class Measured:
    """Operations and seconds of the steps, tokens of their batches, and shares of the profiled step's time by part."""

    flops: Sequence[int]
    seconds: Sequence[float]
    tokens: Sequence[int]
    shares: Mapping[str, float]
    cost: Mapping[str, Any]

    def utilisation(self, peak: float) -> float:
        """The median over the steps of operations a second, as a share of `peak`."""
        rates = [flops / seconds for flops, seconds in zip(self.flops, self.seconds, strict=True)]
        return statistics.median(rates) / peak


def write_corpus(folder: Path, number: int, side: int) -> None:
    """Captions, typed questions about pictures, transcripts and texts to speak, as JSONL with pictures of noise."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)

    def text(mean: int) -> str:
        return " ".join(["star"] * int(draw.integers(mean // 2, 2 * mean)))

    def units() -> list[int]:
        return list(map(int, draw.integers(0, UNITS["codebooks"][0], int(draw.integers(40, 160)))))

    lines: dict[str, list[str]] = {task: [] for task in ("caption", "dialogue", "asr", "tts")}
    for task, own in lines.items():
        for index in range(number):
            user: dict[str, Any] = {"role": "user"}
            answer: dict[str, Any] = {"role": "assistant", "text": text(20)}
            if task in PICTURES:
                path = f"images/{task}{index}.png"
                Image.fromarray(draw.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(folder / path)
                user["image"] = {"path": path}
            if task == "dialogue":
                user["text"] = text(8)
            if task == "asr":
                user |= {"text": text(10), "units": units()}
            if task == "tts":
                answer["units"] = units()
            messages = [user] if task == "asr" else [answer] if task == "tts" else [user, answer]
            own.append(json.dumps({"id": f"{task}{index}", "messages": messages}) + "\n")
        (folder / f"{task}.train.jsonl").write_text("".join(own))


def stage_of(size: Mapping[str, int], tiny: bool, settings: Mapping[str, Any], num_steps: int) -> LanguageStage:
    """Stage 2 with random parts; the rates of the published recipe, and an encoder that learns from its middle on."""
    torch.manual_seed(0)
    eyes = EYES[tiny]
    rates = {name: settings["rates"][name] for name in ("vision_encoder", "projector", "backbone")}
    backbone = HFCausal(**size, max_positions=8192, **UNITS)
    projector = MLPProjector(in_dim=eyes["dim"], out_dim=size["hidden"])
    optim = Optim(**{**settings["optim"], "steps": num_steps, "warmup_steps": 0})
    return LanguageStage(
        TimmEncoder(**eyes), projector, backbone, JsonFormat(), optim, rates, vision_from=eyes["depth"] // 2
    )


def batches_of(
    stage: LanguageStage, folder: Path, mixture: Mapping[str, float], tokens: int, num_batches: int, apart: bool = False
) -> LanguageBatches:
    """Batches of `tokens` from the shards in `folder`, the same every time; with `apart` a sample a piece."""

    def stream(task: str, number: int) -> ShardStream:
        def samples(record: Mapping[str, Any]) -> list[LanguageSample]:
            return language_samples([record], [task], {}, typed_share=1.0)[task]

        return ShardStream(
            find_shards([str(folder / f"{task}.*.tar")]), samples, stage.count, seed=(number,), limit=tokens
        )

    streams = {task: stream(task, number) for number, task in enumerate(mixture)}
    return LanguageBatches(
        folder,
        Mixture(streams, dict(mixture), tokens),
        image_size=stage.image_size,
        num_batches=num_batches,
        piece_tokens=1 if apart else None,
    )


def count_flops(stage: LanguageStage, batch: LanguageBatch, half: bool) -> int:
    """Operations that a batch takes forward and backward, one piece after the other."""
    batch = stage.transfer_batch_to_device(batch, stage.device, 0)
    with FlopCount() as counter:
        for piece in (batch, *batch.rest):
            with torch.autocast(stage.device.type, torch.bfloat16, enabled=half):
                loss, _, _ = stage.of_piece(piece)
            loss.backward()
    stage.zero_grad()
    return counter.total


def shares_of(events: Iterable[Any], on_device: bool, wait: float, wall: float) -> dict[str, float]:
    """The shares of a step of `wall` seconds that its parts took, `wait` of them for data."""
    spent = dict.fromkeys(PARTS, 0.0)
    for event in events:
        part = next((part for part, names in PARTS.items() if any(name in event.key for name in names)), None)
        if part is not None and event.device_type == DeviceType.CPU:  # kernels count with what launched them
            spent[part] += (event.self_device_time_total if on_device else event.self_cpu_time_total) / 1e6
    known = {**{part: seconds / wall for part, seconds in spent.items()}, "data": wait / wall}
    return {**known, "rest": max(0.0, 1 - sum(known.values()))}


def measure(
    size: Mapping[str, int], *, tiny: bool, tokens: int, warmups: int, steps: int, trainer: Sequence[str], root: Path
) -> Measured:
    """Count and time `steps` steps behind `warmups` others. `trainer` are overrides of the trainer's settings."""
    config = compose_config("train", ["stage=align", "trainer.devices=1", *trainer])
    settings, num_steps = config["stage"]["settings"], warmups + steps + 1
    stage = stage_of(size, tiny, settings, num_steps)
    write_corpus(root / "corpus", NUM_RECORDS, EYES[tiny]["image_size"])
    write_shards(root / "corpus", root / "shards", "tar", num_records=32)

    def batches(apart: bool) -> LanguageBatches:
        return batches_of(stage, root / "shards", settings["mixture"], tokens, num_steps, apart)

    stage.to("cuda" if config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available() else "cpu").train()
    counted = batches(apart=True)
    half = config["trainer"]["precision"] == "bf16-mixed"
    drawn = [counted[number] for number in range(warmups, warmups + steps)]
    flops = [count_flops(stage, batch, half) for batch in drawn]
    watch = Stopwatch(num_steps)
    job = Job(stage, batches(apart=False), None, dict, callbacks=(watch,))
    context = Context(config, settings, None, {}, {}, root, root / "run", 0, 0)  # type: ignore[arg-type]
    cost = _fit(job, context, root / "last.ckpt")
    events = watch.profile.key_averages()
    shares = shares_of(events, cost["peak_gpu_memory_mb"] > 0, watch.waits[-1], watch.seconds[-1])
    timed = watch.seconds[warmups : warmups + steps]
    return Measured(flops, timed, [sum(own for _, own in batch.drawn) for batch in drawn], shares, cost)


def size_of(told: str) -> dict[str, int]:
    """Sizes by name, or as `hidden=…,layers=…,heads=…,kv_heads=…,intermediate=…`."""
    if told in SIZES:
        return SIZES[told]
    pairs = dict(pair.partition("=")[::2] for pair in told.split(","))
    if set(pairs) != set(SIZES["tiny"]) or not all(value.isdecimal() for value in pairs.values()):
        names = ", ".join(f"{name}=…" for name in SIZES["tiny"])
        raise argparse.ArgumentTypeError(f"'{told}' is none of {', '.join(SIZES)}, and not {names}")
    return {name: int(value) for name, value in pairs.items()}


def peak_of(device: str) -> float | None:
    """The peak FLOP/s of a device in bfloat16 by its name, where it is known."""
    words = set(re.split(r"[\s-]+", device))
    return next((peak for name, peak in PEAKS.items() if words.issuperset(name.split())), None)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size_of, default=SIZES["tiny"], help=f"{', '.join(SIZES)}, or sizes")
    parser.add_argument("--tokens", type=int, help="of a batch (8192; 600 of the tiny model)")
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"], default="bf16-mixed")
    parser.add_argument("--checkpoint", action="store_true", help="recompute activations")
    parser.add_argument("--compile", action="store_true", help="compile the blocks of the language model")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that load batches")
    parser.add_argument("--warmups", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--peak", type=float, help="FLOP/s of the device at that precision; known of some in bfloat16")
    args = parser.parse_args(words)
    if args.warmups < 1 or args.steps < 1:
        parser.error("--warmups and --steps are 1 or more")
    on_device = args.accelerator != "cpu" and torch.cuda.is_available()
    known = peak_of(torch.cuda.get_device_name()) if on_device and args.precision == "bf16-mixed" else None
    peak = args.peak or known
    if peak is None:
        parser.error(f"the peak of this device in {args.precision} is not known; give --peak in FLOP/s")
    tiny = args.size == SIZES["tiny"]
    tokens = args.tokens or (600 if tiny else 8192)
    trainer = {
        "accelerator": args.accelerator,
        "precision": args.precision,
        "activation_checkpointing": args.checkpoint,
        "compile": args.compile,
        "num_workers": args.workers,
    }
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        found = measure(
            args.size,
            tiny=tiny,
            tokens=tokens,
            warmups=args.warmups,
            steps=args.steps,
            trainer=[f"trainer.{key}={value}" for key, value in trainer.items()],
            root=Path(name),
        )
    report(found, peak, trainer)
    return 0


def report(found: Measured, peak: float, trainer: Mapping[str, Any]) -> None:
    """Print what was measured."""
    cost, middle = found.cost, statistics.median(found.seconds)
    print(", ".join(f"{name} {value}" for name, value in trainer.items()))
    print(f"parameters {cost['parameters'] / 1e6:.1f} M, of which {cost['trainable_parameters'] / 1e6:.1f} M learn")
    print(f"step {middle:.3f} s, median of {len(found.seconds)} ({min(found.seconds):.3f} to {max(found.seconds):.3f})")
    print(f"operations of a step {statistics.median(found.flops):.3e}, tokens {statistics.median(found.tokens):.0f}")
    print(f"model FLOP utilisation {found.utilisation(peak):.1%} of {peak:.3e} FLOP/s")
    print("time of a step: " + ", ".join(f"{part} {share:.1%}" for part, share in found.shares.items()))


if __name__ == "__main__":
    sys.exit(main())
