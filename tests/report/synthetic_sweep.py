"""A sweep as `omnikit ablate` leaves it, with scores of known effects: good, failing, pruned and odd arms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from omnikit.data.media import write_audio

SEEDS = (0, 1, 2)
BASELINE, WORSE, EQUAL, BROKEN, PRUNED = "spiral_fsq", "spiral_vq", "wide", "no_ctc", "hubert_50hz"
EFFECTS = {BASELINE: 0.0, WORSE: 0.05, EQUAL: 0.0, BROKEN: 0.02}
BASE_RATE = 0.12
NUM_SPEAKERS, PER_SPEAKER = 12, 10
EMOTIONS = ("neutral", "happy", "sad", "angry")
PROMPTS = ("the red star is big.", "the small blue circle is on the left.", "there are two green squares.")
RATE = 16_000


def make_sweep(folder: Path, name: str = "tokenizer_swap", seed: int = 0, data: str = "4f2a91") -> Path:
    """Write a finished sweep of five arms and three seeds: one arm pruned, one with a failed run."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(NUM_SPEAKERS), PER_SPEAKER)
    lengths = rng.integers(8, 40, len(speakers))
    hard = rng.normal(0, 0.03, NUM_SPEAKERS)
    cells = []
    for arm, effect in EFFECTS.items():
        own = rng.normal(0, 0.005, NUM_SPEAKERS)
        for number in SEEDS:
            cell = {"id": f"{arm}-{number}", "arm": arm, "seed": number, "folder": f"cells/{arm}-{number}"}
            cells.append(cell)
            place = folder / cell["folder"]
            rate = np.clip(BASE_RATE + effect + rng.normal(0, 0.006) + hard + own, 0.01, None)[speakers]
            errors = rng.poisson(rate * lengths)
            if arm == BROKEN and number == 2:
                write_json(place / "status.json", status("failed", exception="CUDA out of memory", step=412))
                write_lines(place / "curves.jsonl", curves(rng, effect, 400))
                continue
            write_json(place / "status.json", status("done", cost=cost(rng, arm)))
            write_lines(place / "scores.jsonl", scores(rng, arm, errors, lengths, speakers, data))
            write_lines(place / "curves.jsonl", curves(rng, effect, 1000))
            if number == 0:
                write_media(rng, place / "media", arm)
    write_json(
        folder / "sweep.json",
        {
            "format": 1,
            "name": name,
            "question": "Does it matter how the tokenizer quantises?",
            "kind": "one_at_a_time",
            "baseline": BASELINE,
            "primary": "phone_error",
            "seeds": list(SEEDS),
            "arms": [{"name": arm, "overrides": [f"tokenizer={arm}"], "pruned": None} for arm in EFFECTS]
            + [{"name": PRUNED, "overrides": ["tokenizer=hubert_50hz"], "pruned": "50 Hz units, 25 Hz wanted"}],
            "cells": cells,
        },
    )
    return folder


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def status(state: str, **more: Any) -> dict[str, Any]:
    times = {"host": "node7", "started": "2026-01-05T10:00:00+00:00", "ended": "2026-01-05T10:06:00+00:00"}
    tail = ["step 411 loss 2.31", "torch.OutOfMemoryError: CUDA out of memory"] if state == "failed" else []
    return {"state": state, "step": 1000, "exception": None, "log_tail": tail, "cost": {}, **times, **more}


def cost(rng: np.random.Generator, arm: str) -> dict[str, float]:
    size = {BASELINE: 2.1e6, WORSE: 2.1e6, EQUAL: 4.8e6, BROKEN: 2.0e6}[arm]
    seconds = 300 * (size / 2e6) ** 0.5 * rng.uniform(0.97, 1.05)
    return {
        "wall_s": seconds,
        "cpu_s": 1.8 * seconds,
        "parameters": size,
        "peak_memory_bytes": 6e8 + 100 * size,
        "tokens": 1.2e6,
    }


