"""`speech_encoder/hf`: contract, features, files, messages."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component, save_component
from omnikit.contracts import AudioPort, FramesPort, contract_of
from omnikit.errors import MediaError, UnknownName
from omnikit.speech_encoders.hf import MODEL, HFSpeechEncoder
from omnikit.types import Audio

SMALL = {"dim": 16, "layers": 1, "heads": 2, "ffn_dim": 24, "conv_dim": 8}


def test_the_contract_is_arithmetic_for_published_models_too() -> None:
    contract = HFSpeechEncoder.contract({"pretrained": "nobody/nothing", "dim": 768, "stride": 4}, 256)
    assert contract.needs == {"audio": AudioPort(sample_rate=16_000)}
    assert contract.gives == {"frames": FramesPort(dim=256, rate=Fraction(25, 2))}
    derived = contract_of(HFSpeechEncoder, {"model": MODEL, "out_dim": "derived"})
    assert "<out_dim>" in str(derived.gives["frames"])


def test_features_are_mapped_to_the_width_asked_for() -> None:
    encoder = omnikit.create("speech_encoder/hf", model=SMALL, out_dim=6)
    frames = encoder.encode(Audio(torch.randn(2, 16_000), torch.tensor([16_000, 4_000]), 16_000))
    assert frames.features.shape == (2, 25, 6) and frames.rate == 25
    assert frames.lengths.tolist() == [25, 6]


def test_a_published_encoder_is_saved_whole(tmp_path: Path) -> None:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    HubertModel(HubertConfig(**sizes, conv_dim=[8] * 7)).save_pretrained(tmp_path / "hub")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / "hub")
    model = {"pretrained": str(tmp_path / "hub"), "dim": 16}
    encoder = omnikit.create("speech_encoder/hf", model=model, out_dim=6).eval()
    save_component(encoder, tmp_path / "part")
    for file in (tmp_path / "hub").iterdir():
        file.unlink()  # nothing may be fetched again
    audio = Audio(torch.randn(1, 8_000), torch.tensor([8_000]), 16_000)
    again = load_component(tmp_path / "part")
    assert torch.equal(again.encode(audio).features, encoder.encode(audio).features)  # type: ignore[attr-defined]


def test_audio_and_keys_that_cannot_be_used_say_why() -> None:
    encoder = HFSpeechEncoder(model=SMALL, out_dim=6)
    with pytest.raises(MediaError, match="speech_encoder/hf reads audio at 16000 Hz, not 8000 Hz"):
        encoder.encode(Audio(torch.zeros(1, 100), torch.tensor([100]), 8_000))
    with pytest.raises(MediaError, match="not finite"):
        encoder.encode(Audio(torch.full((1, 100), torch.nan), torch.tensor([100]), 16_000))
    with pytest.raises(MediaError, match="at least 1 sample"):
        encoder.encode(Audio(torch.zeros(1, 100), torch.tensor([0]), 16_000))
    with pytest.raises(UnknownName, match="conv_dim"):
        HFSpeechEncoder(model={**SMALL, "conv_dims": 3}, out_dim=6)
