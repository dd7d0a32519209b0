"""Small parameters of every first-party component: id → variants by name. A variant covers a path of its own."""

from __future__ import annotations

from typing import Any

_SPIRAL = {
    "num_mels": 16,
    "widths": [8, 12, 16, 12],
    "layers": [1, 1],
    "heads": [2, 3],
    "ffn_ratio": 2,
    "position": [8, 4],
    "levels": [5, 4],
    "num_phones": 6,
    "decoder_dim": 8,
    "auxiliary_ctc": 0.3,
}
_UVITS = {
    "sample_rate": 16_000,
    "spectrogram": {"fft_size": 1024, "hop_size": 256, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
    "latent": {"dim": 8, "hidden_dim": 16, "posterior_layers": 2, "flow_layers": 1, "num_flows": 2},
    "duration": {"filter_dim": 16, "num_flows": 2},
    "reference": {"hidden_dim": 16, "compress": True, "mask_padding": True},
    "hifigan": {"hidden_dim": 16, "kernels": [3], "dilations": [[1, 3]]},
    "istft": {"hidden_dim": 32, "ffn_dim": 48, "num_layers": 2},
    "discriminator": {
        "scale_channels": [4, 4, 4, 4, 4, 4],
        "scale_groups": [1, 1, 1, 1, 1, 1],
        "period_channels": [4, 4, 4, 4, 4],
    },
    "objective": {"segment_frames": 8},
}
_CAUSAL = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32, "max_positions": 128}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "vision_encoder/timm": {
        "patch": {"image_size": 32, "dim": 16, "depth": 2, "heads": 2},
        "conv": {"image_size": 32, "patch_size": 8, "dim": 16, "depth": 2, "heads": 2, "stem": "conv"},
    },
    "speech_encoder/none": {"": {}},
    "projector/mlp": {"": {}, "linear": {"depth": 1}},
    "tokenizer/spiral_fsq": {"reduced": _SPIRAL, "frame": {**_SPIRAL, "reduced": False}},
    "backbone/hf_causal": {"": _CAUSAL, "two_codebooks": {**_CAUSAL, "codebooks": [8, 5]}},
    "style/label_centroid": {"": {"dim": 6}},
    "style/none": {"": {}},
    "detokenizer/uvits": {
        "reduced_hifigan": {**_UVITS, "layout": "reduced", "head": "hifigan"},
        "frame_istft": {**_UVITS, "layout": "frame", "head": "istft"},
        "no_style": {**_UVITS, "layout": "frame", "head": "istft", "style_dim": 0, "style_space": None},
    },
    "format/json": {"": {}, "no_factors": {"factors": []}},
}
