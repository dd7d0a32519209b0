"""Every example runs and shows what it promises."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from omnikit import System, registry
from omnikit.data.media import write_audio
from omnikit.slots.backbone import Segment
from omnikit.types import Images, SpokenTurn, Style, Units
from omnikit.wiring import Node

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGIN = EXAMPLES / "third_party_plugin"


def example(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_swap_a_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    example(EXAMPLES / "swap_a_tokenizer.py").main()
    said = capsys.readouterr().out
    assert re.search(r"backbone\.codebooks += \[4096\] +from tokenizer\.units\.codebooks", said)
    assert "detokenizer.codebooks: (4096,) → (125,)" in said
    assert re.search(r"\n  backbone: \d+ → \d+\n", said)
    refusal = said.split("before a weight is made:\n")[1]
    assert "layout differs" in refusal
    assert "Fits with: detokenizer.layout=reduced" in refusal


def test_one_component_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050)
    path = write_audio(tmp_path / "tone.wav", wave.astype(np.float32), 22_050)
    main = example(EXAMPLES / "one_component_alone.py").main
    assert main([str(path)]) == 0
    units, durations = capsys.readouterr().out.splitlines()[1:]
    ids, frames = ([int(item) for item in re.findall(r"\d+", line.partition("(")[0])] for line in (units, durations))
    assert len(ids) == len(frames)
    assert sum(frames) == 25
    assert main([str(tmp_path / "missing.wav")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_reply_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taught_system().save(tmp_path / "system")
    path = tmp_path / "reply.wav"
    example(EXAMPLES / "reply_in_python.py").main("hi", str(path), str(tmp_path / "system"))
    assert capsys.readouterr().out.strip() == "ok {'emotion': 'sad'}"
    sound = soundfile.info(path)
    assert sound.samplerate == 16_000
    assert sound.frames > 0


def taught_system() -> System:
    """A small system whose backbone has learnt one answer by heart."""
    small = example(EXAMPLES / "swap_a_tokenizer.py")
    chosen = small.choose({"levels": [5, 5], "reduced": False}, layout="frame")
    chosen["style"] = Node("style/label_centroid", {"dim": 16, "factors": {"emotion": ["neutral", "sad"]}})
    chosen["format"] = Node("format/json", {"factors": ["emotion"]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = System.assemble(chosen)
    backbone, form = system.part("backbone"), system.part("format")
    codes = torch.tensor([[[3, 1, 4]]])
    units = Units(codes, torch.tensor([3]), backbone.codebooks, backbone.unit_rate, backbone.vocab_id)
    turn = SpokenTurn(text="ok", style=Style(labels=({"emotion": "sad"},)), units=units)
    lesson = [*form.prompt("dialogue", [Segment(text="hi")]), *form.target("dialogue", turn, backbone)]
    optimizer = torch.optim.Adam(backbone.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = backbone.loss([lesson]).total
        loss.backward()
        optimizer.step()
        if float(loss.detach()) < 0.02:
            break
    return system


def test_third_party_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((component_id, target),) = points["omnikit.components"].items()
    monkeypatch.syspath_prepend(PLUGIN / "src")
    module_name, class_name = target.split(":")
    cls = getattr(importlib.import_module(module_name), class_name)
    monkeypatch.setitem(registry._registered, component_id, cls)
    example(PLUGIN / "tests" / "test_conformance.py").test_conformance()

    chosen = example(EXAMPLES / "swap_a_tokenizer.py").choose({"reduced": False}, layout="frame")
    system = System.assemble({**chosen, "projector": component_id})
    derived = {f"{item.slot}.{item.parameter}": item.value for item in system.plan.derivations}
    assert derived["projector.num_patches"] == 16
    assert system.see(Images(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))).shape == (4, 64)
