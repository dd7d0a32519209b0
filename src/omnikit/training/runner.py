"""One training run: negotiate, build what the stage needs, train with Lightning, write the trained parts.

The same command again resumes an interrupted run from its last checkpoint and does nothing when the run is finished.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed
from torch.utils.data import DataLoader

from omnikit.artefacts import fill, read_card, save_component
from omnikit.data.shares import Share
from omnikit.errors import OmnikitError, naming_extras
from omnikit.nn.processes import num_processes
from omnikit.registry import resolve
from omnikit.slots.base import Component
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.training.choices import plan_of
from omnikit.training.identity import run_key, slots_of
from omnikit.training.job import Context, Job
from omnikit.training.jobs import JOBS
from omnikit.training.mixtures import identity_of
from omnikit.training.progress import Lines, Saver, read_saved, remove_saved
from omnikit.training.records import Cost, Curves, start_record, write_json
from omnikit.training.sharding import SHARDED, checkpoint_activations, compile_blocks, gather, strategy_of
from omnikit.wiring import Plan

PARAMETERLESS = ("format", "speech_encoder", "speech_projector", "input_style", "style")
"""Places whose parts may have nothing to train."""


def run_stage(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train the stage that a resolved config names; returns its cost record.

    Raises `OmnikitError` for anything that can be known to be wrong before training starts.
    """
    stage, out = config["stage"], Path(config["out"])
    folder = out / stage["name"]
    corpus = Path(config["data"]["path"])
    identity = identity_of(config["data"])
    earlier = [out / name / "parts" for name in stage["after"]]
    plan, weights = plan_of(config, earlier)
    missing = [slot for slot in _required(stage, plan) if slot not in weights]
    if missing:
        raise OmnikitError(
            f"Stage {stage['name']} needs a trained {' and '.join(missing)}.\n"
            f"Train it first (stages before this one: {', '.join(stage['after'])}), or name weights: "
            f"{missing[0]}.weights=PATH or weights=tiny."
        )
    key = run_key(config, identity, plan, {slot: read_card(path)["sha256"] for slot, path in weights.items()})
    state = _state(folder, key, bool(config["overwrite"]))
    if state.get("finished") and not first_process():
        return {}
    if state.get("finished"):
        print(f"{folder} is finished; its parts are in {folder / 'parts'}. Start over with overwrite=true.")
        return json.loads((folder / "cost.json").read_text())
    seed_everything(int(config["seed"]), verbose=False)
    parts = _build(plan, weights, stage, alone=first_process() or config["trainer"]["strategy"] != SHARDED)
    if first_process():
        if not state:
            start_record(folder, config, {"path": str(corpus), **identity})
        write_json(folder / "state.json", {"key": key, "finished": False})
    checkpoint = folder / "last.ckpt"
    start = int(read_saved(checkpoint)["omnikit_step"]) if state and checkpoint.exists() else 0
    context = Context(config, stage["settings"], plan, parts, weights, corpus, folder, int(config["seed"]), start)
    job: Job = JOBS[stage["objective"]](context)
    cost = _fit(job, context, checkpoint)
    if first_process():
        for slot, part in job.finish().items():
            save_component(
                part,
                folder / "parts" / slot,
                half=bool(stage["half"]),
                provenance={"stage": stage["name"], "key": key, "data": identity},
            )
            if job.complete:
                shutil.copytree(folder / "parts" / slot, out / "system" / slot, dirs_exist_ok=True)
        if job.complete:
            bound = {"tokenizer", "detokenizer"} & set(stage["trains"])  # what others have to be trained for anew
            given = {slot: path for slot, path in weights.items() if not bound or slot in parts}
            _complete_system(out / "system", parts, plan, given)
        write_json(folder / "state.json", {"key": key, "finished": True})
        remove_saved(checkpoint)
    if num_processes() > 1:
        distributed.barrier()
    return cost if first_process() else {}


def _required(stage: Mapping[str, Any], plan: Plan) -> list[str]:
    """The slots that must be trained before; an input style that names what it has learnt is one where it is used."""
    style = plan.nodes.get("input_style") if "input_style" in stage["uses"] else None
    is_learned = style is not None and issubclass(resolve(style.component), LearnedInputStyle)
    return [*stage["requires"], *(["input_style"] if is_learned else [])]


