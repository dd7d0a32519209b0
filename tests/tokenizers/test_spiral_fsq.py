"""tokenizer/spiral_fsq: contract, units, modes, losses, messages, and the published state dict."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby, product
from pathlib import Path
from typing import Any

import omegaconf
import pytest
import torch
from torch import Tensor

from omnikit.contracts import AudioPort, UnitsPort
from omnikit.errors import ContractError, MediaError, OmnikitError
from omnikit.tokenizers.bottleneck import merge_runs
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio, Units

CONF = Path(__file__).parents[2] / "conf" / "tokenizer"
SMALL: dict[str, Any] = {
    "num_mels": 16,
    "widths": [8, 12, 16, 12],
    "layers": [1, 1],
    "heads": [2, 3],
    "ffn_ratio": 2,
    "position": [8, 4],
    "levels": [8, 8, 8, 8],
    "num_phones": 6,
    "decoder_dim": 8,
}

# Every tensor of the published tokenizer; {a..b} is a range, {a,b} a choice.
PUBLISHED = """
encoder.mask_emb 128
encoder.wav2spec.featurizer.window 320
encoder.wav2spec.featurizer.fb 1x128x257
E.0.conv.conv.weight 384x128x5
E.0.conv.conv.bias 384
E.0.norm.{weight,bias} 384
E.1.conv.conv.weight 512x384x5
E.2.conv.conv.weight 512x512x1
E.{1..2}.conv.conv.bias 512
E.{1..2}.norm.{weight,bias} 512
E.4.conv.conv.weight 1536x512x5
E.4.conv.conv.bias 1536
E.4.norm.{weight,bias} 1536
E.5.conv.conv.weight 768x1536x1
E.5.conv.conv.bias 768
E.5.norm.{weight,bias} 768
E.{3,6}.pos_conv.0.weight_g 1x1x128
E.3.pos_conv.0.weight_v 512x32x128
E.6.pos_conv.0.weight_v 768x48x128
E.3.pos_conv.0.bias 512
E.6.pos_conv.0.bias 768
E.3.layers.{0..1}.self_attn.{q,k,v,out}_proj.weight 512x512
E.3.layers.{0..1}.self_attn.{q,k,v,out}_proj.bias 512
E.3.layers.{0..1}.{self_attn_layer_norm,final_layer_norm}.{weight,bias} 512
E.3.layers.{0..1}.fc1.weight 2048x512
E.3.layers.{0..1}.fc1.bias 2048
E.3.layers.{0..1}.fc2.weight 512x2048
E.3.layers.{0..1}.fc2.bias 512
E.3.layer_norm.{weight,bias} 512
E.6.layers.{0..9}.self_attn.{q,k,v,out}_proj.weight 768x768
E.6.layers.{0..9}.self_attn.{q,k,v,out}_proj.bias 768
E.6.layers.{0..9}.{self_attn_layer_norm,final_layer_norm}.{weight,bias} 768
E.6.layers.{0..9}.fc1.weight 3072x768
E.6.layers.{0..9}.fc1.bias 3072
E.6.layers.{0..9}.fc2.weight 768x3072
E.6.layers.{0..9}.fc2.bias 768
E.6.layer_norm.{weight,bias} 768
pre_quant.weight 4x768
pre_quant.bias 4
quantizer.{_levels_np,_basis} 4
decoder.conv_layers.0.conv.conv.weight 512x4x5
decoder.conv_layers.{1..3}.conv.conv.weight 512x512x5
decoder.conv_layers.{0..3}.conv.conv.bias 512
decoder.decoder_layers.0.weight 241x512x1
decoder.decoder_layers.0.bias 241
"""


def spelled_out(pattern: str) -> Iterator[str]:
    """The names that a pattern with braces stands for."""
    parts = re.split(r"\{(.*?)\}", pattern)
    choices = []
    for index, part in enumerate(parts):
        low, dots, high = part.partition("..")
        is_range = index % 2 and dots
        choices.append([str(n) for n in range(int(low), int(high) + 1)] if is_range else part.split(","))
    yield from ("".join(chosen) for chosen in product(*choices))


def variant(name: str) -> dict[str, Any]:
    """The parameters that a variant file sets."""
    config = omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(config, dict)
    assert config.pop("defaults") == ["spiral_fsq", "_self_"]
    return {str(key): value for key, value in config.items()}


def tokenizer(**changes: Any) -> SpiralFSQ:
    torch.manual_seed(3)
    made = SpiralFSQ(**{**SMALL, "reduced": False, **changes})
    torch.nn.init.normal_(made.pre_quant.weight, std=1.0)  # many different units
    return made


def speech(*lengths: int, seed: int = 0) -> Audio:
    wave = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed))
    envelope = torch.sin(torch.arange(max(lengths)) / 900.0).square()
    return Audio(0.3 * wave * envelope, torch.tensor(lengths), 16_000)


def test_published_size_has_the_published_tensors() -> None:
    with torch.device("meta"):
        model = SpiralFSQ(**variant("spiral_fsq_emova"))
    expected = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        pattern, shape = line.replace("E.", "encoder.feature_encoder.block_modules.", 1).split(" ")
        expected |= {name: tuple(int(n) for n in shape.split("x")) for name in spelled_out(pattern)}
    assert len(expected) == 239
    state = model.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert sum(item.numel() for item in model.parameters()) == 94_688_373
    assert sum(item.numel() for item in model.buffers()) == 33_352
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_published_variant_is_the_default() -> None:
    with torch.device("meta"):
        default = SpiralFSQ().parameters_given
    for name, value in variant("spiral_fsq_emova").items():
        assert value == (list(default[name]) if isinstance(default[name], tuple) else default[name]), name


def test_tiny_variant_is_tiny() -> None:
    model = SpiralFSQ(**variant("spiral_fsq_tiny"))
    assert 3e6 < sum(item.numel() for item in model.parameters()) < 4.5e6
    units = model.encode(speech(16_000))
    assert units.codes.shape == (1, 1, 25)


def test_contract_follows_the_parameters() -> None:
    contract = SpiralFSQ.contract(levels=[8, 5, 5], reduced=True, vocab_id="mine", num_mels=80)
    assert contract.needs == {"audio": AudioPort(sample_rate=16_000)}
    assert contract.gives == {
        "units": UnitsPort(codebooks=(200,), rate=Fraction(25), layout="reduced", vocab_id="mine")
    }
    default = UnitsPort(codebooks=(4096,), rate=Fraction(25), layout="reduced", vocab_id="untrained")
    assert SpiralFSQ.contract().gives["units"] == default
    assert not contract.causal and contract.lookahead_ms == 800


def test_units_keep_what_the_contract_gives() -> None:
    model = tokenizer(vocab_id="mine")
    units = model.encode(speech(16_000, 12_345, 1))
    assert units.sizes == (4096,) and units.rate == 25 and units.layout == "frame" and units.vocab_id == "mine"
    assert units.codes.dtype == torch.int64 and units.codes.shape == (3, 1, 25)
    assert units.lengths.tolist() == [25, 20, 1]
    assert not units.codes[2, 0, 1:].any()
    assert units.codes.unique().numel() > 10


def test_a_row_of_a_batch_has_the_units_of_the_row_alone() -> None:
    model = tokenizer()
    audio = speech(16_000, 15_999, 12_345, 3_000, 700, 1)
    units = model.encode(audio)
    for row, length in enumerate(audio.lengths.tolist()):
        alone = model.encode(Audio(audio.wave[row : row + 1, :length], audio.lengths[row : row + 1], 16_000))
        assert torch.equal(units.codes[row, :, : units.lengths[row]], alone.codes[0])


def test_encoding_is_evaluation_in_float32_and_leaves_the_mode_alone() -> None:
    model = tokenizer(dropout=0.5).train()
    model.decoder.eval()
    audio = speech(8_000)
    with torch.autocast("cpu", torch.bfloat16):
        noisy = model.encode(audio)
    assert model.training and model.encoder.training and not model.decoder.training
    assert torch.equal(noisy.codes, model.eval().encode(audio).codes)


def test_merged_runs_say_the_same_with_durations() -> None:
    audio = speech(16_000, 5_000)
    frames, merged = tokenizer(levels=[2, 2]).encode(audio), tokenizer(levels=[2, 2], reduced=True).encode(audio)
    assert merged.layout == "reduced" and merged.durations is not None
    assert merged.codes.shape[2] < frames.codes.shape[2]
    for row in range(2):
        ids, count = merged.codes[row, 0], int(merged.lengths[row])
        expected = frames.codes[row, 0, : frames.lengths[row]]
        assert torch.equal(ids.repeat_interleave(merged.durations[row]), expected)
        assert (ids[1:count] != ids[: count - 1]).all()
        assert not merged.durations[row, count:].any() and not ids[count:].any()


def test_merging_runs_by_hand() -> None:
    ids = torch.tensor([[5, 5, 0, 0, 0, 5], [0, 7, 7, 9, 9, 9]])
    merged, lengths, durations = merge_runs(ids, torch.tensor([6, 3]))
    assert merged.tolist() == [[5, 0, 5], [0, 7, 0]]
    assert lengths.tolist() == [3, 2]
    assert durations.tolist() == [[2, 3, 1], [1, 2, 0]]


def test_units_embed_as_the_codes_the_head_reads() -> None:
    model = tokenizer().eval()
    audio = speech(9_000, 4_000)
    frames = model.embed(model.encode(audio))
    steps, lengths = model.encoder(audio.wave, audio.lengths)
    codes, _ = model.quantizer(model.pre_quant(steps))
    assert frames.rate == 25 and torch.equal(frames.lengths, lengths)
    assert torch.equal(frames.features[1, : lengths[1]], codes[1, : lengths[1]].detach())
    assert frames.features.shape == (2, 15, 4)


def targets(*rows: list[int]) -> tuple[Tensor, Tensor]:
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.tensor(row)
    return padded, torch.tensor([len(row) for row in rows])


def test_loss_is_the_mean_of_the_loss_per_phone_of_each_row() -> None:
    model = tokenizer(dropout=0.0, layer_drop=0.0)
    audio, rows = speech(16_000, 6_000), ([1, 2, 2, 0, 5, 3], [4, 0])
    both = model.loss(audio, *targets(*rows)).total
    each = []
    for row in range(2):
        alone = Audio(audio.wave[row : row + 1], audio.lengths[row : row + 1], 16_000)
        each.append(model.loss(alone, *targets(rows[row])).total)
    torch.testing.assert_close(both, torch.stack(each).mean(), rtol=1e-4, atol=1e-5)


def test_auxiliary_loss_has_its_own_head_and_weight() -> None:
    model = tokenizer(auxiliary_ctc=0.3, dropout=0.0, layer_drop=0.0)
    losses = model.loss(speech(16_000), *targets([1, 2, 3]))
    assert set(losses.parts) == {"ctc", "auxiliary_ctc"}
    torch.testing.assert_close(losses.total.detach(), losses.parts["ctc"] + 0.3 * losses.parts["auxiliary_ctc"])
    losses.total.backward()
    assert all(item.grad is not None for item in model.parameters())
    heads = {name for name in model.state_dict() if name.startswith("auxiliary")}
    assert heads == {"auxiliary.weight", "auxiliary.bias"}
    assert not any(name.startswith("auxiliary") for name in tokenizer().state_dict())


def test_a_small_tokenizer_learns_two_sounds() -> None:
    """The order of a low and a high tone is read back from the units after a few steps."""
    sizes = {"widths": [16, 32, 32, 32], "layers": [0, 1], "heads": [2, 2], "decoder_dim": 32, "num_phones": 2}
    torch.manual_seed(0)
    model = SpiralFSQ(**{**SMALL, **sizes, "levels": [4, 4], "dropout": 0.0, "layer_drop": 0.0, "auxiliary_ctc": 0.3})
    seconds = torch.arange(6_400) / 16_000
    low, high = torch.sin(2 * math.pi * 300 * seconds), torch.sin(2 * math.pi * 3_000 * seconds)
    audio = Audio(torch.stack([torch.cat([low, high]), torch.cat([high, low])]), torch.tensor([12_800, 12_800]), 16_000)
    phones, phone_lengths = targets([0, 1], [1, 0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(160):
        optimizer.zero_grad()
        model.loss(audio, phones, phone_lengths).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert model.read_phones(audio) == [[0, 1], [1, 0]]


def test_phones_are_read_from_the_units() -> None:
    model = tokenizer().eval()
    audio = speech(9_000, 4_000)
    units = model.encode(audio)
    logits = model.decoder(model.embed(units).features, units.lengths)
    expected = []
    for row, length in zip(logits.argmax(-1).tolist(), units.lengths.tolist(), strict=True):
        expected.append([phone for phone, _ in groupby(row[:length]) if phone != SMALL["num_phones"]])
    assert model.read_phones(audio) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [8, 12, 16]}, "4 numbers as widths"),
        ({"layers": [1]}, "2 numbers as layers"),
        ({"heads": [5, 3]}, "width 12 cannot be split into 5 heads"),
        ({"position": [8, 5]}, "5 position groups"),
        ({"levels": [8, 1]}, "2 or more"),
    ],
)
def test_sizes_that_do_not_fit_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OmnikitError, match=message):
        SpiralFSQ(**{**SMALL, **changes})


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (Audio(torch.zeros(1, 100), torch.tensor([100]), 22_050), "22050"),
        (Audio(torch.zeros(100), torch.tensor([100]), 16_000), r"wave \[B, S\]"),
        (Audio(torch.zeros(2, 100), torch.tensor([100, 0]), 16_000), "at least 1 sample"),
        (Audio(torch.zeros(1, 100), torch.tensor([101]), 16_000), "at least 1 sample"),
        (Audio(torch.full((1, 100), float("nan")), torch.tensor([100]), 16_000), "not finite"),
    ],
)
def test_audio_that_cannot_be_read_says_why(audio: Audio, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        tokenizer().encode(audio)


def test_units_of_another_vocabulary_are_refused() -> None:
    model = tokenizer(vocab_id="mine")
    codes, lengths = torch.zeros(1, 1, 3, dtype=torch.long), torch.tensor([3])
    with pytest.raises(ContractError, match="yours"):
        model.embed(Units(codes, lengths, (4096,), Fraction(25), "yours"))
    with pytest.raises(ContractError, match="512"):
        model.embed(Units(codes, lengths, (512,), Fraction(25), "mine"))
    with pytest.raises(OmnikitError, match=r"0\.\.4095"):
        model.embed(Units(codes + 4096, lengths, (4096,), Fraction(25), "mine"))
