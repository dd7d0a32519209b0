"""Style modules that need no gradient, made from a trained detokenizer and the labelled recordings of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.reference_encoder import part_of
from omnikit.registry import create
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.style import StyleModule
from omnikit.training.style_vectors import LabelledVectors, labelled_vectors
from omnikit.types import Audio

DEFAULTS = {"emotion": "neutral", "speed": "normal", "pitch": "normal", "energy": "normal"}
_TOLERANCE = 1e-4


def make_label_centroid(found: LabelledVectors) -> StyleModule:
    """The table of centroids of labelled vectors; a factor starts with neutral or normal where it has such a value."""
    factors = {}
    for name, values in found.factors.items():
        usual = [value for value in values if value == DEFAULTS.get(name)]
        factors[name] = [*usual, *(value for value in values if value not in usual)]
    module: StyleModule = create("style/label_centroid", dim=found.vectors.shape[1], factors=factors)
    module.fit(found.vectors, found.labels, found.space_id)
    return module


def make_reference(detokenizer: Detokenizer, found: LabelledVectors) -> StyleModule:
    """A copy of the detokenizer's reference encoder, with the mean of the vectors as its style without a recording.

    Raises `OmnikitError` where the copy does not hear what the detokenizer hears.
    """
    sizes, weights = part_of(detokenizer)
    dim = sizes.pop("style_dim")
    module: StyleModule = create(
        "style/reference", dim=dim, space_id=found.space_id, sample_rate=detokenizer.sample_rate, **sizes
    )
    module.get_submodule("encoder.encoder").load_state_dict(weights)
    module.fit(found.vectors, found.labels, found.space_id)
    module.eval()
    probe = _glide(detokenizer.sample_rate)
    heard, theirs = module.from_audio(probe).vector, detokenizer.style_vectors(probe)
    if heard is None or theirs is None or not torch.allclose(heard, theirs, atol=_TOLERANCE):
        raise OmnikitError(
            f"The reference encoder of {type(detokenizer).__name__} hears more than a copy of it does; "
            "style/reference cannot stand in for it."
        )
    return module


MAKERS = ("label_centroid", "reference")


def make_style(
    name: str,
    detokenizer: Detokenizer,
    corpus: Path,
    files: Sequence[str],
    factors: Sequence[str] | None,
    seconds: float,
) -> tuple[StyleModule, LabelledVectors]:
    """Make `label_centroid` or `reference`; returns it and the vectors that it was made from.

    Raises `UnknownName` for another name, and as `labelled_vectors` does.
    """
    if name not in MAKERS:
        raise unknown_name("style to make", name, MAKERS, "gmvae and text_prompt learn: omnikit train stage=style.")
    found = labelled_vectors(detokenizer, corpus, files, factors=factors, seconds=seconds)
    if name == "label_centroid":
        return make_label_centroid(found), found
    return make_reference(detokenizer, found), found


def _glide(sample_rate: int) -> Audio:
    """A second of a gliding tone with overtones."""
    time = torch.arange(sample_rate) / sample_rate  # [S]
    phase = 2 * torch.pi * (150 * time + 40 * time.square())
    wave = 0.3 * torch.sin(phase) + 0.15 * torch.sin(2 * phase) + 0.1 * torch.sin(5 * phase)
    return Audio(wave[None], torch.tensor([sample_rate]), sample_rate)
