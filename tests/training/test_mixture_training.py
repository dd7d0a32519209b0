"""A language stage that learns from shards: interrupted and whole, and what it says of its data."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training.conftest import SMALL

import omnikit
from omnikit.cli import main
from omnikit.data.language_batches import LanguageBatch
from omnikit.data.media import load_images
from omnikit.data.packing import Skipped
from omnikit.errors import DataError
from omnikit.training import progress, reading
from omnikit.training.mixtures import Source, sources_of

MIXED = (
    "stage=align",
    "recipe.align.sources.asr=[{speech:3},{dialogue:1}]",
    "recipe.align.sources.caption=[caption]",
    "recipe.align.sources.dialogue=[vqa]",
    "recipe.align.optim.steps=5",
    "recipe.align.misread=0.1",
    "trainer.checkpoint_minutes=0",
    "stage.half=false",
)


class _Stop(Exception):
    pass


@pytest.fixture(scope="module")
def tokenizer(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heard")
    assert main(["train", *SMALL, "stage=tokenizer", f"data.path={small_corpus}", f"out={out}"]) == 0
    return out / "tokenizer" / "parts" / "tokenizer"


def words(corpus: Path, tokenizer: Path, out: Path, *more: str) -> list[str]:
    return ["train", *SMALL, *MIXED, f"tokenizer.weights={tokenizer}", f"data.path={corpus}", f"out={out}", *more]


@pytest.fixture(scope="module")
def shards(small_corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    units, made = (tmp_path_factory.mktemp(name) for name in ("units", "shards"))
    heard = [f"--tokenizer={tokenizer}", f"--corpus={small_corpus}", f"--out={units}"]
    assert main(["data", "units", *heard]) == 0
    assert main(["data", "shard", f"--corpus={small_corpus}", f"--out={made}", f"--units={units}", "--records=7"]) == 0
    return f"data.shards=['{made}/*.tar']"


def stop_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    save, done = progress.Saver.save, [0]

    def save_then_die(self: progress.Saver, trainer: object) -> None:
        save(self, trainer)
        done[0] += 1
        if done[0] == saves:
            monkeypatch.setattr(progress.Saver, "save", save)
            raise _Stop

    monkeypatch.setattr(progress.Saver, "save", save_then_die)


def test_a_run_on_shards_that_was_interrupted_ends_as_one_that_was_not(
    small_corpus: Path, tokenizer: Path, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*words(small_corpus, tokenizer, whole, shards), "--traceback"]) == 0
    stop_after(monkeypatch, saves=2)
    with pytest.raises(_Stop):
        main(words(small_corpus, tokenizer, broken, shards, "trainer.num_workers=2"))
    assert main([*words(small_corpus, tokenizer, broken, shards), "--traceback"]) == 0
    left, right = (omnikit.load(f"{folder / 'system'}#backbone").state_dict() for folder in (whole, broken))
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-4, atol=1e-6, msg=name)
    told = [json.loads((folder / "align" / "mixture.json").read_text()) for folder in (whole, broken)]
    assert told[0] == told[1]
    sources, tasks = told[0]["sources"], told[0]["tasks"]
    assert set(sources) == {
        "caption/caption",
        "dialogue/vqa",
        "asr/speech",
        "asr/dialogue",
        "tts/reading+voice+dialogue",
    }
    assert sources["asr/speech"]["tokens"] > sources["asr/dialogue"]["tokens"] > 0
    assert sum(tasks.values()) == pytest.approx(1, abs=1e-3) and tasks["dialogue"] == pytest.approx(0.4, abs=0.1)
    assert 0.7 < told[0]["batches_full"] <= 1


def break_pictures(path: Path) -> set[str]:
    """Cut off every second picture of a tar shard; how those are named where they are left out."""
    with tarfile.open(path) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    broken = set([name for name, _ in members if name.endswith(".png")][::2])
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            kept = data[:40] if name in broken else data
            member.size = len(kept)
            archive.addfile(member, io.BytesIO(kept))
    return {f"{path.name}:{name.split('.')[0]}/{name}" for name in broken}


def test_broken_pictures_are_left_out_named_and_too_many_stop_the_run(
    small_corpus: Path,
    tokenizer: Path,
    shards: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(Path(shards.split("'")[1]).parent, torn)
    broken = set().union(*(break_pictures(path) for path in sorted(torn.glob("caption.train-*.tar"))))
    given = words(small_corpus, tokenizer, tmp_path / "out", f"data.shards=['{torn}/*.tar']")
    assert main([*given, "--traceback"]) == 0
    told = json.loads((tmp_path / "out" / "align" / "mixture.json").read_text())
    assert f"{len(told['skipped'])} samples were left out: " in capsys.readouterr().err
    assert set(told["skipped"]) == broken and broken
    assert all("cannot be read" in reason for reason in told["skipped"].values())
    assert told["sources"]["caption/caption"]["samples"] > 0
    monkeypatch.setattr(reading, "MIN_SKIPPED", 1)
    monkeypatch.setattr(reading, "MAX_SKIPPED", 0.0)
    assert main([*given, "overwrite=true"]) == 2
    said = capsys.readouterr().err
    assert "samples could not be used" in said and "were drawn; the last:" in said and "cannot be read" in said
    assert not (tmp_path / "out" / "align" / "mixture.json").exists()


def test_a_tenth_of_many_samples_may_be_left_out(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(
        fit_loop=SimpleNamespace(
            epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=1)))
        )
    )
    lines = [Skipped(f"{number}.png", "cannot be read") for number in range(200)]

    def read(drawn: int, skipped: int) -> reading.Reading:
        counted = reading.Reading(tmp_path, batch_tokens=9, resumed=False)
        pair = (("caption/caption", 3),)
        batch = LanguageBatch((), (), load_images([], 8), drawn=pair * drawn, skipped=tuple(lines[:skipped]))
        counted.on_train_batch_end(trainer, None, None, batch, 0)
        return counted

    assert len(read(100, 99).skipped) == 99, "few are no reason to stop"
    assert len(read(1001, 100).skipped) == 100, "nor is less than a tenth"
    with pytest.raises(DataError, match=r"100 samples could not be used, 1000 were drawn; the last:\n96\.png: cannot"):
        read(1000, 100)
    with pytest.raises(DataError, match="200 samples"):
        read(1500, 200)


def test_units_of_another_tokenizer_are_refused(
    small_corpus: Path, shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", *SMALL, "seed=9", f"data.path={small_corpus}", f"out={tmp_path}"]
    assert main([*line, "stage=tokenizer"]) == 0
    assert main([*line, *MIXED, shards]) == 2
    assert "hold units of" in capsys.readouterr().err


def test_what_is_drawn_anew_goes_on_where_it_was_interrupted(
    small_corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = (
        "recipe.align.sources.caption=[drawn_caption]",
        "recipe.align.sources.dialogue=[{drawn_vqa:2},{vqa:1}]",
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*words(small_corpus, tokenizer, whole, *drawn), "--traceback"]) == 0
    stop_after(monkeypatch, saves=2)
    with pytest.raises(_Stop):
        main(words(small_corpus, tokenizer, broken, *drawn, "trainer.num_workers=2"))
    assert main([*words(small_corpus, tokenizer, broken, *drawn), "--traceback"]) == 0
    left, right = (omnikit.load(f"{folder / 'system'}#backbone").state_dict() for folder in (whole, broken))
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-4, atol=1e-6, msg=name)
    told = [json.loads((folder / "align" / "mixture.json").read_text()) for folder in (whole, broken)]
    assert told[0] == told[1]
    assert {"caption/drawn_caption", "dialogue/drawn_vqa", "dialogue/vqa"} < set(told[0]["sources"])


def test_nothing_is_drawn_beside_shards(
    small_corpus: Path, tokenizer: Path, shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = "recipe.align.sources.dialogue=[drawn_vqa]"
    assert main(words(small_corpus, tokenizer, tmp_path, shards, drawn)) == 2
    assert "recipe.align.sources.dialogue=[vqa]" in capsys.readouterr().err


def test_a_recipe_names_sources_by_list_or_by_weight() -> None:
    settings = {
        "mixture": {"asr": 3.0, "tts": 1.0, "caption": 0.0},
        "sources": {"asr": [{"speech": 2}, {"dialogue": 1}, {"voice": 0}], "tts": ["voice", "dialogue"]},
    }
    assert sources_of(settings, "sft") == [
        Source("asr", ("speech",), 0.5),
        Source("asr", ("dialogue",), 0.25),
        Source("tts", ("voice", "dialogue"), 0.25),
    ]
    with pytest.raises(DataError, match=r"recipe.sft.sources.caption=\[dialogue\]"):
        sources_of({"mixture": {"caption": 1}, "sources": {}}, "sft")
    with pytest.raises(DataError, match="a weight, or none"):
        sources_of({"mixture": {"asr": 1}, "sources": {"asr": ["voice", {"speech": 1}]}}, "sft")
    with pytest.raises(DataError, match="where some are drawn anew"):
        sources_of({"mixture": {"caption": 1}, "sources": {"caption": ["caption", "drawn_caption"]}}, "sft")
    with pytest.raises(DataError, match="no task a weight"):
        sources_of({"mixture": {"caption": 0}, "sources": {}}, "sft")
