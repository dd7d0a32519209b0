"""A checkpoint of SpeechBrain's unit HiFi-GAN as `detokenizer/unit_hifigan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

import omnikit
from omnikit.artefacts import fill_from, name_after_weights
from omnikit.errors import OmnikitError, WeightsError
from omnikit_speechbrain.checkpoints import read_checkpoint, under
from omnikit_speechbrain.unit_hifigan import UnitHifigan

CHECKPOINT = "generator.ckpt"
_WEIGHT = "conv.parametrizations.weight.original1"
_FIRST, _UNITS, _PREDICTOR = f"conv_pre.{_WEIGHT}", "unit_embedding.weight", "var_predictor.proj.weight"
_POOLING = "attn_pooling."


def load_hifigan(
    path: Path,
    codebooks: Sequence[int] | None = None,
    ratios: Sequence[int] = (5, 4, 4, 2, 2),
    vocab_id: str | None = None,
) -> UnitHifigan:
    """The component of a checkpoint of `UnitHifiganGenerator`; sizes are read off the tensors, all but the strides.

    `codebooks` are sizes whose sum is the number of its ids (None: one codebook); `vocab_id` None names it after the
    weights. Raises `WeightsError` for a file that is none, or whose tensors do not fit.
    """
    stored = read_checkpoint(path, "UnitHifiganGenerator", (_FIRST, _UNITS))
    num_units, dim = stored[_UNITS].shape[0] - 1, stored[_UNITS].shape[1]
    sizes = list(codebooks or [num_units])
    if sum(sizes) != num_units:
        raise WeightsError(f"{path} holds {num_units} ids, not {sum(sizes)}: give codebooks whose sizes add up to it.")
    if stored[_FIRST].shape[1] != dim:
        raise WeightsError(
            f"{path} reads {stored[_FIRST].shape[1] - dim} numbers of a speaker beside its units; models of one voice\n"
            "are read."
        )
    if len(sizes) == 1:  # a single vector is its own average
        stored = {name: value for name, value in stored.items() if not name.startswith(_POOLING)}
    kernels = _kernels(stored, "ups.{}.")
    try:
        component: UnitHifigan = omnikit.create(
            "detokenizer/unit_hifigan",
            codebooks=sizes,
            vocab_id=vocab_id or "",
            layout="reduced" if _PREDICTOR in stored else "frame",
            dim=dim,
            channels=stored[_FIRST].shape[0],
            ratios=list(ratios),
            kernels=kernels,
            res_kernels=_kernels(stored, "resblocks.{}.convs1.0.")[: _num_blocks(stored) // len(kernels)],
            predictor_dim=_predictor_dim(stored),
        )
    except OmnikitError as error:
        raise WeightsError(f"{path} does not fit these sizes: {error}") from error
    fill_from(component, under("generator", stored), str(path))
    if vocab_id is None:
        name_after_weights(component, "vocab_id", "unit-hifigan")
    return component.eval()


def _kernels(stored: Mapping[str, Tensor], place: str) -> list[int]:
    """Taps of the convolutions that stand at `place` 0, 1, 2 …"""
    found: list[int] = []
    while (name := place.format(len(found)) + _WEIGHT) in stored:
        found.append(stored[name].shape[-1])
    return found


def _num_blocks(stored: Mapping[str, Tensor]) -> int:
    return len(_kernels(stored, "resblocks.{}.convs1.0."))


def _predictor_dim(stored: Mapping[str, Tensor]) -> int:
    """The width of the duration predictor, or of the pooling where several codebooks are pooled; else the default."""
    if _PREDICTOR in stored:
        return stored[_PREDICTOR].shape[1]
    pooling = stored.get(f"{_POOLING}0.weight")
    return 128 if pooling is None else pooling.shape[0]
