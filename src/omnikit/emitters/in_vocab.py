"""`emitter/in_vocab`: units are tokens of the language model's vocabulary."""

from __future__ import annotations

from omnikit.contracts import Contract, UnitsPort
from omnikit.slots.emitter import Emitter


class InVocab(Emitter):
    """Every unit is a token, written and read as text is; the codebooks of a step stand one behind the other.

    Works with every backbone, as nothing else is asked of it. With K codebooks a step takes K positions.

    Contract: units of any codebooks; the backbone writes them itself.
    Ref: Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000); several codebooks as the pattern "flattening" of Copet et al.
        2023 (MusicGen, arXiv 2306.05284).
    """

    @classmethod
    def contract(cls) -> Contract:
        return Contract(
            needs={"units": UnitsPort()},
            gives={"units": UnitsPort()},
            ignores=frozenset({"hidden"}),
            causal=True,
            lookahead_ms=0.0,
        )
