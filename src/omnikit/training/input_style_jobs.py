"""Setting up the stage `input_style`."""

from __future__ import annotations

from omnikit.data.tone_batches import ToneBatches, tone_items
from omnikit.errors import OmnikitError
from omnikit.slots.base import Component
from omnikit.slots.hearing import Hearing
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.stages.input_style import InputStyleStage
from omnikit.stages.optim import Optim
from omnikit.training.extract import records_of
from omnikit.training.job import Context, Job


def input_style_job(context: Context) -> Job:
    """An input style learns to name the tone of users' recordings.

    Raises `OmnikitError` for an input style that has nothing to learn by itself.
    """
    settings, style = context.settings, context.parts.get("input_style")
    if not isinstance(style, LearnedInputStyle):
        chosen = context.plan.nodes["input_style"].component if style is not None else "input_style/none"
        raise OmnikitError(
            f"{chosen} has nothing to train in a stage of its own.\n"
            "Stage input_style trains input_style=tags; embed_prefix learns with the backbone, in align and sft."
        )
    rate = Hearing(input_style=style).sample_rate
    assert rate is not None, "an input style that names a tone listens"
    batches, check = (
        ToneBatches(
            context.corpus,
            tone_items(records_of(context.corpus, *settings[files])),
            batch_s=settings["batch_s"],
            sample_rate=rate,
            num_batches=number,
            seed=context.seed,
            start=start,
        )
        for files, number, start in (
            ("files", settings["optim"]["steps"], context.start),
            ("valid_files", settings["num_valid_batches"], 0),
        )
    )

    def finish() -> dict[str, Component]:
        context.settle(style)
        return {"input_style": style}

    return Job(InputStyleStage(style, Optim(**settings["optim"])), batches, check, finish)
