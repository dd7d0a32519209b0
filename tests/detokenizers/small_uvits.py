"""A small detokenizer/uvits with something in every part, and what it is fed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from omnikit.detokenizers.uvits import UVITS
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.types import Audio, Style, Units

SMALL: dict[str, Any] = {
    "codebooks": [16],
    "vocab_id": "units-1",
    "unit_rate": 25,
    "style_dim": 4,
    "style_space": "space-1",
    "sample_rate": 16_000,
    "spectrogram": {"fft_size": 1024, "hop_size": 256, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1, "dropout": 0.0},
    "latent": {"dim": 8, "hidden_dim": 16, "posterior_layers": 2, "flow_layers": 1, "num_flows": 2},
    "duration": {"filter_dim": 16, "dropout": 0.0, "num_flows": 2},
    "reference": {"hidden_dim": 16, "dropout": 0.0, "compress": True, "mask_padding": True},
    "hifigan": {"hidden_dim": 16, "kernels": [3], "dilations": [[1, 3]]},
    "istft": {"hidden_dim": 32, "ffn_dim": 48, "num_layers": 2},
    "objective": {"segment_frames": 8},
}


def small(layout: str = "frame", head: str = "istft", **changes: Any) -> UVITS:
    """A small model; the head `source` is `istft` with a source."""
    torch.manual_seed(0)
    if head == "source":
        head, changes = "istft", {"istft": {**SMALL["istft"], "source": True}, **changes}
    model = UVITS(**{**SMALL, "layout": layout, "head": head, **changes})
    with torch.no_grad():  # zero at the start: durations would not differ and couplings would do nothing
        for name, weight in model.named_parameters():
            if name.endswith(("dp.proj.weight", "dp.proj.bias", "post.weight")):
                weight.normal_(std=0.1)
    return model


def units_of(lengths: list[int], layout: str = "frame", **changes: Any) -> Units:
    draws = torch.Generator().manual_seed(len(lengths))
    codes = torch.randint(16, (len(lengths), 1, max(lengths)), generator=draws)
    given = {"sizes": (16,), "rate": Fraction(25), "vocab_id": "units-1", "layout": layout, **changes}
    return Units(codes=codes, lengths=torch.tensor(lengths), **given)


def style_of(num_rows: int) -> Style:
    vector = torch.randn(num_rows, 4, generator=torch.Generator().manual_seed(3))
    return Style(vector=vector, space_id="space-1")


def batch_of(layout: str, lengths: list[int]) -> VoiceBatch:
    """Tones whose pitch follows the row, 640 samples a unit."""
    samples = torch.tensor(lengths) * 640
    time = torch.arange(int(samples.max())) / 16_000
    wave = torch.stack([0.3 * torch.sin(2 * torch.pi * (200 + 150 * row) * time) for row in range(len(lengths))])
    wave = wave * (torch.arange(wave.shape[1]) < samples[:, None])
    durations = torch.full((len(lengths), max(lengths)), 2.5)
    return VoiceBatch(units_of(lengths, layout), Audio(wave, samples, 16_000), durations)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LAYOUTS_AND_HEADS = [("frame", "istft"), ("frame", "hifigan"), ("reduced", "hifigan"), ("reduced", "istft")]
