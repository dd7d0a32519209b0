"""The speech-to-unit model of EMOVA: raw training checkpoint, or the `encoder.` part of the published container.

Names and shapes are those of `tokenizer/spiral_fsq`. Ref: Chen et al., "EMOVA", CVPR 2025 (SPIRAL, FSQ, CTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnikit.errors import WeightsError
from omnikit.published.base import Beside, Layout, Tensors

HEAD_DIM = 64
"""Width of an attention head, which shapes do not say: 8 heads of 512 and 12 of 768 as published."""

_BLOCKS = "encoder.feature_encoder.block_modules"
_TRANSFORMERS = (3, 6)


def parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `tokenizer/spiral_fsq` from tensor shapes."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise WeightsError(f"The speech-to-unit checkpoint lacks {name}, which its sizes are read from.")
        return tuple(tensors[name].shape)

    widths = [shape(f"{_BLOCKS}.{index}.conv.conv.weight")[0] for index in (0, 1, 4, 5)]
    early, late = (f"{_BLOCKS}.{index}" for index in _TRANSFORMERS)
    taps = shape(f"{early}.pos_conv.0.weight_v")
    if "quantizer._levels_np" not in tensors:
        raise WeightsError("The speech-to-unit checkpoint lacks quantizer._levels_np, which says the units' levels.")
    return {
        "num_mels": shape("encoder.wav2spec.featurizer.fb")[1],
        "widths": widths,
        "layers": [_count_layers(tensors, block) for block in (early, late)],
        "heads": [_num_heads(width) for width in (widths[1], widths[3])],
        "ffn_ratio": shape(f"{late}.layers.0.fc1.weight")[0] // widths[3],
        "position": [taps[2], widths[1] // taps[1]],
        "levels": [int(level) for level in tensors["quantizer._levels_np"]],
        "num_phones": shape("decoder.decoder_layers.0.weight")[0] - 1,
        "decoder_dim": shape("decoder.conv_layers.0.conv.conv.weight")[0],
    }


def _num_heads(width: int) -> int:
    if width % HEAD_DIM:
        raise WeightsError(
            f"This speech-to-unit checkpoint has a transformer of width {width}; published heads are {HEAD_DIM} wide."
        )
    return width // HEAD_DIM


def _count_layers(tensors: Tensors, block: str) -> int:
    start = f"{block}.layers."
    return len({name[len(start) :].partition(".")[0] for name in tensors if name.startswith(start)})


LAYOUT = Layout(
    about="EMOVA speech-to-unit tokenizer (SPIRAL, FSQ, CTC)",
    component_id="tokenizer/spiral_fsq",
    anchor=f"{_BLOCKS}.0.conv.conv.weight",
    parameters=parameters,
    named_by="vocab_id",
    name_prefix="tokenizer",
)
