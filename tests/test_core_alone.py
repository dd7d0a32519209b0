"""Without any extra: single parts are made, loaded, used and saved, and what an extra would bring is named.

The programs below run in a process that sees only what the core's own requirements install, whatever else is there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from omnikit.errors import EXTRA_OF

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

ONLY = """
import json, os, sys
from importlib.machinery import PathFinder

class Only(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_there = name.partition(".")[0] in ALLOWED
        return PathFinder.find_spec(name, path, target) if is_there else None

ALLOWED = set(json.loads(os.environ["ALLOWED_MODULES"])) | set(sys.stdlib_module_names)
sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in sys.meta_path]
"""

PARTS = """
from conformance.small_parameters import VARIANTS
import omnikit, omnikit.testing

told = {}
for component_id in omnikit.available():
    omnikit.describe(component_id)
    for name, parameters in VARIANTS.get(component_id, {"": {}}).items():
        full = omnikit.testing.subject(component_id, **parameters).parameters
        try:
            omnikit.create(component_id, **full)
            told[f"{component_id} {name}".strip()] = "made"
        except omnikit.OmnikitError as error:
            told[f"{component_id} {name}".strip()] = str(error)
print(json.dumps(told))
"""

USE = """
import torch
import omnikit
from omnikit.artefacts import load_component, save_component

audio = omnikit.Audio(torch.sin(torch.arange(16_000) * 0.1)[None], torch.tensor([16_000]), 16_000)
tokenizer = omnikit.load("tokenizer/spiral_fsq.tiny")
voice, style = omnikit.load("detokenizer/uvits.tiny"), omnikit.load("style/label_centroid.tiny")
units = tokenizer.encode(audio)
spoken = voice.decode(units, style.from_labels([{}]), torch.Generator().manual_seed(0))
variant = omnikit.create("tokenizer/spiral_vq_tiny", reduced=True)
save_component(tokenizer, FOLDER / "kept")
again = load_component(FOLDER / "kept").encode(audio)
path = FOLDER / "heard.wav"
from omnikit.data.media import load_audio, write_audio
heard = load_audio(write_audio(path, audio.wave[0].numpy(), 16_000), 16_000)
refused = []
for use in (lambda: omnikit.load("tiny"), lambda: __import__("omnikit.data.media").data.media.load_image("x.png", 8)):
    try:
        use()
    except omnikit.OmnikitError as error:
        refused.append(str(error))
print(json.dumps({
    "units": units.codes.shape[-1],
    "seconds": spoken.seconds,
    "variant": [variant.quantizer.num_codes, variant.layout],
    "kept": torch.equal(again.codes, units.codes),
    "heard": heard.seconds,
    "refused": refused,
    "seen": sorted({name.partition(".")[0] for name in sys.modules} & set(EXTRAS)),
}))
"""

COMMANDS = """
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from omnikit.cli import VERBS, main

def said(*words):
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stopped:
            code = stopped.code
    return [code, out.getvalue(), err.getvalue()]

print(json.dumps({
    "check": said("check", "experiment=emova_tiny"),
    "describe": said("describe", "tokenizer/spiral_fsq"),
    "ls": said("ls"),
    "verbs": {verb: said(verb, "--help") for verb in VERBS},
}))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: list[str]) -> set[str]:
    """Distributions that come with `names`, on this machine and without extras; those not installed have no needs."""
    found: set[str] = set()
    waiting = [canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except ModuleNotFoundError:
            continue
        needed = (Requirement(line) for line in lines)
        waiting += [canonical(item.name) for item in needed if not item.marker or item.marker.evaluate({"extra": ""})]
    return found


def alone(program: str, folder: Path) -> object:
    """What a program prints as JSON where only the core is installed."""
    distributions = closure([Requirement(line).name for line in PROJECT["dependencies"]])
    modules = {
        module
        for module, owners in packages_distributions().items()
        if any(canonical(owner) in distributions for owner in owners)
    }
    assert {"torch", "numpy", "soundfile", "soxr", "einops", "safetensors", "yaml"} <= modules
    assert not modules & set(EXTRA_OF)
    allowed = [*modules, "omnikit", "conformance"]
    environment = {**os.environ, "OMNIKIT_PLUGINS": "none", "ALLOWED_MODULES": json.dumps(allowed)}
    environment["PYTHONPATH"] = str(ROOT / "tests")
    prelude = f"{ONLY}\nfrom pathlib import Path\nFOLDER, EXTRAS = Path({str(folder)!r}), {sorted(EXTRA_OF)!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + program], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_part_is_made_or_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    told = alone(PARTS, tmp_path)
    assert isinstance(told, dict)
    needing = {name: said for name, said in told.items() if said != "made"}
    for name, said in needing.items():
        component_id = name.split()[0]
        assert re.fullmatch(
            rf"{component_id} needs (timm|tokenizers|transformers): pip install 'omnikit-core\[train\]'", said
        )
    assert {name.split("/")[0] for name in needing} == {
        "backbone", "projector", "speech_encoder", "tokenizer", "vision_encoder",
    }  # fmt: skip
    made = set(told) - set(needing)
    assert {"tokenizer/spiral_fsq reduced", "tokenizer/bottleneck vq", "detokenizer/cfm_mel"} <= made
    assert {"detokenizer/uvits reduced_hifigan", "detokenizer/uvits frame_istft"} <= made
    assert {name for name in needing if name.startswith("projector/")} == {"projector/qformer"}
    assert {name for name in needing if name.startswith("tokenizer/")} == {"tokenizer/bottleneck hubert"}
    assert not any(name.startswith(("style/", "format/", "input_style/")) for name in needing)


def test_trained_parts_are_loaded_used_and_saved(tmp_path: Path) -> None:
    told = alone(USE, tmp_path)
    assert isinstance(told, dict)
    assert told["units"] == 25
    assert 0.5 < told["seconds"][0] < 2.0
    assert told["variant"] == [4096, "reduced"]
    assert told["kept"] is True
    assert told["heard"] == [1.0]
    assert re.match(
        r"\S+/\S+ needs (timm|tokenizers|transformers): pip install 'omnikit-core\[train\]'", told["refused"][0]
    )
    assert told["refused"][1] == "Reading pictures needs PIL: pip install 'omnikit-core[train]'"
    assert told["seen"] == []


def test_commands_that_need_more_say_so_with_exit_code_2(tmp_path: Path) -> None:
    told = alone(COMMANDS, tmp_path)
    assert isinstance(told, dict)
    code, out, err = told["check"]
    assert (code, out) == (2, "")
    assert re.fullmatch(r"omnikit check needs (hydra|omegaconf): pip install 'omnikit-core\[train\]'\n", err)
    assert told["describe"][0] == 0
    assert "detokenizer/uvits" in told["ls"][1]
    assert told["ls"][0] == 0
    for verb, (code, _, err) in told["verbs"].items():
        assert code == 0 or (code == 2 and err.startswith(f"omnikit {verb} needs ")), (verb, code, err)


@pytest.mark.parametrize("module", sorted(EXTRA_OF))
def test_every_library_is_named_with_the_extra_that_brings_it(module: str) -> None:
    extra = PROJECT["optional-dependencies"][EXTRA_OF[module]]
    spelt = {"PIL": "pillow", "hydra": "hydra-core", "parselmouth": "praat-parselmouth"}
    assert canonical(spelt.get(module, module)) in {canonical(Requirement(line).name) for line in extra}
