"""`speech_encoder/hf`: speech encoders of the transformers library as a continuous way to be heard.

Letters: B batch, S samples, T steps, D encoder width, W backbone width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from omnikit.contracts import DERIVED, AudioPort, Contract, FramesPort
from omnikit.nn.hf_speech import SAMPLE_RATE, HFSpeech, HFSpeechSizes, facts_of
from omnikit.slots.groups import plain, read_group
from omnikit.slots.published import AroundPublished
from omnikit.slots.sound import check_audio
from omnikit.slots.speech_encoder import SpeechEncoder
from omnikit.types import Audio, Frames

MODEL = plain(HFSpeechSizes(stride=2))


class HFSpeechEncoder(AroundPublished, SpeechEncoder):
    """Waveform → features of a HuBERT, wav2vec 2.0, WavLM or Whisper encoder, mapped to the backbone's width.

    Args:
        model: a published model, or the sizes of a random one (`nn.hf_speech.HFSpeechSizes`); by default two steps of
            20 ms are averaged into one (Qwen2-Audio does so before its language model).
        out_dim: width W of the features, by a linear map of the encoder's; derived in a system. 0: the encoder's own
            features without a map, for a projector to take (`projector@speech_projector=mlp`).

    Contract: 16 kHz mono → frames of `out_dim` at 50 Hz over the model's `stride`. Offline: the encoder hears it all.
    Raises: `OmnikitError` for a model that cannot be had or sizes that cannot be, `MediaError` for unusable audio.
    Ref: Chu et al., "Qwen2-Audio Technical Report", 2024, section 2; the models are cited in `nn.hf_speech`.
    Example: `omnikit.create("speech_encoder/hf", out_dim=256).encode(audio).features`
    """

    def __init__(self, model: Mapping[str, Any] = MODEL, out_dim: int = DERIVED) -> None:
        super().__init__()
        self.encoder = HFSpeech(_sizes(model))
        self.project = nn.Linear(self.encoder.dim, out_dim) if out_dim else nn.Identity()

    @classmethod
    def contract(cls, model: Mapping[str, Any] = MODEL, out_dim: int = DERIVED) -> Contract:
        """16 kHz mono → frames of `out_dim` at the encoder's rate."""
        facts = facts_of(_sizes(model))
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"frames": FramesPort(dim=facts.dim if out_dim == 0 else out_dim, rate=facts.rate)},
        )

    def encode(self, audio: Audio) -> Frames:
        """Features [B, T, W] of 16 kHz waveforms, differentiable; what lies beyond a row's steps is padding."""
        check_audio(audio, SAMPLE_RATE, "speech_encoder/hf")
        longest = int(audio.lengths.max())
        steps, lengths = self.encoder(audio.wave[:, :longest], audio.lengths.long())
        return Frames(self.project(steps), lengths, self.encoder.rate)

    def num_steps(self, num_samples: int) -> int:
        """Steps T that a recording of so many samples takes."""
        return self.encoder.num_steps(num_samples)


def _sizes(model: Mapping[str, Any]) -> HFSpeechSizes:
    return read_group(HFSpeechSizes, "model", {**MODEL, **model})
