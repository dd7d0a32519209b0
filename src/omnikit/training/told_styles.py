"""Voices in the space of a style module that hears recordings by itself, as a speaker encoder does.

Such a module is frozen: what it hears in the targets is known before training. The voice learns these vectors, and
whoever shows the finished system one of the recordings gives it the same numbers.

Letters: N examples, G style width.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from omnikit.artefacts import name_after_weights
from omnikit.data.media import load_audio
from omnikit.data.voice_batches import ToldStyles, VoiceItem
from omnikit.errors import MediaError, OmnikitError
from omnikit.nn.steps import evaluating
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.style import StyleModule
from omnikit.training.job import Context
from omnikit.types import Labels
from omnikit.wiring import Plan

_log = logging.getLogger(__name__)


def takes_style(plan: Plan) -> bool:
    """Whether the detokenizer of a plan takes style vectors."""
    port: Any = plan.contracts["detokenizer"].needs.get("style")
    return port is not None and bool(port.dim)


def told_styles(context: Context, paths: Sequence[str]) -> ToldStyles | None:
    """What the style module hears in the recordings `paths`, for a voice that is to learn it; None where it hears none.

    The voice is brought into the module's space, which is named after the module's weights where they are not trained.
    Raises `OmnikitError` for a module that hears in the space of a trained voice and has no weights of one, and for a
    detokenizer that learns no vectors but its own.
    """
    style, plan = cast(StyleModule, context.parts["style"]), context.plan
    if "audio" not in style.views or not takes_style(plan):
        return None
    name = plan.nodes["style"].component
    if any(found.slot == "style" and found.said_by == "detokenizer.style.space_id" for found in plan.derivations):
        raise OmnikitError(
            f"{name} hears recordings in the space of a voice, and this voice is still to be trained.\n"
            "Train it with style=label_centroid and make the module of it (omnikit style make reference), or\n"
            "give the module trained weights (style.weights=FOLDER): the voice then learns their space."
        )
    context.settle(style)
    if "style" not in context.weights and any(True for _ in style.parameters()):
        _log.warning("%s has no trained weights: the voice learns what a random network hears", name)
        name_after_weights(style, "space_id", f"untrained-{name.split('/')[1]}")
    contract = style.contract(**style.parameters_given)
    given, needed = cast(Any, contract.gives["style"]), cast(Any, contract.needs["audio"])
    cast(Detokenizer, context.parts["detokenizer"]).use_told_styles(given.space_id)
    print(f"hearing the style of {len(paths)} recordings in the space {given.space_id}", file=sys.stderr, flush=True)
    with evaluating(style):
        vectors = {path: _heard(style, context.corpus / path, int(needed.sample_rate)) for path in paths}
    return ToldStyles(vectors, str(given.space_id))


def examples_of(told: ToldStyles, items: Sequence[VoiceItem]) -> tuple[Tensor, list[Labels]]:
    """The vectors [N, G] of the targets of `items`, and the labels of each."""
    vectors = told.of([item.target for item in items]).vector
    assert vectors is not None  # told styles are vectors
    return vectors, [item.style for item in items]


def _heard(style: StyleModule, path: Path, sample_rate: int) -> np.ndarray:
    """The vector [G] of one recording, read as those are that users show."""
    audio = load_audio(path, sample_rate, max_s=math.inf)
    try:
        vector = cast(Tensor, style.from_audio(audio).vector)
    except MediaError as error:
        raise MediaError(f"No style of {path}: {error}\nLeave this recording out of the corpus.") from error
    return vector[0].float().cpu().numpy()
