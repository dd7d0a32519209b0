"""What `detokenizer/uvits` refuses, before any of it reaches the network.

Letters: B batch, K codebooks, T units, G style width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omnikit.contracts import DERIVED
from omnikit.errors import ContractError, DataError, WeightsError
from omnikit.types import Style, Units


def derived_ready(**parameters: Any) -> None:
    """Raise `ContractError` for a parameter that nobody has derived yet."""
    open_ones = [name for name, value in parameters.items() if isinstance(value, str) and value == DERIVED]
    if open_ones:
        raise ContractError(
            f"The detokenizer cannot be built: {', '.join(open_ones)} not known yet.\n"
            "They follow from the tokenizer and the style of a system; build it as part of one, or give them."
        )


def unit_codes(units: Units, codebooks: Sequence[int], vocab_id: str, layout: str, device: torch.device) -> Tensor:
    """The codes [B, K, T] on `device` with zeros beyond each row.

    Raises `WeightsError` for another vocabulary, `ContractError` for other codebooks or another layout, `DataError` for
    an empty row or an id out of range.
    """
    if units.vocab_id != vocab_id:
        raise WeightsError(
            f"The units are of vocabulary '{units.vocab_id}', this detokenizer was trained for '{vocab_id}'.\n"
            "Ids of two tokenizers mean different sounds. Use the detokenizer of that tokenizer, or train one for it."
        )
    if tuple(units.sizes) != tuple(codebooks):
        raise ContractError(
            f"The units come from codebooks of {list(units.sizes)}, the detokenizer has {list(codebooks)}."
        )
    if units.layout != layout:
        raise ContractError(
            f"The units have layout '{units.layout}', the detokenizer takes '{layout}'.\n"
            "'reduced' has runs of equal units merged, 'frame' has one unit a step."
        )
    if units.codes.is_floating_point() or units.codes.dim() != 3:
        raise DataError(
            f"Units are whole numbers [rows, codebooks, steps]; {units.codes.dtype} of shape {list(units.codes.shape)} "
            "was given."
        )
    lengths = units.lengths.to(units.codes.device)
    num_steps = units.codes.shape[-1]
    if not len(lengths) or int(lengths.min()) < 1 or int(lengths.max()) > num_steps:
        raise DataError(f"Every row needs 1 to {num_steps} units; their lengths are {lengths.tolist()}.")
    valid = torch.arange(num_steps, device=lengths.device) < lengths[:, None]  # [B, T]
    codes = units.codes * valid[:, None]
    limit = torch.tensor(tuple(codebooks), device=codes.device)[:, None]  # [K, 1]
    wrong = ((codes < 0) | (codes >= limit)).nonzero()
    if len(wrong):
        row, book, step = wrong[0].tolist()
        raise DataError(
            f"Unit {int(codes[row, book, step])} at row {row}, codebook {book}, step {step} does not exist.\n"
            f"Codebook {book} has the units 0 to {codebooks[book] - 1}."
        )
    return codes.to(device)


def style_vector(style: Style, dim: int, space: str | None, num_rows: int, device: torch.device) -> Tensor | None:
    """The style as a matrix [B, G] on `device`; None for a detokenizer without a style input.

    Raises `ContractError` for a missing vector, another space, width or number of rows, or a vector nobody can use.
    """
    if not dim:
        if style.vector is not None:
            raise ContractError(
                "This detokenizer was built without a style input (style_dim 0) and was given a style vector.\n"
                "Use it with style/none, or train one with a style."
            )
        return None
    if style.vector is None:
        raise ContractError(
            f"No style vector was given; this detokenizer never learnt to speak without one (style_dim {dim}).\n"
            "Give Style(vector=…), for example of the labels of style/label_centroid or by style_vectors(audio)."
        )
    if style.space_id != space:
        raise ContractError(
            f"The style vector is of the space '{style.space_id}', the detokenizer takes '{space}'.\n"
            "Vectors of two spaces never mean the same; fit the style module on this detokenizer's style_vectors."
        )
    vector = style.vector
    if vector.dim() != 2 or vector.shape[1] != dim or len(vector) not in (1, num_rows):
        raise ContractError(
            f"The style vector has shape {list(vector.shape)}; [{num_rows}, {dim}] is accepted (or one row for all)."
        )
    if not bool(vector.isfinite().all()):
        row = int((~vector.isfinite().all(1)).nonzero()[0])
        raise ContractError(
            f"The style vector of row {row} holds numbers that are not finite (NaN or infinity).\n"
            "It was mixed from nothing or comes from broken weights; make it anew."
        )
    return vector.to(device=device, dtype=torch.float32).expand(num_rows, -1)
