"""Encoders of the transformers library: what they give alone, in batches, from folders, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.hf_speech import FAMILIES, HFSpeech, HFSpeechSizes, WhisperMel, facts_of

SMALL = HFSpeechSizes(dim=16, layers=2, heads=2, ffn_dim=24, conv_dim=8)
CONVOLVED = [family for family in FAMILIES if family != "whisper"]


def encoder(**changes: Any) -> HFSpeech:
    torch.manual_seed(0)
    return HFSpeech(replace(SMALL, **changes)).eval()


def sound(*samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    wave = 0.3 * torch.randn(len(samples), max(samples), generator=torch.Generator().manual_seed(1))
    return wave, torch.tensor(samples)


def save_published(folder: Path, family: str, *, normalise: bool = True, weights: bool = True, **changes: Any) -> None:
    """A folder as the hub has it, of a small model."""
    import transformers

    torch.manual_seed(4)
    if family == "whisper":
        sizes = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
        decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
        config = transformers.WhisperConfig(**sizes, **decoder, vocab_size=60, pad_token_id=0, **changes)
        extractor = transformers.WhisperFeatureExtractor()
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
        config = transformers.AutoConfig.for_model(family, **sizes, **{"conv_dim": [8] * 7, **changes})
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    if weights:
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_in_a_batch_what_it_has_alone(family: str) -> None:
    model, (wave, lengths) = encoder(family=family), sound(9_000, 2_000, 350)
    with torch.no_grad():
        steps, counts = model(wave, lengths)
        assert steps.shape == (3, int(counts.max()), 16) and model.rate == 50
        for row, length in enumerate(lengths.tolist()):
            alone, count = model(wave[row : row + 1, :length], lengths[row : row + 1])
            assert count[0] == counts[row] >= 1
            torch.testing.assert_close(steps[row, : count[0]], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", CONVOLVED)
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_published_model_gives_what_transformers_gives(
    tmp_path: Path, family: str, norm: str, normalise: bool
) -> None:
    import transformers

    save_published(tmp_path, family, normalise=normalise, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    ours = HFSpeech(replace(SMALL, pretrained=str(tmp_path))).eval()
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    wave, lengths = sound(9_000, 5_001)
    with torch.no_grad():
        steps, counts = ours(wave, lengths)
        for row, length in enumerate(lengths.tolist()):
            inputs = extractor(wave[row, :length].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
            expected = theirs(inputs).last_hidden_state
            assert counts[row] == expected.shape[1]
            torch.testing.assert_close(steps[row, : counts[row]], expected[0], rtol=1e-4, atol=2e-4)


def test_a_published_whisper_gives_what_transformers_gives(tmp_path: Path) -> None:
    import transformers

    save_published(tmp_path, "whisper")
    ours = HFSpeech(replace(SMALL, pretrained=str(tmp_path))).eval()
    theirs = transformers.WhisperModel.from_pretrained(tmp_path).eval().encoder
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    wave, lengths = sound(9_000)
    with torch.no_grad():
        mel = extractor(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
        steps, counts = ours(wave, lengths)
        expected = theirs(mel).last_hidden_state
    assert counts.tolist() == [29]  # ceil(9000 / 320)
    torch.testing.assert_close(steps[0], expected[0, :29], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_the_mel_of_whisper_is_that_of_transformers(num_mels: int) -> None:
    from transformers import WhisperFeatureExtractor

    wave, _ = sound(480_000)
    expected = WhisperFeatureExtractor(feature_size=num_mels)(
        wave[0].numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    torch.testing.assert_close(WhisperMel(num_mels, 3000)(wave), expected, rtol=1e-3, atol=1e-3)


def test_long_recordings_are_heard_window_after_window() -> None:
    model, (wave, lengths) = encoder(family="whisper", layers=1), sound(500_000, 480_000, 8_000)
    with torch.no_grad():
        steps, counts = model(wave, lengths)
        assert counts.tolist() == [1563, 1500, 25]
        first, _ = model(wave[:1, :480_000], torch.tensor([480_000]))
        rest, _ = model(wave[:1, 480_000:], torch.tensor([20_000]))
    torch.testing.assert_close(steps[0, :1563], torch.cat([first[0], rest[0]]), rtol=1e-4, atol=1e-4)


def test_steps_are_averaged_by_the_stride() -> None:
    wave, lengths = sound(9_000, 2_000)
    with torch.no_grad():
        fine, counts = encoder()(wave, lengths)
        coarse, fewer = encoder(stride=3)(wave, lengths)
    assert encoder(stride=3).rate == Fraction(50, 3)
    assert fewer.tolist() == [-(-int(count) // 3) for count in counts]
    torch.testing.assert_close(coarse[0, 1], fine[0, 3:6].mean(0))
    last = int(counts[1]) - 3 * (int(fewer[1]) - 1)
    torch.testing.assert_close(coarse[1, fewer[1] - 1], fine[1, counts[1] - last : counts[1]].mean(0))


@pytest.mark.parametrize("family", ["hubert", "whisper"])
def test_blocks_behind_the_chosen_layer_are_not_built(tmp_path: Path, family: str) -> None:
    save_published(tmp_path, family)
    whole, cut = (HFSpeech(replace(SMALL, pretrained=str(tmp_path), layer=layer)) for layer in (-1, 0))
    sizes = [sum(item.numel() for item in model.parameters()) for model in (whole, cut)]
    assert sizes[1] < sizes[0]
    kept = cut.state_dict()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in kept.items())


def test_what_is_kept_builds_the_same_model_without_weights(tmp_path: Path) -> None:
    save_published(tmp_path / "hub", "wavlm", normalise=False)
    model = HFSpeech(replace(SMALL, pretrained=str(tmp_path / "hub"), layer=1)).eval()
    model.save_architecture(tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.safetensors"))
    again = HFSpeech(replace(SMALL, pretrained=str(tmp_path / "kept"), layer=1)).eval()
    again.load_state_dict(model.state_dict())
    assert again.normalises is False
    wave, lengths = sound(4_000)
    with torch.no_grad():
        assert torch.equal(again(wave, lengths)[0], model(wave, lengths)[0])


def test_training_draws_nothing_from_numpy(tmp_path: Path) -> None:
    import numpy as np

    save_published(tmp_path, "hubert")  # its configuration masks time and drops layers
    model = HFSpeech(replace(SMALL, pretrained=str(tmp_path))).train()
    before = np.random.get_state()[1].tolist()
    model(*sound(9_000))[0].sum().backward()
    assert np.random.get_state()[1].tolist() == before
    assert all(item.grad is not None for item in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "hubret"}, "Did you mean 'hubert'"),
        ({"dim": 15}, "heads must divide"),
        ({"dim": 20, "heads": 2}, "groups of its position convolution"),
        ({"layer": 2}, "layer 2 does not exist"),
        ({"stride": 0}, "stride is 0"),
    ],
)
def test_sizes_that_cannot_be_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OmnikitError, match=message):
        facts_of(replace(SMALL, **changes))


@pytest.mark.parametrize(
    ("family", "given", "sizes", "message"),
    [
        ("hubert", {}, {"dim": 768}, "set dim=16"),
        ("hubert", {}, {"layer": 5}, "layer 5 does not exist"),
        ("hubert", {"conv_pos_batch_norm": True}, {}, "Choose a model without them"),
        ("wav2vec2", {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, {}, "a step of 160 samples"),
        ("data2vec-audio", {}, {}, "family of speech encoders"),
    ],
)
def test_published_models_that_cannot_be_run_say_why(
    tmp_path: Path, family: str, given: dict[str, Any], sizes: dict[str, Any], message: str
) -> None:
    save_published(tmp_path, family, weights=False, **given)
    with pytest.raises(OmnikitError, match=message):
        HFSpeech(replace(SMALL, pretrained=str(tmp_path), **sizes))


def test_a_model_that_is_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OmnikitError, match="could not be loaded"):
        HFSpeech(replace(SMALL, pretrained=str(tmp_path / "empty")))
