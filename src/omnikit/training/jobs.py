"""Objectives by name: what a stage file's `objective` may say."""

from __future__ import annotations

from collections.abc import Callable

from omnikit.training.input_style_jobs import input_style_job
from omnikit.training.job import Context, Job
from omnikit.training.mind_jobs import language_job, vision_job
from omnikit.training.speech_jobs import detokenizer_job, tokenizer_job, tokenizer_pretrain_job
from omnikit.training.style_jobs import style_job

JOBS: dict[str, Callable[[Context], Job]] = {
    "tokenizer_pretrain": tokenizer_pretrain_job,
    "tokenizer": tokenizer_job,
    "detokenizer": detokenizer_job,
    "style": style_job,
    "input_style": input_style_job,
    "vision": vision_job,
    "language": language_job,
}
