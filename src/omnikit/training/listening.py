"""What a detokenizer in training sounds like: at every validation, the same few recordings spoken by it.

`media/step_N/` holds, for each of them, the recording and what was made in its place as WAV, and a picture.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import soundfile

from omnikit.data.voice_batches import VoiceBatches, VoiceItem
from omnikit.nn.devices import move
from omnikit.nn.steps import evaluating
from omnikit.report.voice_picture import Utterance, draw_utterance
from omnikit.serving.measure import sound_of
from omnikit.slots.detokenizer import Detokenizer
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.draws import generator
from omnikit.types import Audio, Style

_STAGING = ".writing-"
_ALIGNING, _SPEAKING = 0, 1


class Listening(lightning.Callback):
    """Speaks `items` at every validation, with the style and the durations of their recordings and the same noise.

    Recording and speech are thus of one length and differ in sound alone. Of several processes all speak, for the
    losses of an alignment are sums over processes, and the first writes. The newest `num_kept` steps stay on disk.
    """

    def __init__(
        self, batches: VoiceBatches, items: Sequence[VoiceItem], folder: Path, num_kept: int, space_id: str | None
    ) -> None:
        self.batches, self.items, self.folder = batches, list(items), folder
        self.num_kept, self.space_id = num_kept, space_id

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Remove what a killed run left half written."""
        if trainer.is_global_zero:
            for left in self.folder.glob(f"{_STAGING}*"):
                shutil.rmtree(left)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Speak, and write."""
        spoken = [self._speak(trainer, module, place, item) for place, item in enumerate(self.items)]
        if trainer.is_global_zero:
            step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            write_utterances(self.folder / f"step_{step}", spoken)
            self._forget()

    def _speak(self, trainer: Any, stage: DetokenizerStage, place: int, item: VoiceItem) -> Utterance:
        voice = stage.voice
        batch = stage.voice_batch(move(self.batches.collate([item]), stage.device))
        with evaluating(voice):
            with trainer.precision_plugin.val_step_context():  # aligned as it is trained, spoken as it is shipped
                found = voice.training_forward(batch, generator(place, _ALIGNING)).durations
            style = batch.style or self._heard(voice, batch.audio)
            made = voice.decode(batch.units, style, generator(place, _SPEAKING), found)
        return Utterance(
            title=f"{', '.join(item.style.values())}: {item.text}",
            recorded=sound_of(batch.audio),
            made=sound_of(made),
            frame_s=voice.hop_size / voice.sample_rate,
            durations=None if found is None else found[0].cpu().numpy(),
            phones=item.target_phones,
        )

    def _heard(self, voice: Detokenizer, audio: Audio) -> Style:
        """The style that the voice itself hears in recordings."""
        vectors = voice.style_vectors(audio)
        return Style() if vectors is None else Style(vector=vectors, space_id=self.space_id)

    def _forget(self) -> None:
        steps = sorted(self.folder.glob("step_*"), key=lambda folder: int(folder.name.removeprefix("step_")))
        for old in steps[: -self.num_kept]:
            shutil.rmtree(old)


def write_utterances(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Write the sounds and the picture of every utterance, all of them or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder.parent))
    try:
        for number, utterance in enumerate(utterances):
            for name, sound in (("recorded", utterance.recorded), ("made", utterance.made)):
                soundfile.write(staging / f"{number}_{name}.wav", sound.wave, sound.sample_rate, subtype="PCM_16")
            draw_utterance(utterance, staging / f"{number}.png")
        os.chmod(staging, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
