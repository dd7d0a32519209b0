"""What a tokenizer makes of utterances, kept for probing: units and their vectors, features, log-mels, labels.

Letters: K codebooks, T frames, D width, M mel bands, F frequency bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from omnikit.data.phones import PHONE_INDEX
from omnikit.data.records import read_records
from omnikit.data.speech_batches import pad_audio
from omnikit.data.texts import normalise_text
from omnikit.errors import DataError
from omnikit.evaluation.material import BATCH_S, Record, checked, ear_rate, in_batches, rows_of, waves_of
from omnikit.metrics.phonetics import frame_phones
from omnikit.nn.spectrogram import Spectrogram
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.system import System
from omnikit.types import Units

NUM_MELS = 80
SHORTEST_S = 0.1
LOADED_AT_ONCE = 256
STYLE_FACTORS = ("gender", "emotion", "pitch", "speed")


@dataclass(frozen=True)
class Heard:
    """One utterance as it was heard.

    `codes` [K, T] of codebooks of `sizes`, with `durations` [T] in frames (None: one each); `vectors` [T, D] of all
    codebooks together and `book_vectors` of each alone (K times [T, D], empty for one codebook); `features` [T', D']
    before the bottleneck (None: not offered) at `feature_rate`; `mels` [T, M] at `mel_rate`, the unit rate or 100 Hz if
    that is less; `labels` by factor; `spans` are timed phones (index, start_s, end_s).
    """

    voice: str
    labels: Mapping[str, str]
    spans: Sequence[tuple[int, float, float]]
    seconds: float
    unit_rate: float
    sizes: tuple[int, ...]
    codes: np.ndarray
    durations: np.ndarray | None
    vectors: np.ndarray
    book_vectors: Sequence[np.ndarray]
    features: np.ndarray | None
    feature_rate: float
    mels: np.ndarray
    mel_rate: float

    def by_frame(self, steps: np.ndarray) -> np.ndarray:
        """Steps of units [T, …] at the unit rate: merged ones are repeated as long as they last."""
        return steps if self.durations is None else np.repeat(steps, self.durations, axis=0)

    def phones(self, num_frames: int, rate: float) -> np.ndarray:
        """The phone of every frame, -1 where there is none: [T]."""
        return frame_phones(self.spans, num_frames, rate)


def drawn_by_voice(corpus: Path, files: Sequence[str], num_items: int, seed: int) -> list[Record]:
    """About `num_items` records of `files` (e.g. `speech.test`), as evenly over the voices as they allow."""
    rng = np.random.default_rng([seed, *"".join(files).encode()])
    records: list[Record] = [
        record for name in files for record in read_records(corpus / f"{name}.jsonl", validate=False)
    ]
    queues: dict[str, list[Record]] = {}
    for index in rng.permutation(len(records)):
        record = records[int(index)]
        voice = record["messages"][0].get("audio", {}).get("voice", "")
        queues.setdefault(voice, []).append(record)
    deepest = max((len(queue) for queue in queues.values()), default=0)
    turns = [queue[depth] for depth in range(deepest) for _, queue in sorted(queues.items()) if depth < len(queue)]
    return checked(corpus, turns[:num_items])


def without_texts(records: Sequence[Record], others: Sequence[Record]) -> list[Record]:
    """The records that say nothing that `others` say (case and punctuation aside)."""
    heard = {normalise_text(_said(record)["text"]) for record in others}
    return [record for record in records if normalise_text(_said(record)["text"]) not in heard]


def hear(system: System, corpus: Path, records: Sequence[Record]) -> list[Heard]:
    """The records' first audio through the system's tokenizer, in batches of similar length."""
    found = []
    for start in range(0, len(records), LOADED_AT_ONCE):
        part = [_said(record) for record in records[start : start + LOADED_AT_ONCE]]
        waves = waves_of(system, corpus, [message["audio"] for message in part])
        found += _hear_waves(system, part, waves)
    return found


def _said(record: Record) -> Record:
    """The first message of a record. Raises `DataError` where it lacks what probing needs."""
    message = record["messages"][0]
    missing = [name for name in ("audio", "text", "style") if name not in message]
    missing += ["audio.voice"] if "audio" in message and "voice" not in message["audio"] else []
    if missing:
        raise DataError(
            f"Record {record['id']} cannot be probed: its first message has no {', '.join(missing)}.\n"
            "Choose files of spoken messages with texts, voices and styles, e.g. train_files=[speech.train]."
        )
    if message["audio"]["duration_s"] < SHORTEST_S:
        raise DataError(f"Record {record['id']} cannot be probed: it lasts less than {SHORTEST_S} s.")
    return message


@torch.no_grad()
def _hear_waves(system: System, messages: Sequence[Record], waves: Sequence[np.ndarray]) -> list[Heard]:
    tokenizer: SpeechTokenizer = system.part("tokenizer")
    rate = ear_rate(system)
    mel = Spectrogram(rate, rate // 16, rate // 100, NUM_MELS, 0.0, rate / 2)
    frame_rate = rate / (rate // 100)

    def run(numbers: list[int]) -> list[Heard]:
        audio = pad_audio([waves[number] for number in numbers], rate)
        units = tokenizer.encode(audio)
        frames = tokenizer.features(audio)
        magnitude, mel_lengths = mel.linear(audio.wave, audio.lengths)  # [B, F, T]
        mels = mel.log_mel(magnitude).transpose(1, 2).numpy()  # [B, T, M]
        heard = []
        for row, (number, own) in enumerate(zip(numbers, rows_of(units), strict=True)):
            message, unit_rate = messages[number], float(units.rate)
            features, feature_rate = None, unit_rate
            if frames is not None:
                features = frames.features[row, : int(frames.lengths[row])].cpu().numpy()
                feature_rate = float(frames.rate or len(features) * rate / len(waves[number]))
            durations = None if own.durations is None else own.durations[0].cpu().numpy()
            heard.append(
                Heard(
                    voice=message["audio"]["voice"],
                    labels={name: message["style"][name] for name in STYLE_FACTORS if name in message["style"]},
                    spans=[(PHONE_INDEX[name], a, b) for name, a, b in message["audio"].get("phones", ())],
                    seconds=len(waves[number]) / rate,
                    unit_rate=unit_rate,
                    sizes=own.sizes,
                    codes=own.codes[0].cpu().numpy(),
                    durations=durations,
                    vectors=_vectors(tokenizer, own),
                    book_vectors=[_vectors(tokenizer, _alone(own, book)) for book in _books(own)],
                    features=features,
                    feature_rate=feature_rate,
                    mels=_at_rate(mels[row, : int(mel_lengths[row])], frame_rate, unit_rate),
                    mel_rate=min(frame_rate, unit_rate),
                )
            )
        return heard

    return in_batches(range(len(waves)), lambda number: len(waves[number]) / rate, BATCH_S, run)


def _vectors(tokenizer: SpeechTokenizer, units: Units) -> np.ndarray:
    return tokenizer.embed(units).features[0].cpu().numpy()  # [T, D]


def _books(units: Units) -> range:
    return range(len(units.sizes) if len(units.sizes) > 1 else 0)


def _alone(units: Units, book: int) -> Units:
    """The same units with the ids of all other codebooks at 0: what `embed` then gives depends on this one only."""
    codes = torch.zeros_like(units.codes)
    codes[:, book] = units.codes[:, book]
    return replace(units, codes=codes)


def _at_rate(frames: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    """Frames [T, M] averaged over the frames of a slower clock: [about T · wanted / rate, M]."""
    if wanted >= rate:
        return frames
    place = (np.arange(len(frames)) * wanted / rate).astype(int)  # [T] → slower frame
    starts = np.flatnonzero(np.append(True, np.diff(place) > 0))
    return np.add.reduceat(frames, starts, axis=0) / np.diff(np.append(starts, len(frames)))[:, None]
