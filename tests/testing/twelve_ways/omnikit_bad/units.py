"""Tokenizers that each break one promise; the honest one is what `omnikit new plugin tokenizer` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from omnikit_plain_codec.plain_codec import PlainCodec

from omnikit.slots.unit_stream import Live
from omnikit.types import Audio, Units


class LetsNaNThrough(PlainCodec):
    """Takes samples that are no numbers for silence.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def encode(self, audio: Audio) -> Units:
        """Units [B, 1, T] of recordings [B, S]."""
        return super().encode(replace(audio, wave=audio.wave.nan_to_num()))


class HearsPieces(PlainCodec):
    """Reads every piece of a stream as if it were a whole recording.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def stream(self, chunks: Iterable[Audio], live: Live | None = None) -> Iterator[Units]:
        """Units of each piece by itself."""
        return map(self.encode, chunks)
