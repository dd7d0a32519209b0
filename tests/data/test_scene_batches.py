"""Labelled scenes."""

from __future__ import annotations

import torch

from omnikit.data.scene_batches import CLASSES, NOTHING, SceneBatches, cell_labels
from omnikit.data.scenes import COLORS, HELD_OUT_PAIRS, SHAPES, Scene, SceneObject


def test_every_cell_is_labelled_and_empty_cells_have_a_shape_alone() -> None:
    scene = Scene(
        (SceneObject("top right", "star", "blue", "big"), SceneObject("bottom left", "circle", "red", "small")), 1
    )
    labels = cell_labels(scene)
    assert labels["shape"] == [0, 1 + SHAPES.index("star"), 1 + SHAPES.index("circle"), 0]
    assert labels["color"] == [NOTHING, list(COLORS).index("blue"), list(COLORS).index("red"), NOTHING]
    assert labels["size"] == [NOTHING, 1, 0, NOTHING]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    whole = SceneBatches(batch_size=3, num_batches=5, seed=1)
    later = SceneBatches(batch_size=3, num_batches=5, seed=1, start=2)
    assert torch.equal(whole[3].pixels, later[1].pixels) and not torch.equal(whole[0].pixels, whole[1].pixels)
    assert whole[0].pixels.shape == (3, 3, 64, 64) and 0 <= whole[0].pixels.min() < whole[0].pixels.max() <= 1
    assert {name: int(rows.max()) < CLASSES[name] for name, rows in whole[0].labels.items()} == dict.fromkeys(
        CLASSES, True
    )


def test_held_out_pairs_are_in_the_held_out_scenes_alone() -> None:
    def pairs(held_out: bool) -> list[set[tuple[str, str]]]:
        labels = SceneBatches(batch_size=40, num_batches=1, seed=2, held_out=held_out)[0].labels
        colors, shapes = list(COLORS), ("", *SHAPES)
        rows = zip(labels["color"].tolist(), labels["shape"].tolist(), strict=True)
        return [{(colors[c], shapes[s]) for c, s in zip(*row, strict=True) if s} for row in rows]

    assert not any(row & HELD_OUT_PAIRS for row in pairs(held_out=False))
    assert all(row & HELD_OUT_PAIRS for row in pairs(held_out=True))
