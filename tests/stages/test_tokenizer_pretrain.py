"""The stage `tokenizer_pretrain`, and what it shares with others: random draws by key, schedules of learning rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import omnikit
from omnikit.data.speech_batches import SpeechBatch, pad_audio
from omnikit.errors import OmnikitError, UnknownName
from omnikit.nn.spiral_masking import Masking
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.draws import dropout_of, generator
from omnikit.stages.optim import Optim
from omnikit.stages.tokenizer_pretrain import Teaching, TokenizerPretrainStage

SMALL = {
    "num_mels": 16,
    "widths": [8, 16, 24, 16],
    "layers": [1, 1],
    "heads": [2, 2],
    "position": [4, 4],
    "decoder_dim": 8,
    "num_phones": 5,
    "dropout": 0.0,
    "layer_drop": 0.0,
}


def batch_of(rows: tuple[int, ...], step: int = 3) -> SpeechBatch:
    """Utterances of half a second and more, one for each row; the same row sounds the same in every batch."""
    waves = [np.random.default_rng(row).standard_normal(8_000 + 1_600 * row).astype(np.float32) * 0.1 for row in rows]
    empty = torch.zeros(len(rows), 0, dtype=torch.long)
    return SpeechBatch(pad_audio(waves, 16_000), empty, torch.zeros(len(rows), dtype=torch.long), step, rows)


def stage_of(seed: int = 0) -> TokenizerPretrainStage:
    torch.manual_seed(0)
    tokenizer = omnikit.create("tokenizer/spiral_fsq", **SMALL)
    teaching = Teaching(num_negatives=4, projection_dim=8, predictor_dim=8)
    return TokenizerPretrainStage(tokenizer, Optim(lr=1e-3, steps=5), Masking(channel_span=4), teaching, seed)


def test_a_share_draws_and_reads_what_the_whole_batch_does() -> None:
    stage = stage_of().eval()
    whole = stage.contrast(batch_of((0, 1, 2)), use=1)
    shares = [stage.contrast(batch_of(rows), use=1) for rows in ((0, 2), (1,))]
    mean = sum(share.loss * share.count for share in shares) / sum(share.count for share in shares)
    assert sum(share.count for share in shares) == whole.count
    torch.testing.assert_close(mean, whole.loss)
    again = stage.contrast(batch_of((0, 1, 2)), use=1)
    assert torch.equal(again.loss, whole.loss)
    assert stage.contrast(batch_of((0, 1, 2), step=4), use=1).loss != whole.loss
    assert stage.contrast(batch_of((0, 1, 2)), use=0).loss != whole.loss


def test_only_what_pre_training_teaches_is_optimised() -> None:
    stage = stage_of()
    learning = {name for name, weight in stage.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"tokenizer", "objective"}
    assert all(".encoder.feature_encoder." in name for name in learning if name.startswith("tokenizer"))
    assert not any("target" in name for name in learning)
    grouped = stage.configure_optimizers()["optimizer"].param_groups
    assert sum(len(group["params"]) for group in grouped) == len(learning)


def test_a_tokenizer_without_such_an_encoder_is_refused() -> None:
    class Bare(SpeechTokenizer):
        encode = embed = loss = read_phones = None

    with pytest.raises(OmnikitError, match="stage=tokenizer"):
        TokenizerPretrainStage(Bare(), Optim(lr=1.0, steps=1), Masking(), Teaching())


def test_random_numbers_follow_their_key_alone() -> None:
    def first(*key: int) -> float:
        return float(torch.rand((), generator=generator(*key)))

    assert first(1, 2) == first(1, 2)
    assert len({first(*key) for key in ((0,), (0, 0), (0, 1), (1, 0), (0, 0, 0))}) == 5
    dropout = nn.Dropout(0.5)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with dropout_of(torch.device("cpu"), 4, 5):
        one = dropout(torch.ones(50))
    torch.rand(3)
    with dropout_of(torch.device("cpu"), 4, 5):
        assert torch.equal(dropout(torch.ones(50)), one)
    with dropout_of(torch.device("cpu"), 4, 6):
        assert not torch.equal(dropout(torch.ones(50)), one)
    torch.random.set_rng_state(before)


def test_a_learning_rate_rises_stays_and_falls_along_a_line() -> None:
    optim = Optim(lr=1.0, steps=20, warmup_steps=4, hold_steps=6, decay="linear", final_fraction=0.1)
    factors = [optim.factor(step) for step in range(25)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:11] == [1.0] * 7
    assert np.diff(factors[10:21]) == pytest.approx([-0.09] * 10)
    assert factors[20:] == pytest.approx([0.1] * 5)


def test_an_unknown_decay_is_refused() -> None:
    with pytest.raises(UnknownName, match="linear"):
        Optim(lr=1.0, steps=1, decay="lineal")
