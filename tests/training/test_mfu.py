"""`bench/mfu.py`: it runs on a CPU, counts what a batch takes, and knows devices by their names."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from omnikit.cli.config import compose_config

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def mfu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("mfu")


def test_a_tiny_model_on_a_cpu_is_measured(mfu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--accelerator cpu --precision 32-true --checkpoint --tokens 400 --peak 1e9 --warmups 1 --steps 1 --workers 0"
    )
    assert mfu.main(words.split()) == 0
    said = capsys.readouterr().out
    operations, seconds, share = (
        float(re.search(pattern, said)[1])  # type: ignore[index]
        for pattern in (r"operations of a step (\S+),", r"step (\S+) s,", r"utilisation (\S+)% of 1\.000e\+09")
    )
    assert share == pytest.approx(100 * operations / seconds / 1e9, rel=0.02)
    parts = dict(re.findall(r"(\w[\w ]*) (\d+\.\d)%", said.split("time of a step: ")[1]))
    assert list(parts) == ["attention", "matrix products", "optimiser", "data", "rest"]
    assert sum(map(float, parts.values())) == pytest.approx(100, abs=0.5)
    assert all(float(parts[name]) > 0 for name in ("matrix products", "data"))


def test_padding_and_other_samples_are_no_work_of_a_sample(mfu: Any, tmp_path: Path) -> None:
    settings = compose_config("train", ["stage=align"])["stage"]["settings"]
    stage = mfu.stage_of(mfu.SIZES["tiny"], True, settings, 2).train()
    mfu.write_corpus(tmp_path / "corpus", 8, mfu.EYES[True]["image_size"])
    mfu.write_shards(tmp_path / "corpus", tmp_path / "shards", "tar")
    mixture = settings["mixture"]
    apart, whole = (mfu.batches_of(stage, tmp_path / "shards", mixture, 1500, 1, own)[0] for own in (True, False))
    assert apart.rest and not whole.rest and {source for source, _ in whole.drawn} == set(mixture)
    flops = [mfu.count_flops(stage, batch, False) for batch in (apart, whole)]
    blocks = sum(weight.numel() for weight in stage.backbone.model.layers.parameters() if weight.ndim == 2)
    tokens = sum(own for _, own in whole.drawn)
    assert 6 * blocks * tokens < flops[0] <= flops[1] < 1.2 * flops[0]
    assert all(weight.grad is None for weight in stage.parameters())


def test_sizes_and_devices_go_by_name(mfu: Any) -> None:
    sizes = "hidden=64,layers=2,heads=2,kv_heads=1,intermediate=128"
    assert mfu.size_of(sizes) == mfu.size_of("tiny") and mfu.size_of("3b")["layers"] == 36
    for wrong in ("3c", "hidden=64", sizes.replace("128", "many")):
        with pytest.raises(argparse.ArgumentTypeError, match=r"tiny, 0\.5b"):
            mfu.size_of(wrong)
    names = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12, "NVIDIA A100-SXM4-80GB": 312e12}
    assert {name: mfu.peak_of(name) for name in names} == names
    assert mfu.peak_of("NVIDIA L4") == 121e12 and mfu.peak_of("NVIDIA L40") is None
    with pytest.raises(SystemExit):
        mfu.main(["--accelerator", "cpu"])
