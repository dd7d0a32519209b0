"""Packed sequences beside padded rows: `python bench/packing.py [--rounds 3]`.

A mixture with the lengths of the tiny recipe's tasks. Prints the share of positions that are padding in random batches,
in batches of similar length and in packed rows; how many times faster a training step of the tiny backbone is on one
packed row than on padded rows of the same samples (as one batch, and task by task), and on one with a dense block mask,
at equal loss; and the share of a training that goes into loading batches from tar shards with pictures, in one process.
Exits with 1 where losses differ or a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import machine, take_turns
from torch import Tensor
from torch.nn import functional

from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.packing import Packing
from omnikit.data.buckets import BucketPlan
from omnikit.data.language_batches import LanguageBatches, LanguageSample, language_samples
from omnikit.data.packing import Mixture, Shuffled
from omnikit.data.shards import find_shards
from omnikit.data.shards_stream import ShardStream
from omnikit.data.shards_write import write_shards
from omnikit.formats.json import JsonFormat
from omnikit.projectors.mlp import MLPProjector
from omnikit.slots.backbone import Segment
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.vision_encoders.timm import TimmEncoder

GOALS = {"waste": 0.01, "speed": 2.2, "loading": 0.05}
TOLERANCE = 1e-5
BATCH_TOKENS = 2400
LENGTHS = {"caption": (35, 0.15), "asr": (70, 0.35), "tts": (75, 0.35), "written": (70, 0.2), "spoken": (230, 0.25)}
"""Median positions of a task's samples, and the standard deviation of their logarithm."""
WEIGHTS = {"caption": 0.1, "asr": 0.2, "tts": 0.2, "written": 0.25, "spoken": 0.25}
UNITS: dict[str, Any] = {"codebooks": (4096,), "unit_rate": 25, "layout": "reduced", "vocab_id": "bench"}
Row = tuple[str, int]
"""Task and positions of a sample."""


def lengths_of_mixture(number: int) -> dict[str, list[int]]:
    """Positions of `number` samples of every task."""
    draw = np.random.default_rng(0)
    return {
        task: np.exp(draw.normal(np.log(median), spread, number)).clip(8, 600).astype(int).tolist()
        for task, (median, spread) in LENGTHS.items()
    }


def mixture_of(lengths: Mapping[str, Sequence[int]]) -> Mixture[Row]:
    """Batches of true tokens, as training draws them."""
    streams = {
        task: Shuffled([(task, length) for length in own], own, seed=(0, place), limit=BATCH_TOKENS)
        for place, (task, own) in enumerate(lengths.items())
    }
    return Mixture(streams, WEIGHTS, BATCH_TOKENS)


def padding_shares(lengths: Mapping[str, Sequence[int]], num_batches: int) -> dict[str, float]:
    """Share of the positions that are padding, of batches made in several ways, and inside attention."""
    drawn = mixture_of(lengths)
    batches = [[row.tokens for row in drawn.batch()] for _ in range(num_batches)]
    true = sum(map(sum, batches))
    plan = BucketPlan([row for batch in batches for row in batch], BATCH_TOKENS, seed=0)
    buckets = [plan.lengths[plan.batch(step)] for step in range(num_batches)]
    groups = [places.numel() for batch in batches for places in Packing.of(batch, torch.device("cpu")).groups]
    packed = [Packing.of(batch, torch.device("cpu")).positions.numel() for batch in batches]
    return {
        "random batches": 1 - true / sum(len(batch) * max(batch) for batch in batches),
        "batches of similar length": float(1 - sum(map(sum, buckets)) / sum(len(own) * max(own) for own in buckets)),
        "packed rows": 1 - true / sum(packed),
        "packed rows, inside attention": 1 - true / sum(groups),
    }


