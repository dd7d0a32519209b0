"""A batch in pieces teaches what the whole batch teaches."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stages.test_language import MIXED, batch_of, dialogue, make

from omnikit.data.language_batches import LanguageBatch, LanguageBatches, LanguageSample, UserInput
from omnikit.data.media import write_image
from omnikit.data.packing import Mixture, Shuffled
from omnikit.data.shares import Share
from omnikit.errors import DataError
from omnikit.stages.language import LanguageStage

RATES = {"vision_encoder": 1e-3, "projector": 1e-3, "backbone": 1e-3}
SAMPLES = [*MIXED, dialogue(random.Random(1), 1)]


def cut(samples: list[LanguageSample], *sizes: int) -> LanguageBatch:
    """A batch of pieces of so many samples; every picture looks as it does in the whole batch."""
    whole = batch_of(samples)
    pixels = dict(zip(whole.paths, whole.images.pixels, strict=True))
    pieces, rest = [], list(samples)
    for size in sizes:
        own, rest = rest[:size], rest[size:]
        piece = batch_of(own)
        pictures = [pixels[path] for path in piece.paths]
        seen = torch.stack(pictures) if pictures else torch.zeros(0, 3, 32, 32)
        pieces.append(replace(piece, images=replace(piece.images, pixels=seen)))
    return replace(pieces[0], rest=tuple(pieces[1:]))


def learnt(stage: LanguageStage, batch: LanguageBatch) -> tuple[float, dict[str, torch.Tensor]]:
    loss = stage.training_step(batch, 0)
    loss.backward()
    return float(loss.detach()), {name: weight.grad for name, weight in stage.named_parameters()}


@pytest.mark.parametrize("sizes", [(1, 4), (2, 1, 1, 1)])
def test_gradients_and_losses_are_those_of_the_whole_batch(sizes: tuple[int, ...]) -> None:
    whole, pieces = make(RATES, width=32), make(RATES, width=32)
    expected, gradients = learnt(whole, batch_of(SAMPLES))
    found, own = learnt(pieces, cut(SAMPLES, *sizes))
    assert found == pytest.approx(expected, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    with torch.no_grad():
        one, several = whole.losses(batch_of(SAMPLES)), pieces.losses(cut(SAMPLES, *sizes))
    torch.testing.assert_close(several.total, one.total)
    assert several.parts.keys() == one.parts.keys()
    for task, mean in one.parts.items():
        torch.testing.assert_close(several.parts[task], mean, msg=task)


def test_pieces_weigh_by_their_trained_tokens_and_not_alike() -> None:
    stage = make(RATES, width=32)
    counts = [stage.count_trained(batch_of([sample])) for sample in SAMPLES]
    assert len(set(counts)) > 2
    pair = [SAMPLES[1], SAMPLES[4]]
    told = [stage.count_trained(batch_of([sample])) for sample in pair]
    with torch.no_grad():
        alone = [float(stage.losses(batch_of([sample])).total) for sample in pair]
        together = float(stage.losses(cut(pair, 1, 1)).total)
    assert together == pytest.approx((alone[0] * told[0] + alone[1] * told[1]) / sum(told), abs=1e-5)
    assert together != pytest.approx(sum(alone) / 2, abs=1e-4)


def test_a_piece_that_stands_in_counts_nothing() -> None:
    batch = cut(SAMPLES, 2, 3)
    stand_in = replace(batch.rest[0], counts=False)
    expected, gradients = learnt(make(RATES, width=32), replace(batch, rest=()))
    found, own = learnt(make(RATES, width=32), replace(batch, rest=(stand_in,)))
    assert found == pytest.approx(expected, abs=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_in_bfloat16_pieces_give_nearly_the_same() -> None:
    whole, pieces = make(RATES, width=32), make(RATES, width=32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, gradients = learnt(whole, batch_of(SAMPLES))
        found, own = learnt(pieces, cut(SAMPLES, 2, 2, 1))
    assert found == pytest.approx(expected, rel=0.01)
    for name, gradient in gradients.items():
        difference = (own[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert difference < 0.05, name


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_cut_alike_in_every_process(processes: int) -> None:
    sizes = [*sorted(random.Random(2).randint(5, 60) for _ in range(23)), 200]
    names = [f"row {place}" for place in range(len(sizes))]
    cuts = [Share(process, processes).pieces(names, sizes, 100) for process in range(processes)]
    assert len({len(pieces) for pieces in cuts}) == 1
    assert len(cuts[0]) * processes < 1.5 * sum(sizes) / 100 + 2 * processes  # a long row does not scatter the others
    for process, pieces in enumerate(cuts):
        rows = [own for own, counts in pieces if counts]
        assert all(sum(sizes[place] for place, _ in own) <= 100 for own in rows if len(own) > 1)
        assert all(own == [(0, "row 0")] for own, counts in pieces if not counts)
        assert sorted(row for own in rows for row in own) == Share(process, processes).of(names)[0]
    assert Share(0, processes).pieces(names, sizes, 10_000) == [Share(0, processes).of(names)]
    assert [counts for _, counts in Share(1, 2).pieces(names[:1], sizes[:1], 100)] == [False]


def batches(folder: Path, samples: list[LanguageSample], piece_tokens: int | None) -> LanguageBatches:
    mixture = Mixture({"all": Shuffled(samples, [10] * len(samples), seed=(0,), limit=40)}, {"all": 1.0}, 40)
    return LanguageBatches(folder, mixture, image_size=8, num_batches=2, piece_tokens=piece_tokens)


def test_batches_come_in_pieces_and_a_broken_file_costs_its_sample_only(tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", np.full((8, 8, 3), 50 * number, dtype=np.uint8))
    samples = [LanguageSample("caption", UserInput((f"{number}.png",)), f"picture {number}") for number in range(4)]
    whole, pieces = (batches(tmp_path, samples, tokens)[0] for tokens in (None, 10))
    assert not whole.rest and len(pieces.rest) == 3 and pieces.drawn == whole.drawn
    told = [sample.text for piece in (pieces, *pieces.rest) for sample in piece.samples]
    assert sorted(told) == sorted(sample.text for sample in whole.samples)
    (tmp_path / "2.png").write_bytes(b"broken")
    batch = batches(tmp_path, samples, 10)[0]
    assert [piece.counts for piece in (batch, *batch.rest)].count(False) == 1
    assert [skipped.name for skipped in batch.skipped] == ["2.png"]
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="No sample of a batch"):
        batches(tmp_path, samples, 10)[0]
