"""One training run: negotiate, build what the stage needs, train with Lightning, write the trained parts.

The same command again resumes an interrupted run from its last checkpoint and does nothing when the run is finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed
from torch.utils.data import DataLoader

from omnikit.artefacts import fill, read_card, read_checkpoint, save_component
from omnikit.data.corpus import read_summary
from omnikit.data.shares import Share
from omnikit.errors import OmnikitError
from omnikit.nn.processes import num_processes
from omnikit.registry import resolve
from omnikit.slots.base import Component
from omnikit.training.choices import plan_of
from omnikit.training.job import Context, Job
from omnikit.training.jobs import JOBS
from omnikit.training.progress import Lines, Saver
from omnikit.training.records import Cost, Curves, start_record, write_json
from omnikit.wiring import Plan

CHANGE_RESULTS = ("precision", "gradient_clip")
"""Settings of the trainer that change what is learnt; the others say where and how fast."""
SHOW_RESULTS = ("media",)
"""Settings of a stage that change only what is shown while it trains."""


def run_stage(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train the stage that a resolved config names; returns its cost record.

    Raises `OmnikitError` for anything that can be known to be wrong before training starts.
    """
    stage, out = config["stage"], Path(config["out"])
    folder = out / stage["name"]
    corpus = Path(config["data"]["path"])
    summary = read_summary(corpus)
    identity = {"sha256": summary.content_sha256, "seed": summary.seed, "hours": summary.hours}
    earlier = [out / name / "parts" for name in stage["after"]]
    plan, weights = plan_of(config, earlier)
    missing = [slot for slot in stage["requires"] if slot not in weights]
    if missing:
        raise OmnikitError(
            f"Stage {stage['name']} needs a trained {' and '.join(missing)}.\n"
            f"Train it first (stages before this one: {', '.join(stage['after'])}), or name weights: "
            f"{missing[0]}.weights=PATH or weights=tiny."
        )
    key = _key(config, identity, plan, weights)
    state = _state(folder, key, bool(config["overwrite"]))
    if state.get("finished") and not first_process():
        return {}
    if state.get("finished"):
        print(f"{folder} is finished; its parts are in {folder / 'parts'}. Start over with overwrite=true.")
        return json.loads((folder / "cost.json").read_text())
    seed_everything(int(config["seed"]), verbose=False)
    parts = _build(plan, weights, stage)
    if first_process():
        if not state:
            start_record(folder, config, {"path": str(corpus), **identity})
        write_json(folder / "state.json", {"key": key, "finished": False})
    checkpoint = folder / "last.ckpt"
    start = int(read_checkpoint(checkpoint)["omnikit_step"]) if state and checkpoint.exists() else 0
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
            _complete_system(out / "system", parts, plan)
        write_json(folder / "state.json", {"key": key, "finished": True})
        checkpoint.unlink(missing_ok=True)
    if num_processes() > 1:
        distributed.barrier()
    return cost if first_process() else {}


def first_process() -> bool:
    """Whether this process writes what a run leaves behind; of several that train together only one does."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _fit(job: Job, context: Context, checkpoint: Path) -> dict[str, Any]:
    settings = context.config["trainer"]
    cost = Cost(context.folder, job.module)
    saver = Saver(checkpoint, settings["checkpoint_minutes"])
    steps = len(job.train)  # type: ignore[arg-type]
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
            strategy=_strategy(settings),
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
    return cost.write() if first_process() else {}


def _strategy(settings: Mapping[str, Any]) -> str:
    """`auto` with several devices: data parallel, minding weights that a step leaves out (layers dropped at random)."""
    devices = settings["devices"]
    one = torch.cuda.device_count() < 2 if devices == "auto" else str(devices) in ("1", "[0]")
    return settings["strategy"] if settings["strategy"] != "auto" or one else "ddp_find_unused_parameters_true"


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


def _build(plan: Plan, weights: Mapping[str, Path], stage: Mapping[str, Any]) -> dict[str, Component]:
    """The parts a stage uses: trained ones from their folders, new ones by the plan; nothing else is allocated."""
    parts = {}
    for slot in _slots_of(stage):
        if slot not in plan.nodes:
            continue
        parts[slot] = resolve(plan.nodes[slot].component)(**plan.parameters[slot])
        if slot in weights:
            fill(parts[slot], weights[slot])
        parts[slot].requires_grad_(slot in stage["trains"])
    return parts


def _complete_system(folder: Path, parts: Mapping[str, Component], plan: Plan) -> None:
    """Write the parts that have nothing to train, so that the folder of a finished run loads as a system."""
    for slot, node in plan.nodes.items():
        cls = resolve(node.component)
        if (folder / slot).exists():
            continue
        part = parts.get(slot) or (
            cls(**plan.parameters[slot]) if slot in ("format", "speech_encoder", "style") else None
        )
        if part is not None and not any(True for _ in part.parameters()):
            save_component(part, folder / slot)
    wires = {"wires": [str(link.wire) for link in plan.links]}
    write_json(folder / "system.json", wires)


def _slots_of(stage: Mapping[str, Any]) -> list[str]:
    """The slots that a stage touches; no other part of the system can change its result."""
    return list(dict.fromkeys((*stage["trains"], *stage["requires"], *stage["uses"])))


def _key(config: Mapping[str, Any], identity: Mapping[str, Any], plan: Plan, weights: Mapping[str, Path]) -> str:
    """Hash of everything that can change the result: the stage, its parts and their weights, the data, the seed."""
    parts = {
        slot: {
            "component": plan.nodes[slot].component,
            "parameters": plan.parameters[slot],
            "weights": read_card(weights[slot])["sha256"] if slot in weights else None,
        }
        for slot in _slots_of(config["stage"])
        if slot in plan.nodes
    }
    settings = {name: value for name, value in config["stage"]["settings"].items() if name not in SHOW_RESULTS}
    kept = {
        "stage": {**config["stage"], "settings": settings},
        "seed": config["seed"],
        "trainer": {name: config["trainer"][name] for name in CHANGE_RESULTS},
        "parts": parts,
        "data": {**config["data"], "path": None, "identity": identity},
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


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
