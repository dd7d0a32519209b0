"""`speech_encoder/none`."""

from __future__ import annotations

import torch

from omnikit.contracts import contract_of
from omnikit.speech_encoders.none import NoSpeechEncoder
from omnikit.types import Audio


def test_it_gives_nothing_and_says_so() -> None:
    contract = contract_of(NoSpeechEncoder, {})
    assert contract.gives == {} and contract.needs["audio"].sample_rate is None
    assert NoSpeechEncoder().encode(Audio(torch.zeros(1, 100), torch.tensor([100]), 16_000)) is None
