"""The unit-to-speech model of EMOVA and its table of styles.

Raw training checkpoints hold the model alone; the published container has it under `decoder.`, and the table as
`style_embedding.weight`. Names and shapes are those of `detokenizer/uvits`.

Ref: Chen et al., "EMOVA", CVPR 2025, section 3.2; sizes of Kim et al., VITS, ICML 2021, and Kong et al., HiFi-GAN V1,
NeurIPS 2020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

import torch

from omnikit.errors import WeightsError
from omnikit.published.base import Beside, Layout, Tensors

NUM_TEXT_SYMBOLS = 178
"""Rows of the embedding table before the units: pad, punctuation, letters and phonetic signs of the text-to-speech."""
UNIT_RATE, SAMPLE_RATE, NUM_MELS = 25, 22_050, 80
REFERENCE_HEADS = 2
DILATIONS = (1, 3, 5)
"""What shapes do not say, as configured for the published model."""

UNITS_UNKNOWN = "emova-40ms-units"
"""Vocabulary of a detokenizer that was read without the tokenizer whose units it speaks."""
SPACE_UNKNOWN = "emova-styles"
"""Space of a style table that was read without the detokenizer it belongs to."""

FACTORS = {
    "gender": ["female", "male"],
    "emotion": ["neutral", "angry", "disgusted", "fearful", "happy", "sad", "surprised"],
    "speed": ["normal", "fast", "slow"],
    "pitch": ["normal", "high", "low"],
}
"""Factors of the published styles; defaults first."""


def parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `detokenizer/uvits` from tensor shapes."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise WeightsError(f"The unit-to-speech checkpoint lacks {name}, which its sizes are read from.")
        return tuple(tensors[name].shape)

    def count(pattern: str) -> int:
        return len({found.group(1) for name in tensors if (found := re.match(pattern, name))})

    num_symbols, hidden_dim = shape("enc_p.emb.weight")
    if num_symbols <= NUM_TEXT_SYMBOLS:
        raise WeightsError(
            f"enc_p.emb.weight has {num_symbols} rows; units come after {NUM_TEXT_SYMBOLS} text symbols.\n"
            "Is this a text-to-speech model of the same family?"
        )
    feed = shape("enc_p.encoder.ffn_layers.0.conv_1.weight")
    style_dim, reference_dim = shape("enc_r.fc.fc.weight")
    num_ups = count(r"dec\.ups\.(\d+)\.")
    rate_kernels = [shape(f"dec.ups.{level}.weight_v")[2] for level in range(num_ups)]
    rates = [kernel // 2 for kernel in rate_kernels]
    num_kernels = count(r"dec\.resblocks\.(\d+)\.") // max(num_ups, 1)
    return {
        "codebooks": [num_symbols - NUM_TEXT_SYMBOLS],
        "vocab_id": beside["tokenizer"].vocab_id if "tokenizer" in beside else UNITS_UNKNOWN,
        "unit_rate": UNIT_RATE,
        "style_dim": style_dim,
        "style_space": SPACE_UNKNOWN,
        "layout": "reduced",
        "sample_rate": SAMPLE_RATE,
        "head": "hifigan",
        "spectrogram": {
            "fft_size": 2 * (shape("enc_r.spectral.0.fc.weight")[1] - 1),
            "hop_size": prod(rates),
            "num_mels": NUM_MELS,
            "min_hz": 0.0,
            "max_hz": SAMPLE_RATE / 2,
        },
        "unit_encoder": {
            "symbol_offset": NUM_TEXT_SYMBOLS,
            "hidden_dim": hidden_dim,
            "filter_dim": feed[0],
            "num_heads": hidden_dim // shape("enc_p.encoder.attn_layers.0.emb_rel_k")[2],
            "num_layers": count(r"enc_p\.encoder\.attn_layers\.(\d+)\."),
            "kernel_size": feed[2],
        },
        "latent": {
            "dim": shape("enc_p.proj.weight")[0] // 2,
            "hidden_dim": shape("flow.flows.0.pre.weight")[0],
            "kernel_size": shape("flow.flows.0.enc.in_layers.0.weight_v")[2],
            "posterior_layers": count(r"enc_q\.enc\.in_layers\.(\d+)\."),
            "flow_layers": count(r"flow\.flows\.0\.enc\.in_layers\.(\d+)\."),
            "num_flows": count(r"flow\.flows\.(\d+)\."),
        },
        "duration": {
            "kernel_size": shape("dp.convs.convs_sep.0.weight")[2],
            "num_flows": count(r"dp\.flows\.(\d+)\.pre\."),
        },
        "reference": {
            "hidden_dim": reference_dim,
            "num_heads": REFERENCE_HEADS,
            "kernel_size": shape("enc_r.temporal.0.conv1.conv.weight")[2],
            "num_speakers": shape("emb_g.weight")[0] if "emb_g.weight" in tensors else 0,
        },
        "hifigan": {
            "hidden_dim": shape("dec.conv_pre.weight")[0],
            "rates": rates,
            "rate_kernels": rate_kernels,
            "kernels": [shape(f"dec.resblocks.{index}.convs1.0.weight_v")[2] for index in range(num_kernels)],
            "dilations": [list(DILATIONS)] * num_kernels,
        },
    }


def our_name(name: str) -> str:
    """Norms are spelled in capitals."""
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}{last.upper()}" if last in ("gamma", "beta") else name


def style_parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `style/label_centroid`."""
    space = beside["detokenizer"].style_space if "detokenizer" in beside else SPACE_UNKNOWN
    return {"dim": tensors["style_embedding.weight"].shape[1], "factors": FACTORS, "space_id": space, "scales": {}}


def condition(values: Mapping[str, str]) -> str:
    """The published name of a combination of values."""
    return "_".join(f"{factor}-{value}" for factor, value in values.items())


def style_table(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The table in the order of our factors.

    The order of the file is that of `u2s_style2idx` in the configuration beside it; without one, the conditions are
    taken to be sorted by name, as in the published list of them. Raises `WeightsError` for conditions that are no full
    table.
    """
    ours = [condition(dict(zip(FACTORS, values, strict=True))) for values in product(*FACTORS.values())]
    places = config.get("u2s_style2idx") or {name: row for row, name in enumerate(sorted(ours))}
    table = tensors["style_embedding.weight"]
    if len(table) != len(ours) or sorted(places) != sorted(ours) or sorted(places.values()) != list(range(len(ours))):
        raise WeightsError(
            f"The style table has {len(table)} rows and {len(places)} named conditions; {len(ours)} are known,\n"
            f"one a combination such as {ours[0]}."
        )
    rows = torch.tensor([places[name] for name in ours])
    return {"centroids": table[rows], "counts": torch.ones(len(ours), dtype=torch.long)}


LAYOUT = Layout(
    about="EMOVA unit-to-speech detokenizer (VITS with a reference encoder)",
    component_id="detokenizer/uvits",
    anchor="enc_p.emb.weight",
    parameters=parameters,
    rename=our_name,
    reads=("tokenizer",),
    named_by="style_space",
    name_prefix="uvits",
)
STYLES = Layout(
    about="EMOVA table of 126 styles",
    component_id="style/label_centroid",
    anchor="style_embedding.weight",
    parameters=style_parameters,
    convert=style_table,
    reads=("tokenizer", "detokenizer"),
)
