"""tokenizer/spiral_fsq, small, against the published architecture: mel, every block, units, CTC, loss and gradients.

The reference lets the padding of a batch change the end of shorter rows, while here a row of a batch must equal the row
alone: so the longest row of the batch and the row alone are compared, then the whole batch with the switch that does as
the reference does. Loss and gradients mix the rows of the batch; they are computed from the reference's own mel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from golden.compare import GRADIENTS, TINY, VALUES, Golden, checks
from omnikit.nn.ctc import ctc_greedy, ctc_losses
from omnikit.nn.spiral import valid_steps
from omnikit.nn.spiral_packed import PackedSpiral
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio


def tokenizer_of(config: dict[str, Any]) -> SpiralFSQ:
    """The tokenizer that the sizes of a golden file describe."""
    early, late = config["b0"], config["b1"]
    return SpiralFSQ(
        reduced=False,
        num_mels=config["features"],
        widths=[config["c0"], config["c1"], config["c2"], late["dim"]],
        layers=[early["layers"], late["layers"]],
        heads=[early["heads"], late["heads"]],
        ffn_ratio=early["ffn"] // early["dim"],
        position=[config["pos"], config["groups"]],
        levels=config["levels"],
        num_phones=config["nlab"],
        decoder_dim=config["dec"],
    ).eval()


Block = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def forward(
    tokenizer: SpiralFSQ, mel: Tensor, frames: Tensor, blocks: Iterable[Block] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every hidden state on the way from mel [B, M, T] to log-probabilities by golden name; the valid steps of each.

    `blocks` are those of training, or what stands for them at inference.
    """
    found: dict[str, Tensor] = {}
    steps: dict[str, Tensor] = {}
    x, lengths = mel.transpose(1, 2), frames
    for index, block in enumerate(blocks or tokenizer.encoder.feature_encoder.block_modules):
        x, lengths = block(x, lengths)
        found[f"act.block{index}"], steps[f"act.block{index}"] = x.transpose(1, 2), lengths
    found |= {"enc": x, "pre_quant": tokenizer.pre_quant(x)}
    found["bounded"] = tokenizer.quantizer.bound(found["pre_quant"])
    found["codes"], found["ids"] = tokenizer.quantizer(found["pre_quant"])
    found["logits"] = tokenizer.decoder(found["codes"][:, : int(lengths.max())], lengths)
    found |= {"log_probs": found["logits"].log_softmax(-1), "greedy": found["logits"].argmax(-1)}
    return found, {name: steps.get(name, lengths) for name in found}


@checks("speech/s2u")
def s2u(golden: Golden) -> None:
    tokenizer = tokenizer_of(golden.meta["config"])
    front = tokenizer.encoder.wav2spec["featurizer"]
    golden.close("sd.encoder.wav2spec.featurizer.fb", front.fb)
    golden.close("sd.encoder.wav2spec.featurizer.window", front.window)
    tokenizer.load_state_dict(golden.state("sd."), strict=True)
    wave, lengths = golden["in.wav"], golden["in.len"].long()

    mel, frames = front(wave, lengths)
    from_reference = forward(tokenizer, golden["out.mel"], golden["out.mel_len"])
    compare(golden, "out", *from_reference, torch.ones_like(lengths, dtype=torch.bool))
    golden.exact("out.mel_len", frames)
    longest = lengths == lengths.max()
    golden.close("out.mel", mel, VALUES, longest[:, None, None])
    compare(golden, "out", *forward(tokenizer, mel, frames), longest)
    with torch.no_grad():
        packed = PackedSpiral(tokenizer.encoder.feature_encoder, torch.float32).blocks
        compare(golden, "out", *forward(tokenizer, mel, frames, packed), longest)

    row = len(lengths) - 1
    compare_alone(golden, tokenizer, wave[row : row + 1, : lengths[row]], lengths[row : row + 1])
    compare_units(golden, tokenizer, wave, lengths)
    compare_published_batch(golden, tokenizer, wave, lengths)
    compare_training(golden, tokenizer, from_reference[0])


