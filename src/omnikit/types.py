"""What crosses a wall between components: small frozen records whose tensors travel with their lengths and rates.

Letters: B batch, S samples, T time steps, K codebooks, D width, H image height, W image width, P pixels.
This file names torch only in annotations, so that `import omnikit` stays light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["frame", "reduced"]
StyleSource = Literal["user", "policy", "model", "default"]
Label = str | float
"""A value of a style factor: a name, or a number on the factor's scale where the style module has one."""
Labels = Mapping[str, Label]
"""Style factor → value, e.g. `{"emotion": "sad", "speed": 1.1}`."""


@dataclass(frozen=True)
class Audio:
    """Waveforms: `wave` [B, S] float32 in [-1, 1], `lengths` [B] valid samples, `sample_rate` in Hz."""

    wave: Tensor
    lengths: Tensor
    sample_rate: int

    @property
    def seconds(self) -> list[float]:
        """Duration of every row in seconds."""
        return [int(n) / self.sample_rate for n in self.lengths]


@dataclass(frozen=True)
class Images:
    """Pictures of one size: `pixels` [B, 3, H, W] float32 in [0, 1].

    Pictures of their own sizes have `sizes`, (height, width) of each, and `pixels` [3, P]: one picture behind the
    other, each row by row, so that P = H1 W1 + H2 W2 + … and nothing is padded. `Images.of` packs them.

    Pictures cut into tiles have `grids`, (columns, rows) of each: B is then the number of all slices, the picture as a
    whole and its tiles row by row, picture after picture.
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...] | None = None
    grids: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(cls, pictures: Sequence[Tensor]) -> Images:
        """Pictures [3, H, W] of any sizes, packed; at least one."""
        import torch

        sizes = tuple((int(picture.shape[1]), int(picture.shape[2])) for picture in pictures)
        return cls(torch.cat([picture.flatten(1) for picture in pictures], dim=1), sizes)  # [3, P]

    def each(self) -> list[Tensor]:
        """Every picture [3, H, W], a view of `pixels`."""
        if self.sizes is None:
            return list(self.pixels)
        spans = self.pixels.split([height * width for height, width in self.sizes], dim=1)
        return [span.unflatten(1, size) for span, size in zip(spans, self.sizes, strict=True)]

    def __len__(self) -> int:
        return len(self.pixels) if self.sizes is None else len(self.sizes)


@dataclass(frozen=True)
class Frames:
    """Continuous features: `features` [B, T, D], `lengths` [B]; exact `rate` in Hz, None when not in time (patches)."""

    features: Tensor
    lengths: Tensor
    rate: Fraction | None = None


@dataclass(frozen=True)
class Units:
    """Discrete speech: `codes` [B, K, T] int64, `lengths` [B], `sizes` of the K codebooks, `rate` of frames in Hz.

    `layout` is `frame` (one step per 1/rate seconds) or `reduced` (runs of equal steps merged; `durations` [B, T] then
    counts the merged frames). `vocab_id` names the tokenizer weights that gave the ids their meaning: units of two
    vocabularies are never the same units.
    """

    codes: Tensor
    lengths: Tensor
    sizes: tuple[int, ...]
    rate: Fraction
    vocab_id: str
    layout: Layout = "frame"
    durations: Tensor | None = None


@dataclass(frozen=True)
class Style:
    """How something is said. `labels` holds one factor → value mapping per batch row (empty when unknown).

    Factors are names that the style module declares (speaker, gender, emotion, speed, pitch, energy …).

    `vector` [B, D] is the same style in the embedding space `space_id`; spaces never mix. `source` says who decided.
    """

    labels: tuple[Labels, ...] = ()
    vector: Tensor | None = None
    space_id: str | None = None
    source: StyleSource = "default"


@dataclass(frozen=True)
class SpokenTurn:
    """One exchange as the backbone wrote it: what was heard, the answer, how it is said, and the units to speak.

    `user_style` is how the user spoke, where the reply says it.
    """

    text: str
    user_text: str | None = None
    style: Style = field(default_factory=Style)
    units: Units | None = None
    raw: str = ""
    parse_ok: bool = True
    user_style: Style = field(default_factory=Style)


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue as data: any of text, audio path, image path, unit ids, style labels."""

    role: Literal["system", "user", "assistant"]
    text: str | None = None
    audio: str | None = None
    image: str | None = None
    units: tuple[int, ...] | None = None
    style: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialogue:
    """A record of the corpus: its id, its messages in order, and the split it belongs to."""

    id: str
    messages: tuple[Message, ...]
    split: str = "train"


@dataclass(frozen=True)
class Losses:
    """A training objective: the differentiable `total` and detached `parts` for logging."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
