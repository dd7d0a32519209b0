"""Stands in for `omnikit train` and `omnikit eval` where a test is about processes: it writes what they would."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

import yaml

from omnikit.ablation.processes import end_with_parent

mode = os.environ.get("FAKE_MODE", "")
if mode != "loose":
    end_with_parent()
verb, arguments = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
config = yaml.safe_load(Path(arguments["--config"]).read_text())
with Path(os.environ["FAKE_LOG"]).open("a") as log:
    log.write(f"{verb} {Path(config.get('out', 'x')).name}\n")


def save_and_end(number: int, frame: object) -> None:
    (Path(config["out"]) / "saved").write_text("")
    sys.exit(130)


signal.signal(signal.SIGINT, signal.SIG_IGN if mode == "deaf" else save_and_end)
if verb == "eval":
    Path(arguments["--scores"]).write_text('{"metric": "x"}\n')
    sys.exit(0)
if mode == "fail":
    print("omnikit train: It cannot be.", file=sys.stderr)
    sys.exit(2)
print("tokenizer  step 1/2  loss 1.000  1.00 steps/s  0:01 left", flush=True)
run = Path(config["out"]) / "tokenizer"
part = run / "parts" / "tokenizer"
part.mkdir(parents=True, exist_ok=True)
if mode in ("slow", "loose", "deaf") and not (Path(config["out"]) / "saved").exists():
    time.sleep(20)
head = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
(part / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(24))
(part / "component.json").write_text("{}")
(run / "curves.csv").write_text("step,seconds,name,value\n1,0.5,loss,2.5\n")
cost = {"wall_s": 4.0, "process_s": 3.0, "steps": 2, "peak_memory_mb": 5, "peak_gpu_memory_mb": 0, "flops_per_step": 7}
(run / "cost.json").write_text(json.dumps(cost))
(run / "state.json").write_text('{"finished": true}')
