"""A convolutional CTC head: which phone each step says, or none (blank, the last class).

Letters: B batch, T time steps, D width, V classes without the blank, N target phones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.spiral import MaskedConv1d


class ConvCTCDecoder(nn.Module):
    """Four convolutions of five taps with ReLU and dropout, then a linear layer to V + 1 classes.

    Ref: Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid Emotions", 2024.
    """

    def __init__(self, in_dim: int, dim: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            nn.ModuleDict({"conv": MaskedConv1d(width, dim, 5)}) for width in (in_dim, dim, dim, dim)
        )
        self.decoder_layers = nn.ModuleList([nn.Conv1d(dim, num_classes + 1, 1)])
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Steps x [B, T, D] with `lengths` [B] → logits [B, T, V + 1]."""
        for layer in self.conv_layers:
            x, lengths = layer["conv"](x, lengths)
            x = self.dropout(functional.relu(x))
        last = self.decoder_layers[0]
        return functional.linear(x, last.weight[:, :, 0], last.bias)


def ctc_losses(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Negative log-likelihood of every row's targets [B], summed over time; 0 where the targets cannot fit.

    Args: `logits` [B, T, V + 1] with `lengths` [B], `targets` [B, N] with `target_lengths` [B]; blank is class V.

    Ref: Graves et al., "Connectionist Temporal Classification", ICML 2006, equation 5.
    """
    log_probs = functional.log_softmax(logits.float(), -1).transpose(0, 1)  # [T, B, V + 1]
    return functional.ctc_loss(
        log_probs,
        targets,
        lengths,
        target_lengths,
        blank=logits.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,
    )


def ctc_greedy(logits: Tensor, lengths: Tensor) -> list[list[int]]:
    """The likeliest class of every valid step, repeats merged and blanks dropped: one list of classes a row."""
    best = logits.argmax(-1)
    blank = logits.shape[-1] - 1
    rows = []
    for row, length in zip(best, lengths.tolist(), strict=True):
        merged = torch.unique_consecutive(row[:length])
        rows.append(merged[merged != blank].tolist())
    return rows
