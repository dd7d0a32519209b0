"""Labelled reference vectors: what a detokenizer hears in the styled recordings of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from omnikit.data.media import resample
from omnikit.data.speech_batches import pad_audio
from omnikit.data.style_recordings import StyledRecording, spread_over_styles, styled_recordings, with_energy
from omnikit.errors import DataError, OmnikitError, unknown_name
from omnikit.slots.detokenizer import Detokenizer
from omnikit.training.extract import records_of

STYLE_SECONDS = 240.0
"""Labelled audio of a combination of labels, at most."""
MEASURED = ("energy",)
_ROWS = 16


@dataclass(frozen=True)
class LabelledVectors:
    """Reference vectors [N, D] of the space `space_id`, and the labels of each."""

    vectors: Tensor
    labels: list[Mapping[str, str]]
    space_id: str

    @property
    def factors(self) -> dict[str, list[str]]:
        """The values that each factor takes, sorted."""
        names = dict.fromkeys(name for row in self.labels for name in row)
        return {name: sorted({row[name] for row in self.labels if name in row}) for name in names}


def labelled_vectors(
    detokenizer: Detokenizer,
    corpus: Path,
    files: Sequence[str] = ("voice.train",),
    *,
    factors: Sequence[str] | None = None,
    seconds: float = STYLE_SECONDS,
) -> LabelledVectors:
    """Embed the labelled recordings of corpus `files`, at most `seconds` of every combination of labels.

    `factors` names the labels that count (None: all that the corpus tells, but not its speakers); `energy` is measured.
    Raises `OmnikitError` for a detokenizer without a style input, `UnknownName` for a factor that the corpus lacks,
    `DataError` where no recording is labelled.
    """
    space = style_space_of(detokenizer)
    recordings = list(styled_recordings(records_of(corpus, *files)))
    if not recordings:
        raise DataError(f"No recording in {', '.join(files)} of {corpus} says its style.")
    known = list(dict.fromkeys(name for recording in recordings for name in recording.labels))
    for name in factors or ():
        if name not in (*known, *MEASURED):
            raise unknown_name("style factor of the corpus", name, (*known, *MEASURED))
    wanted = list(factors) if factors else [name for name in known if name != "speaker"]
    if "energy" in wanted and "energy" not in known:
        recordings = with_energy(corpus, recordings)
    kept = [
        StyledRecording(item.path, item.duration_s, {name: item.labels[name] for name in wanted if name in item.labels})
        for item in recordings
    ]
    chosen = spread_over_styles(kept, seconds)
    vectors = [
        embed(detokenizer, [corpus / item.path for item in chosen[start : start + _ROWS]])
        for start in range(0, len(chosen), _ROWS)
    ]
    return LabelledVectors(torch.cat(vectors), [item.labels for item in chosen], space)


def embed(detokenizer: Detokenizer, paths: Sequence[Path]) -> Tensor:
    """Reference vectors [N, D] of sound files of one sample rate."""
    sounds = [soundfile.read(path, dtype="float32") for path in paths]
    audio = resample(pad_audio([wave for wave, _ in sounds], sounds[0][1]), detokenizer.sample_rate)
    detokenizer.eval()
    with torch.no_grad():
        vectors = detokenizer.style_vectors(audio)
    assert vectors is not None, "style_space_of was not asked first"
    return vectors.float().cpu().clone()


def style_space_of(detokenizer: Detokenizer) -> str:
    """The id of the style space that a detokenizer decodes in. Raises `OmnikitError` where it takes no style vector."""
    contract = detokenizer.contract(**detokenizer.parameters_given)
    port: Any = contract.needs.get("style")
    if port is None or "style" in contract.ignores or not port.dim or port.space_id is None:
        raise OmnikitError(
            f"This detokenizer ({type(detokenizer).__name__}) takes no style vector; style is not applicable to it."
        )
    return str(port.space_id)
