"""Which style vectors a voice learns with: those that its own reference encoder hears, or those that it is told.

A voice that is told keeps its encoder, all of whose weights are zero then. So its file says what it is: whoever loads
it, with whatever config, has the same voice, and it never gives vectors of an encoder that knows nothing of its space.

Letters: B batch, F frequency bins, L frames, G style width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnikit.detokenizers.uvits_checks import style_vector
from omnikit.errors import DataError, OmnikitError
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.slots.detokenizer import VoiceBatch


def style_to_learn(
    batch: VoiceBatch, encoder: StyleEncoder | None, spectrum: Tensor, mask: Tensor, dim: int, space: str | None
) -> Tensor | None:
    """Style vectors [B, G] of a batch: those that it tells, else what `encoder` hears in `spectrum` [B, F, L].

    None for a voice without a style input (`dim` 0). Raises `ContractError` for told vectors of another space, width or
    number of rows, `DataError` where nobody tells or hears them.
    """
    if batch.style is not None:
        return style_vector(batch.style, dim, space, len(spectrum), spectrum.device)
    if encoder is None:
        return None
    if not _hears(encoder):
        raise DataError(
            f"This voice learns style vectors of the space '{space}' that come from outside, and the batch has none.\n"
            "Give VoiceBatch.style; stage=detokenizer does so with the style module of that space (style=…)."
        )
    return encoder(spectrum, mask)


def deafen(encoder: StyleEncoder) -> None:
    """Make an encoder hear nothing, now and after any training."""
    with torch.no_grad():
        for weight in encoder.requires_grad_(False).parameters():
            weight.zero_()


def check_hears(encoder: StyleEncoder, space: str | None) -> None:
    """Raise `OmnikitError` where `encoder` hears nothing, as its voice is told its style vectors."""
    if not _hears(encoder):
        raise OmnikitError(
            f"This voice hears no recordings itself: it was told its style vectors, of the space '{space}'.\n"
            "The style module of that space hears them (from_audio of the system's part 'style')."
        )


def _hears(encoder: StyleEncoder) -> bool:
    """Whether anything that goes into an encoder can come out of it."""
    return bool(encoder.fc.fc.weight.any())