def first_process() -> bool:
    """Whether this process writes what a run leaves behind; of several that train together only one does."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _fit(job: Job, context: Context, checkpoint: Path) -> dict[str, Any]:
    settings = context.config["trainer"]
    cost = Cost(context.folder, job.module)
    saver = Saver(checkpoint, settings["checkpoint_minutes"])
    steps = len(job.train)  # type: ignore[arg-type]
    if settings["activation_checkpointing"]:
        checkpoint_activations(job.module)
    if settings["compile"]:
        compile_blocks(job.module)
    callbacks: list[lightning.Callback] = [cost, _Step(), _Shares(job), *job.callbacks, saver]
    if first_process():
        shown = Lines(context.config["stage"]["name"], steps, context.start)
        callbacks = [Curves(context.folder, settings["log_every"]), *callbacks, shown]
    every = min(steps, settings["valid_every"])
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its banners and tips; errors still show
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator=settings["accelerator"],
            devices=settings["devices"],
            num_nodes=settings["num_nodes"],
            strategy=strategy_of(settings),
            precision=settings["precision"],
            gradient_clip_val=None if not job.module.automatic_optimization else settings["gradient_clip"],
            max_epochs=1,
            val_check_interval=every if job.valid is not None else None,
            limit_val_batches=1.0 if job.valid is not None else 0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=callbacks,
        )
        loaders = [
            DataLoader(data, batch_size=None, num_workers=settings["num_workers"]) if data is not None else None
            for data in (job.train, job.valid)
        ]
        resumed = checkpoint if context.start else None
        trainer.fit(job.module, loaders[0], loaders[1], ckpt_path=resumed, weights_only=True)
    if trainer.interrupted:
        if trainer.world_size == 1:  # the other processes are gone, and saving would wait for them
            saver.save(trainer)
        raise KeyboardInterrupt
    gather(job.module, keep=first_process())
    return cost.write() if first_process() else {}


class _Shares(lightning.Callback):
    """Tells the data sets that can divide a batch which rows this process takes, before anything is read."""

    def __init__(self, job: Job) -> None:
        self.datasets: list[Any] = [data for data in (job.train, job.valid) if hasattr(data, "share")]

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        for data in self.datasets:
            data.share = Share(trainer.global_rank, trainer.world_size)


class _Step(lightning.Callback):
    """Puts the number of batches done into the checkpoint, so that resuming asks for the next one."""

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["omnikit_step"] = trainer.fit_loop.epoch_loop.batch_progress.current.ready


def _build(plan: Plan, weights: Mapping[str, Path], stage: Mapping[str, Any], alone: bool) -> dict[str, Component]:
    """The parts a stage uses: trained ones from their folders, new ones by the plan; nothing else is allocated.

    A process that does not stand `alone` gets its share of large parts from the first one (`sharding.deal`): here they
    have no memory, and nothing is read for them.
    """
    parts = {}
    for slot in slots_of(stage):
        if slot not in plan.nodes:
            continue
        design = resolve(plan.nodes[slot].component)
        absent = not alone and hasattr(design, "skeleton")
        place: AbstractContextManager[Any] = torch.device("meta") if absent else nullcontext()
        with naming_extras(plan.nodes[slot].component), place:
            parts[slot] = design(**plan.parameters[slot])
        if slot in weights and not absent:
            fill(parts[slot], weights[slot])
        parts[slot].requires_grad_(slot in stage["trains"])
    return parts


def _complete_system(folder: Path, parts: Mapping[str, Component], plan: Plan, weights: Mapping[str, Path]) -> None:
    """Add what a run did not train, so that its folder loads as a system: parts with `weights`, and those without."""
    for slot, trained in weights.items():
        if not (folder / slot).exists():
            shutil.copytree(trained, folder / slot)
    for slot, node in plan.nodes.items():
        cls = resolve(node.component)
        if (folder / slot).exists():
            continue
        part = parts.get(slot) or (cls(**plan.parameters[slot]) if slot in PARAMETERLESS else None)
        if part is not None and not any(True for _ in part.parameters()):
            save_component(part, folder / slot)
    wires = {"wires": [str(link.wire) for link in plan.links]}
    write_json(folder / "system.json", wires)


def _state(folder: Path, key: str, overwrite: bool) -> dict[str, Any]:
    path = folder / "state.json"
    if not path.exists():
        return {}
    state = json.loads(path.read_text())
    if overwrite:
        if first_process():
            shutil.rmtree(folder)
        return {}
    if state["key"] != key:
        raise OmnikitError(
            f"{folder} holds a run of another configuration (or other data).\n"
            "Give another folder (out=…), or start over in this one with overwrite=true."
        )
    return state