def scores(
    rng: np.random.Generator, arm: str, errors: np.ndarray, lengths: np.ndarray, speakers: np.ndarray, data: str
) -> list[dict[str, Any]]:
    names = [f"utt{number:03d}" for number in range(len(errors))]
    by_item = {"lengths": lengths.tolist(), "items": names, "clusters": [f"speaker{n}" for n in speakers]}
    wrong = rng.binomial(1, 0.3, len(errors))
    matrix = np.eye(4) * 22 + rng.integers(0, 4, (4, 4))
    other = "e007bb" if arm == EQUAL else data  # one arm was judged on other texts
    found = [
        {
            "metric": "phone_error",
            "signature": f"phone_error|v1|data:{data}|n:{len(errors)}",
            "higher_is_better": False,
            "value": errors.sum() / lengths.sum(),
            "errors": errors.tolist(),
            "unit": "%",
            **by_item,
        },
        {
            "metric": "word_error",
            "signature": f"word_error|lower|data:{other}|n:{len(errors)}",
            "higher_is_better": False,
            "value": wrong.mean(),
            "errors": wrong.tolist(),
            "unit": "%",
            **by_item,
            "lengths": [1] * len(errors),
        },
        {
            "metric": "emotion_right",
            "signature": f"emotion_right|v1|data:{data}|n:96",
            "name": "style: the emotion asked for is heard",
            "higher_is_better": True,
            "value": float(np.trace(matrix) / matrix.sum()),
            "unit": "%",
            "confusion": {"asked": EMOTIONS, "heard": EMOTIONS, "counts": matrix.tolist()},
        },
    ]
    size, steep = (64, 2.0) if arm == WORSE else (512, 1.0)
    shares = np.arange(1, size + 1.0) ** -steep
    counts = np.sort(rng.multinomial(3000, shares / shares.sum()))[::-1]
    found.append(
        {
            "metric": "codebook_used",
            "signature": f"codebook_used|v1|data:{data}",
            "higher_is_better": True,
            "value": float((counts > 0).mean()),
            "unit": "%",
            "use": {"sizes": [size], "counts": [counts[counts > 0].tolist()]},
        }
    )
    if arm != WORSE:
        value = rng.normal(310, 4)
        found.append(
            {
                "metric": "bit_rate",
                "signature": "bit_rate|v1",
                "higher_is_better": None,
                "value": value,
                "unit": "bit/s",
            }
        )
    return found


def curves(rng: np.random.Generator, effect: float, last: int) -> list[dict[str, Any]]:
    shift = rng.normal(0, 0.03)
    return [
        {"stage": stage, "step": step, "name": name, "value": top * np.exp(-step / 300) + 1 + 4 * effect + shift}
        for stage, top, names in (
            ("tokenizer", 3.0, ("loss", "val/phone_error", "grad_norm")),
            ("detokenizer", 5.0, ("loss", "mel")),
        )
        for name in names
        for step in range(0, last + 1, 20)
    ]


def write_media(rng: np.random.Generator, folder: Path, arm: str) -> None:
    """A voice-like tone a prompt; arms differ in loudness and pitch."""
    place = list(EFFECTS).index(arm)
    entries = []
    for number, text in enumerate(PROMPTS):
        time = np.arange(int(RATE * (0.8 + 0.2 * number))) / RATE
        pitch = 110 * (1 + 0.15 * place) * (1 + 0.05 * np.sin(2 * np.pi * 3 * time))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        wave = sum(np.sin(k * phase) / k for k in range(1, 9)) * (0.04 * (1 + place))
        wave += 0.001 * rng.standard_normal(len(time))
        write_audio(folder / f"{number}.wav", wave.astype(np.float32), RATE)
        entries.append({"prompt": f"p{number}", "text": text, "file": f"{number}.wav"})
    write_json(folder / "media.json", entries)
