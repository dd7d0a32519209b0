"""Setting up the stage `style`."""

from __future__ import annotations

from typing import cast

from omnikit.data.style_batches import StyleBatches
from omnikit.errors import OmnikitError
from omnikit.slots.base import Component
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.style import LearnedStyle
from omnikit.stages.optim import Optim
from omnikit.stages.style import StyleStage
from omnikit.training.job import Context, Job
from omnikit.training.style_vectors import labelled_vectors


def style_job(context: Context) -> Job:
    """A style module learns from reference vectors of a trained detokenizer, their labels, and descriptions of them.

    Raises `OmnikitError` for a style module that has nothing to learn by gradient.
    """
    settings = context.settings
    style, detokenizer = context.parts["style"], cast(Detokenizer, context.parts["detokenizer"])
    if not isinstance(style, LearnedStyle):
        raise OmnikitError(
            f"{context.plan.nodes['style'].component} has nothing to train; `omnikit style make` makes it.\n"
            "Stage style trains style=gmvae or style=text_prompt."
        )
    train, valid = (
        labelled_vectors(detokenizer, context.corpus, settings[files], seconds=settings["seconds"])
        for files in ("files", "valid_files")
    )
    style.fit(train.vectors, train.labels, train.space_id)
    batches, check = (
        StyleBatches(
            examples.vectors,
            examples.labels,
            batch_size=settings["batch_size"],
            num_batches=num_batches,
            seed=seed,
            start=start,
            held_out=held_out,
        )
        for examples, num_batches, seed, start, held_out in (
            (train, settings["optim"]["steps"], context.seed, context.start, False),
            (valid, settings["num_valid_batches"], context.seed, 0, True),
        )
    )
    module = StyleStage(style, Optim(**settings["optim"]), seed=context.seed)

    def finish() -> dict[str, Component]:
        context.settle(style)
        return {"style": style}

    return Job(module, batches, check, finish)