def sequence(length: int, draw: np.random.Generator) -> list[Segment]:
    """A sequence of so many positions, half of them trained."""
    units = tuple(draw.integers(0, 4096, length).tolist())
    return [Segment(units=(units[: length // 2],)), Segment(units=(units[length // 2 :],), train=True)]


def padded_loss(backbone: HFCausal, rows: Sequence[Sequence[Segment]]) -> Tensor:
    """Summed loss of rows padded to the longest, read the plain way."""
    batch = backbone._rows(rows)
    embeds = backbone._embed(batch, batch.length)  # [B, L, W]
    hidden = backbone.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    row, place = torch.tensor(batch.trained).unbind(1)
    target = torch.tensor([batch.ids[r][p] for r, p in batch.trained])
    return functional.cross_entropy(backbone._logits(hidden[row, place - 1]).float(), target, reduction="sum")


def masked_loss(backbone: HFCausal, rows: Sequence[Sequence[Segment]]) -> Tensor:
    """Summed loss of one row with a block-diagonal mask of all positions."""
    batch = backbone._rows(rows)
    lengths = [len(ids) for ids in batch.ids]
    packing = Packing.of(lengths, torch.device("cpu"))
    tokens = torch.tensor([[index for ids in batch.ids for index in ids]])
    own = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = ((own[:, None] == own) & (torch.arange(len(own))[:, None] >= torch.arange(len(own))))[None, None]
    hidden = backbone.model(
        inputs_embeds=backbone.model.get_input_embeddings()(tokens),
        position_ids=packing.positions[None],
        attention_mask=seen,
        use_cache=False,
    ).last_hidden_state[0]
    before = torch.tensor([packing.starts[r] + p - 1 for r, p in batch.trained])
    target = torch.tensor([batch.ids[r][p] for r, p in batch.trained])
    return functional.cross_entropy(backbone._logits(hidden[before]).float(), target, reduction="sum")


def step(backbone: HFCausal, loss: Callable[[], Tensor], autocast: bool) -> float:
    """Forward and backward; the loss."""
    backbone.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = loss()
    found.backward()
    return float(found.detach())


def compare_steps(rounds: int) -> bool:
    """Print ratios of packed over padded steps; whether losses are equal and the goal is reached."""
    torch.manual_seed(0)
    backbone = HFCausal(hidden=256, layers=4, heads=4, kv_heads=2, intermediate=704, max_positions=1024, **UNITS)
    draw = np.random.default_rng(1)
    batch = mixture_of(lengths_of_mixture(400)).batch()
    tasks = {
        task: [sequence(row.tokens, draw) for row in own]
        for task, own in groupby(sorted(batch, key=lambda row: row.source), key=lambda row: row.source)
    }
    rows = [row for own in tasks.values() for row in own]
    trained = int(backbone.loss(rows).parts["tokens"].sum())

    def task_by_task() -> Tensor:
        return sum((padded_loss(backbone, own) for own in tasks.values()), torch.zeros(())) / trained

    ways = {
        "padded": lambda: padded_loss(backbone, rows) / trained,
        "padded, task by task": task_by_task,
        "one row, dense mask": lambda: masked_loss(backbone, rows) / trained,
        "packed": lambda: backbone.loss(rows).total,
    }
    fine = True
    for precision in ("float32", "bfloat16"):
        half = precision == "bfloat16"
        chosen = ("padded", "packed") if half else ways
        candidates = {name: partial(step, backbone, ways[name], half) for name in chosen}
        losses = [run() for run in candidates.values()]
        apart = max(losses) - min(losses)
        turns = take_turns(candidates, rounds)
        print(
            f"{precision}: {len(rows)} sequences, {sum(row.tokens for row in batch)} positions, "
            f"losses within {apart:.1e}"
        )
        for name in list(chosen)[:-1]:
            print(f"  packed over {name:<22} {turns.ratio(name, 'packed')}")
        fine &= half or apart < TOLERANCE
        if half:
            reached = turns.ratio("padded", "packed").median
            print(f"  goal {GOALS['speed']}× over padded rows: {'reached' if reached >= GOALS['speed'] else 'missed'}")
            fine &= reached >= GOALS["speed"]
    return fine


def write_corpus(folder: Path, number: int) -> None:
    """Spoken questions about pictures, with units, as a corpus of JSONL and PNG files."""
    draw = np.random.default_rng(2)
    (folder / "images").mkdir(parents=True)
    lines = []
    for index in range(number):
        path = f"images/{index}.png"
        Image.fromarray(draw.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / path)
        heard, said = (draw.integers(0, 4096, 60).tolist() for _ in range(2))
        user = {"role": "user", "text": "what color is the star", "image": {"path": path}, "units": heard}
        style = {"emotion": "sad", "pitch": "low", "speed": "normal"}
        told = {"role": "assistant", "text": "the star is red", "units": said, "style": style}
        lines.append(json.dumps({"id": str(index), "messages": [user, told]}) + "\n")
    (folder / "dialogue.train.jsonl").write_text("".join(lines))


def loading_share(root: Path, num_steps: int) -> float:
    """The share of the time of a training on shards that goes into batches."""
    write_corpus(root / "corpus", 256)
    write_shards(root / "corpus", root / "shards", "tar", num_records=64)
    torch.manual_seed(0)
    backbone = HFCausal(hidden=256, layers=4, heads=4, kv_heads=2, intermediate=704, max_positions=1024, **UNITS)
    rates = {"projector": 1e-3, "backbone": 1e-3}
    encoder = TimmEncoder(image_size=64, patch_size=16, dim=128, depth=6, heads=4)
    stage = LanguageStage(
        encoder, MLPProjector(in_dim=128, out_dim=256), backbone, JsonFormat(), Optim(lr=1e-3, steps=num_steps), rates
    )

    def samples_of(record: Mapping[str, Any]) -> list[LanguageSample]:
        return language_samples([record], ["dialogue"], {})["dialogue"]

    shards = find_shards([str(root / "shards" / "*.tar")])
    stream = ShardStream(shards, samples_of, stage.count, seed=(0,), limit=1024, window=64)
    mixture = Mixture({"dialogue": stream}, {"dialogue": 1.0}, BATCH_TOKENS)
    batches = LanguageBatches(root, mixture, image_size=stage.image_size, num_batches=num_steps)
    optimizer = stage.configure_optimizers()["optimizer"]
    loading = learning = 0.0
    for index in range(num_steps):
        start = time.process_time()
        batch = batches[index]
        loaded = time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = stage.losses(batch).total
        loss.backward()
        optimizer.step()
        if index:  # the first step makes what later ones find
            loading += loaded - start
            learning += time.process_time() - loaded
    return loading / (loading + learning)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine())
    shares = padding_shares(lengths_of_mixture(2000), num_batches=100)
    for name, share in shares.items():
        print(f"padding of {name:<30} {share:7.2%}")
    fine = compare_steps(args.rounds)
    with tempfile.TemporaryDirectory() as name:
        loading = loading_share(Path(name), num_steps=4 + args.rounds)
    verdict = "reached" if loading < GOALS["loading"] else "missed"
    print(f"time in loading batches {loading:.2%}, goal {GOALS['loading']:.0%} {verdict}")
    return 0 if fine and shares["packed rows"] < GOALS["waste"] and loading < GOALS["loading"] else 1


if __name__ == "__main__":
    sys.exit(main())
