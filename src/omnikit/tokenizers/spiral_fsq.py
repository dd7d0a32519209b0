"""tokenizer/spiral_fsq: the published tokenizer: SPIRAL, finite scalar quantisation, a CTC head that reads phones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omnikit.contracts import Contract
from omnikit.nn.logmel import LogMel
from omnikit.tokenizers.bottleneck import UNTRAINED, BottleneckTokenizer


class SpiralFSQ(BottleneckTokenizer):
    """Speech → units at 25 Hz that say what is spoken, not how: the tokenizer of EMOVA.

    One point of `tokenizer/bottleneck`, which does all the work, under the published names: defaults are the published
    size (94.7 M parameters) and its state dict.

    Args:
        num_mels: bands of the log-mel front end.
        widths: outputs of the four convolution stages; the second and fourth are the transformers' widths.
        layers, heads: depth and attention heads of the two transformers.
        ffn_ratio: their inner width over their width.
        position: taps and groups of the convolution that tells positions.
        levels: quantiser levels a dimension; their product is the number of units.
        num_phones: classes of the CTC head; the blank comes after them.
        decoder_dim: width of the CTC head.
        dropout, layer_drop: training noise; layers are dropped in the second transformer only.
        auxiliary_ctc: weight of a second CTC loss before the bottleneck, which helps small models to start; its linear
            head exists only above 0.
        reduced: merge runs of equal units and keep their durations beside them.
        vocab_id: name of the ids' meaning, set from the weights.

    Contract: 16 kHz mono → prod(levels) units at 25 Hz. Offline: normalisation and attention see the whole utterance.
    Raises: `OmnikitError` for sizes that do not fit each other, `MediaError` for audio it cannot read,
        `ContractError` for units of another vocabulary.
    Ref: Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid Emotions", CVPR 2025.
    Example: `omnikit.create("tokenizer/spiral_fsq", layers=[1, 2]).encode(audio).codes`
    """

    def __init__(
        self,
        num_mels: int = 128,
        widths: Sequence[int] = (384, 512, 1536, 768),
        layers: Sequence[int] = (2, 10),
        heads: Sequence[int] = (8, 12),
        ffn_ratio: int = 4,
        position: Sequence[int] = (128, 16),
        levels: Sequence[int] = (8, 8, 8, 8),
        num_phones: int = 240,
        decoder_dim: int = 512,
        dropout: float = 0.1,
        layer_drop: float = 0.1,
        auxiliary_ctc: float = 0.0,
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__(
            encoder="spiral",
            spiral={
                "num_mels": num_mels,
                "widths": widths,
                "layers": layers,
                "heads": heads,
                "ffn_ratio": ffn_ratio,
                "position": position,
                "dropout": dropout,
                "layer_drop": layer_drop,
            },
            quantizer="fsq",
            fsq={"levels": levels},
            supervision=("ctc_phone",),
            heads={
                "num_classes": num_phones,
                "dim": decoder_dim,
                "dropout": dropout,
                "auxiliary_ctc": auxiliary_ctc,
            },
            reduced=reduced,
            vocab_id=vocab_id,
        )

    @classmethod
    def contract(
        cls,
        levels: Sequence[int] = (8, 8, 8, 8),
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
        **_: Any,
    ) -> Contract:
        """16 kHz mono → prod(levels) units at 25 Hz."""
        return super().contract(fsq={"levels": levels}, reduced=reduced, vocab_id=vocab_id)

    @property
    def batches_as_published(self) -> bool:
        """Whether rows of a batch hear its padding, as in the published code; False: a row is what it is alone.

        The published front end mirrors a batch at its padded end, so that a shorter row ends in zeros and, through the
        statistics of the utterance, changes as a whole. Only for reproducing units that were made in such batches; a
        recording by itself has the same units either way.
        """
        return self._front.reflects_batch

    @batches_as_published.setter
    def batches_as_published(self, value: bool) -> None:
        self._front.reflects_batch = value

    @property
    def _front(self) -> LogMel:
        front: LogMel = self.encoder.wav2spec["featurizer"]
        return front