def compare(golden: Golden, prefix: str, found: dict[str, Tensor], steps: dict[str, Tensor], rows: Tensor) -> None:
    """Hold hidden states against the golden ones at the valid steps of the chosen rows."""
    for name, got in found.items():
        time_last = name.startswith("act.")
        valid = valid_steps(steps[name], got.shape[-1] if time_last else got.shape[1]) & rows[:, None]
        valid = valid[:, None] if time_last else valid.reshape(valid.shape + (1,) * (got.dim() - 2))
        check = golden.close if got.is_floating_point() else golden.exact
        check(f"{prefix}.{name}", got, valid=valid)
    golden.exact(f"{prefix}.enc_len", steps["enc"])
    golden.exact(f"{prefix}.logits_len", steps["logits"])


def compare_alone(golden: Golden, tokenizer: SpiralFSQ, wave: Tensor, lengths: Tensor) -> None:
    """The shortest row by itself."""
    mel, frames = tokenizer.encoder.wav2spec["featurizer"](wave, lengths)
    golden.close("out_single2.mel", mel)
    golden.exact("out_single2.mel_len", frames)
    compare(golden, "out_single2", *forward(tokenizer, mel, frames), torch.ones(1, dtype=torch.bool))


def compare_units(golden: Golden, tokenizer: SpiralFSQ, wave: Tensor, lengths: Tensor) -> None:
    """Units and phones of the whole batch through the public methods; the last row must be what it is alone."""
    audio = Audio(wave, lengths, 16_000)
    alone = golden["out_single2.ids"][0].tolist()
    expected = [entry["units"] for entry in golden.meta["unit_lists"][:-1]] + [alone]
    units = tokenizer.encode(audio)
    tokenizer.layout = "reduced"
    merged = tokenizer.encode(audio)
    for row, ids in enumerate(expected):
        golden.equal(f"units of row {row}", units.codes[row, 0, : units.lengths[row]].tolist(), ids)
        reduced = [unit for unit, _ in groupby(ids)]
        golden.equal(f"merged units of row {row}", merged.codes[row, 0, : merged.lengths[row]].tolist(), reduced)
    phones = ctc_greedy(golden["out_single2.logits"], golden["out_single2.logits_len"])[0]
    golden.equal("phones of the last row", tokenizer.read_phones(audio)[-1], phones)


def compare_published_batch(golden: Golden, tokenizer: SpiralFSQ, wave: Tensor, lengths: Tensor) -> None:
    """All rows of the batch as the reference has them, shorter ones with its padding in their ends."""
    tokenizer.batches_as_published, tokenizer.layout = True, "frame"
    mel, frames = tokenizer.encoder.wav2spec["featurizer"](wave, lengths)
    golden.close("out.mel", mel)
    compare(golden, "out", *forward(tokenizer, mel, frames), torch.ones_like(lengths, dtype=torch.bool))
    units = tokenizer.encode(Audio(wave, lengths, 16_000))
    for row, entry in enumerate(golden.meta["unit_lists"]):
        got = units.codes[row, 0, : units.lengths[row]].tolist()
        golden.equal(f"units of row {row} as published", got, entry["units"])
    tokenizer.batches_as_published = False


def compare_training(golden: Golden, tokenizer: SpiralFSQ, found: dict[str, Tensor]) -> None:
    """CTC loss as published (mean over rows of sums over time) and its gradients."""
    losses = ctc_losses(found["logits"], golden["out.logits_len"], golden["in.targets"], golden["in.target_len"])
    golden.close("out.ctc_loss", losses.mean())
    losses.mean().backward()
    for name, parameter in tokenizer.named_parameters():
        assert parameter.grad is not None, name
        norm = f"gradnorm.{name}"
        if golden[norm] >= TINY:
            golden.close(norm, parameter.grad.norm(), GRADIENTS)
        if f"grad.{name}" in golden:
            golden.close(f"grad.{name}", parameter.grad, GRADIENTS)
