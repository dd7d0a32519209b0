"""tokenizer/spiral_fsq at its published size, with weights made by a recipe: spectrum, encoder, units and CTC head.

The weights are read as from the published container, and its sizes from them; blocks are those of inference on a CPU.
"""

from __future__ import annotations

import torch

from golden.check_s2u import forward
from golden.compare import Golden, checks
from golden.recipe import is_constant, s2u_weight
from omnikit.nn.spiral import valid_steps
from omnikit.nn.spiral_packed import PackedSpiral
from omnikit.published.load import parts_of
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio


@checks("speech/s2u_full")
def s2u_full(golden: Golden) -> None:
    state = SpiralFSQ().state_dict()
    for name, tensor in state.items():
        if not is_constant(name):
            state[name] = s2u_weight(name, tuple(tensor.shape), golden.meta["recipe_seed"])
    state["encoder.mask_emb"] = golden["in.mask_emb"]
    probe = state["encoder.feature_encoder.block_modules.4.conv.conv.weight"]
    golden.exact("in.recipe_probe", probe.flatten()[: len(golden["in.recipe_probe"])])
    (part,) = parts_of({f"encoder.{name}": tensor for name, tensor in state.items()})
    tokenizer = part.build("the published container")
    assert isinstance(tokenizer, SpiralFSQ)
    tokenizer.layout = "frame"

    wave, lengths = golden["in.wav"], golden["in.len"].long()
    with torch.no_grad():
        mel, frames = tokenizer.encoder.wav2spec["featurizer"](wave, lengths)
        packed = PackedSpiral(tokenizer.encoder.feature_encoder, torch.float32).blocks
        found, steps = forward(tokenizer, mel, frames, packed)
    golden.close("out.mel", mel)
    golden.exact("out.mel_len", frames)
    golden.exact("out.enc_len", steps["enc"])
    golden.exact("out.logits_len", steps["logits"])
    for name in ("enc", "pre_quant", "bounded", "codes", "logits", "ids", "greedy"):
        valid = valid_steps(steps[name], found[name].shape[1])
        valid = valid.reshape(valid.shape + (1,) * (found[name].dim() - 2))
        check = golden.close if found[name].is_floating_point() else golden.exact
        check(f"out.{name}", found[name], valid=valid)
    units = tokenizer.encode(Audio(wave, lengths, 16_000))
    expected = golden["out.ids"][0, : golden["out.enc_len"][0]].tolist()
    golden.equal("units", units.codes[0, 0].tolist(), expected)
