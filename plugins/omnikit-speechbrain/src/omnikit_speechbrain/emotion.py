"""`input_style/emotion_wav2vec2`: the emotion that SpeechBrain's wav2vec 2.0 recogniser hears, as text for a backbone.

Letters: B batch, S samples, T steps, D width, E emotions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from omnikit.contracts import AudioPort, Contract, LabelsPort
from omnikit.errors import OmnikitError
from omnikit.nn.hf_speech import NONE, SAMPLE_RATE, HFSpeech, HFSpeechSizes
from omnikit.nn.spiral import valid_steps
from omnikit.slots.backbone import Segment
from omnikit.slots.groups import plain, read_group
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.slots.published import AroundPublished
from omnikit.slots.sound import check_audio
from omnikit.types import Audio, Losses
from omnikit_speechbrain.upstream import Linear

MODEL = plain(HFSpeechSizes(family="wav2vec2"))
FACTOR = "emotion"
_EPSILON = 1e-5


class EmotionWav2Vec2(AroundPublished, LearnedInputStyle):
    """The likeliest emotion of a recording, written as `<emotion=sad>` before what is said.

    Args:
        model: a wav2vec 2.0 (or HuBERT, WavLM): a published one, or the sizes of a random one
            (`omnikit.nn.hf_speech.HFSpeechSizes`).
        emotions: their names, in the order of the classifier's rows.

    The steps of a recording are normalised over time and width, averaged and classified by one matrix. A row of a batch
    has the numbers of the recording alone. Stage `input_style` trains all of it on recordings whose emotion is known;
    `omnikit-speechbrain emotion` fetches a classifier that was trained on acted speech (IEMOCAP).

    Contract: mono audio at 16 kHz → one of `emotions`.
    Ref: Wang et al., "A Fine-tuned Wav2vec 2.0/HuBERT Benchmark", 2021 (arXiv 2111.02735), section 3.1; Ravanelli et
        al., "SpeechBrain" (arXiv 2106.04624), whose `Linear` the classifier is. SpeechBrain's pooling adds noise of
        1e-5 to the average; here none is added.
    """

    def __init__(
        self,
        model: Mapping[str, Any] = MODEL,
        emotions: Sequence[str] = ("neutral", "angry", "happy", "sad"),
    ) -> None:
        super().__init__()
        if len(set(emotions)) != len(emotions) or len(emotions) < 2:
            raise OmnikitError(f"emotions are {list(emotions)}; give two different names or more.")
        self.emotions = tuple(emotions)
        self.encoder = HFSpeech(_sizes(model))
        self.classifier = Linear(input_size=self.encoder.dim, n_neurons=len(emotions), bias=False)

    @classmethod
    def contract(cls, model: Mapping[str, Any], emotions: Sequence[str]) -> Contract:
        """16 kHz mono → the label of one factor."""
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"labels": LabelsPort((FACTOR,))},
            ignores=frozenset({"embeds"}),
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The emotions that it tells apart."""
        return {FACTOR: self.emotions}

    @torch.no_grad()
    def probabilities(self, audio: Audio) -> Tensor:
        """How likely each of `emotions` is in every recording of [B, S]: [B, E]. Raises `MediaError` as `read` does."""
        with torch.autocast(self.device.type, enabled=False):
            return self._scores(audio).softmax(-1)

    def read(self, audio: Audio) -> list[Segment | None]:
        """The tag of each recording [B, S] as text. Raises `MediaError` for audio that cannot be heard."""
        places = self.probabilities(audio).argmax(-1).tolist()
        return [Segment(text=_tag(self.emotions[place]), heard=True) for place in places]

    def blank(self) -> Segment:
        """The tag of the longest name."""
        return Segment(text=_tag(max(self.emotions, key=len)), heard=True)

    def texts(self) -> Sequence[str]:
        """Every tag."""
        return [_tag(emotion) for emotion in self.emotions]

    def loss(self, audio: Audio, labels: Sequence[Mapping[str, str]]) -> Losses:
        """Mean cross-entropy; its part is the share named right. Raises `OmnikitError` without a known label."""
        known = {emotion: place for place, emotion in enumerate(self.emotions)}
        rows = [row for row, own in enumerate(labels) if own.get(FACTOR) in known]
        if not rows:
            raise OmnikitError(f"No recording of the batch has one of the emotions {', '.join(self.emotions)}.")
        scores = self._scores(audio)[rows]
        wanted = torch.tensor([known[labels[row][FACTOR]] for row in rows], device=scores.device)
        right = (scores.argmax(-1) == wanted).float().mean()
        return Losses(functional.cross_entropy(scores.float(), wanted), {FACTOR: right})

    def _scores(self, audio: Audio) -> Tensor:
        """A score of every emotion [B, E]."""
        check_audio(audio, SAMPLE_RATE, "input_style/emotion_wav2vec2")
        longest = int(audio.lengths.max())
        steps, lengths = self.encoder(audio.wave[:, :longest].float(), audio.lengths.long())  # [B, T, D], [B]
        valid = valid_steps(lengths, steps.shape[1])[..., None]
        count = (lengths * steps.shape[2])[:, None, None]
        centred = (steps - (steps * valid).sum((1, 2), keepdim=True) / count) * valid
        normed = centred * torch.rsqrt(centred.square().sum((1, 2), keepdim=True) / count + _EPSILON)
        return self.classifier(normed.sum(1) / lengths[:, None])


def _sizes(model: Mapping[str, Any]) -> HFSpeechSizes:
    sizes = read_group(HFSpeechSizes, "model", {**MODEL, **model})
    if sizes.pretrained == NONE and sizes.family == "whisper":
        raise OmnikitError("input_style/emotion_wav2vec2 hears by wav2vec2, hubert or wavlm, not by whisper.")
    return sizes


def _tag(emotion: str) -> str:
    return f"<{FACTOR}={emotion}>"
