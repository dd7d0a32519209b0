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
_BOTTLENECK = {
    "spiral": {name: _SPIRAL[name] for name in ("num_mels", "widths", "layers", "heads", "ffn_ratio", "position")},
    "fsq": {"levels": [5, 4]},
    "heads": {"num_classes": 6, "dim": 8, "num_mels": 10},
}
_SPEECH = {"dim": 16, "layers": 2, "heads": 2, "ffn_dim": 24, "conv_dim": 8}
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
_CFM_MEL = {
    "sample_rate": 16_000,
    "mel": {"fft_size": 1024, "hop_size": 256, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
    "duration": {"filter_dim": 16},
    "reference": {"hidden_dim": 16},
    "field": {"hidden_dim": 16, "ffn_dim": 24, "num_layers": 2},
    "vocoder": {"hidden_dim": 16, "ffn_dim": 24, "num_layers": 2},
    "discriminator": _UVITS["discriminator"],
    "objective": {"segment_frames": 8, "stft_sizes": [256, 512]},
}
_VIT = {"image_size": 32, "patch_size": 8, "dim": 16, "depth": 2, "heads": 2}
_NATIVE = {"dim": 16, "depth": 2, "heads": 2, "out_dim": 12, "patch_size": 4, "min_pixels": 64, "max_pixels": 4096}
_CAUSAL = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32, "max_positions": 128}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "vision_encoder/timm": {
        "patch": {"image_size": 32, "dim": 16, "depth": 2, "heads": 2},
        "conv": {"image_size": 32, "patch_size": 8, "dim": 16, "depth": 2, "heads": 2, "stem": "conv"},
        "padded": {"image_size": 32, "dim": 16, "depth": 2, "heads": 2, "image_mode": "pad"},
    },
    "vision_encoder/clip": {"": {**_VIT, "layer": -2}},
    "vision_encoder/siglip": {"": {**_VIT, "layer": -2}},
    "vision_encoder/intern_vit": {"": {**_VIT, "layer": -1}},
    "vision_encoder/qwen2_vit": {
        "last": {**_NATIVE, "layer": -1},
        "merge_of_three": {**_NATIVE, "layer": 0, "merge": 3},
    },
    "speech_encoder/none": {"": {}},
    "speech_encoder/hf": {
        "hubert": {"model": {**_SPEECH, "family": "hubert"}, "out_dim": 12},
        "wav2vec2": {"model": {**_SPEECH, "family": "wav2vec2", "layer": 0, "stride": 1}, "out_dim": 12},
        "wavlm": {"model": {**_SPEECH, "family": "wavlm", "stride": 3}, "out_dim": 12},
        "whisper": {"model": {**_SPEECH, "family": "whisper"}, "out_dim": 12},
        "own_width": {"model": {**_SPEECH, "family": "hubert", "stride": 1}, "out_dim": 0},
    },
    "input_style/embed_prefix": {"": {"positions": 2, "hidden_dim": 8, "dim": 6}},
    "input_style/none": {"": {}},
    "input_style/tags": {"": {"hidden_dim": 8, "dim": 6}},
    "projector/mlp": {"": {}, "linear": {"depth": 1}},
    "projector/avg_pool": {"": {"out_side": 2}, "overlapping": {"out_side": 3, "pre_norm": True, "positions": True}},
    "projector/c_abstractor": {
        "": {"out_side": 2, "conv_dim": 12},
        "same_width": {"out_side": 3, "conv_dim": 8, "conv_depth": 1, "pre_norm": True, "positions": True},
    },
    "projector/concat_channel": {"": {"out_side": 2}, "positions": {"out_side": 4, "positions": True}},
    "projector/none": {"": {"dim": 8}},
    "projector/qformer": {"": {"num_queries": 4, "dim": 16, "depth": 2, "heads": 2}},
    "projector/residual": {"": {}},
    "projector/self_mining": {
        "": {"out_side": 2, "in_dim": 64},
        "without_mean": {"out_side": 2, "in_dim": 64, "with_mean": False, "pre_norm": True, "positions": True},
    },
    "tokenizer/spiral_fsq": {"reduced": _SPIRAL, "frame": {**_SPIRAL, "reduced": False}},
    "tokenizer/bottleneck": {
        "vq": {**_BOTTLENECK, "quantizer": "vq", "vq": {"num_units": 20, "dim": 3}, "reduced": False},
        "none": {**_BOTTLENECK, "quantizer": "none", "continuous": {"num_units": 12, "dim": 5}},
        "mel": {**_BOTTLENECK, "supervision": ["mel_reconstruction"], "reduced": False},
        "char_and_mel": {
            **_BOTTLENECK,
            "supervision": ["ctc_char", "mel_reconstruction"],
            "heads": {**_BOTTLENECK["heads"], "auxiliary_ctc": 0.3},
        },
        "hubert": {**_BOTTLENECK, "encoder": "hf", "hf": {**_SPEECH, "family": "hubert"}, "reduced": False},
    },
    "backbone/hf_causal": {"": _CAUSAL, "two_codebooks": {**_CAUSAL, "codebooks": [8, 5]}},
    "emitter/delay": {"": {"codebooks": [8, 5, 6]}},
    "emitter/depth": {"": {"dim": 16, "layers": 1, "heads": 2, "width": 32, "codebooks": [8, 5, 6]}},
    "emitter/hidden_ctc": {"": {"factor": 6, "dim": 16, "layers": 1, "heads": 2, "width": 32, "codebooks": [8]}},
    "emitter/in_vocab": {"": {}},
    "style/label_centroid": {"": {"dim": 6}},
    "style/none": {"": {}},
    "style/reference": {
        "published": {"hidden_dim": 16},
        "masked": {"hidden_dim": 16, "sample_rate": 16_000, "compress": True, "mask_padding": True},
    },
    "style/gmvae": {
        "found": {"components": ["a", "b", "c"], "latent_dim": 3, "hidden_dim": 8},
        "told": {"factor": "emotion", "components": ["neutral", "sad"], "latent_dim": 2, "hidden_dim": 8},
    },
    "style/text_prompt": {"": {"num_buckets": 64, "embedding_dim": 8, "hidden_dim": 16}},
    "detokenizer/uvits": {
        "reduced_hifigan": {**_UVITS, "layout": "reduced", "head": "hifigan"},
        "frame_istft": {**_UVITS, "layout": "frame", "head": "istft"},
        "frame_source": {
            **_UVITS,
            "layout": "frame",
            "head": "istft",
            "istft": {**_UVITS["istft"], "source": True},
        },
        "no_style": {**_UVITS, "layout": "frame", "head": "istft", "style_dim": 0, "style_space": None},
    },
    "detokenizer/cfm_mel": {"": _CFM_MEL, "no_style": {**_CFM_MEL, "style_dim": 0, "style_space": None}},
    "format/emova_json": {"": {}},
    "format/json": {"": {}, "no_factors": {"factors": []}},
    "format/parallel": {"": {}, "short_chunks": {"factors": [], "words": 1, "steps": 2}},
    "format/plain_chain": {"": {}, "no_factors": {"factors": []}},
    "format/tagged": {"": {}, "no_factors": {"factors": []}},
}
