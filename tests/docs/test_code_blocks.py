"""What the documentation shows works: Python runs, commands parse and compose, data is data."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from docs.code_blocks import PAGES, ROOT, Block, blocks_in, blocks_of, commands_of, inline_commands, num_marks
from omnikit import cli, registry
from omnikit.cli.ablate import study_config
from omnikit.cli.config import compose_config, sweep
from omnikit.data.media import write_audio
from omnikit.plugins import FILES_VARIABLE
from omnikit.variants import variants

LANGUAGES = {"", "sh", "python", "yaml", "json", "text"}
CONFIGS = {"check": "train", "train": "train", "info": "train", "why": "train", "probe": "probe", "eval": "eval"}
MADE_UP = {"my_codec": "bottleneck"}
"""Components that a page has its reader make, with one that composes in their place."""
FILE_NAME = re.compile(r"# (\w+\.py)\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would sit: a picture, a question, files of Python that pages show. What registers is forgotten."""
    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "scene.png")
    write_audio(tmp_path / "question.wav", noise.uniform(-0.1, 0.1, 16_000).astype(np.float32), 16_000)
    shutil.copy(ROOT / "conf" / "ablation" / "style_module.yaml", tmp_path / "question.yaml")
    for block in blocks_in("python"):
        if named := FILE_NAME.match(block.text):
            (tmp_path / named[1]).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILES_VARIABLE, "")
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    return tmp_path


@pytest.mark.parametrize("block", [block for block in blocks_in("python") if not block.not_run], ids=str)
def test_python_runs(block: Block, folder: Path) -> None:
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash reads the commands")
@pytest.mark.parametrize("block", blocks_in("sh"), ids=str)
def test_commands_are_ones_that_exist(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = commands_of(block.text, folder)
    assert commands
    for program, *words in commands:
        if program == "python" and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), f"{words[0]} does not exist"
        if program == "torchrun":
            at = words.index("-m")
            program, words = words[at + 1], words[at + 2 :]
        if program == "omnikit":
            verb, args = parsed(words, monkeypatch)
            compose(verb, args)


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, argparse.Namespace]:
    """A command line as the real command line reads it, stopped before it does anything."""
    found: list[argparse.Namespace] = []

    def keep(args: argparse.Namespace) -> int:
        found.append(args)
        return 0

    verb = words[0]
    assert verb in cli.VERBS, f"omnikit has no verb '{verb}'"
    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module(f"omnikit.cli.{verb}"), "run", keep)
        assert cli.main(words) == 0, f"omnikit {shlex.join(words)}"
    return verb, found[0]


def compose(verb: str, args: argparse.Namespace) -> None:
    """The config that the overrides of a command choose; raises for keys, groups and options that do not exist."""
    given = [_standing_in(item) for item in getattr(args, "overrides", []) if not _absent(item)]
    if verb == "ablate":
        config, cells = study_config(given, args.file)
        assert compose_config("cell", [*config["ablation"]["base"], *cells])
    elif verb in CONFIGS and getattr(args, "config", None) is None:
        chosen = sweep if getattr(args, "multirun", False) else compose_config
        assert chosen(CONFIGS[verb], given)


def _absent(override: str) -> bool:
    """Whether it chooses a part of a plugin of this repository that is not installed here."""
    slot, _, name = override.partition("=")
    if slot not in registry.slots() or f"{slot}/{name}" in {*registry.available(slot), *variants(slot)}:
        return False
    folders = ROOT.glob("plugins/*")
    return any(
        any(folder.glob(f"src/*/conf/{slot}/{name}.yaml"))
        or f'"{slot}/{name}"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
        for folder in folders
    )


def _standing_in(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}={MADE_UP.get(value, value)}"


@pytest.mark.parametrize(("page", "command"), inline_commands())
def test_commands_in_sentences_have_verbs_and_flags_that_exist(page: str, command: str) -> None:
    _, verb, *words = command.split()
    assert verb in cli.VERBS
    parser = argparse.ArgumentParser()
    importlib.import_module(f"omnikit.cli.{verb}").add_arguments(parser)
    known = {*options(parser), "--help", "--plugin", "--traceback"}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from options(below)


@pytest.mark.parametrize("block", [*blocks_in("yaml"), *blocks_in("json")], ids=str)
def test_data_is_data(block: Block) -> None:
    read: Any = yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)
    assert read


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    found = list(blocks_of(page))
    assert {block.language for block in found} <= LANGUAGES
    bare = [
        str(block) for block in found if not block.language and re.search(r"^(omnikit|import|from) ", block.text, re.M)
    ]
    assert not bare, f"name the language of {bare}, so that it is checked"
    assert num_marks(page) == sum(bool(block.not_run) for block in found), "a mark 'not run' without its block"
    indented = re.findall(r"(?m)^\n {4}(?:omnikit|import) .*", page.read_text(encoding="utf-8"))
    assert not indented, f"fence {indented}, so that it is checked"
