"""Nothing that a config, a card, a checkpoint, a style file or an archive says is ever run."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component, save_component
from omnikit.cli import main
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError
from omnikit.system import System

PAYLOADS = (
    "os.system",
    "os/system",
    "builtins.open",
    "builtins/open",
    "builtins.eval",
    "pathlib.Path.write_text",
    "pathlib/path",
    "subprocess.run",
    "torch.hub.load",
    "numpy.load",
    "logging.os.system",
    "omnikit.cli.main",
    "tokenizer/../../os",
    "tokenizer/spiral_fsq:os",
    "style/none\n",
    "",
)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A file that only code which ran would make."""
    return tmp_path / "ran"


@pytest.fixture(autouse=True)
def nothing_ran(witness: Path) -> object:
    yield
    assert not witness.exists()


class Touch:
    """An object whose pickle makes the witness when it is loaded."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.witness,)


def part(folder: Path, **changes: object) -> Path:
    """A saved projector whose card was changed."""
    save_component(omnikit.create("projector/mlp", in_dim=3, out_dim=4), folder)
    card = folder / "component.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_id_is_looked_up_and_never_imported(payload: str, tmp_path: Path) -> None:
    with pytest.raises(OmnikitError):
        omnikit.create(payload)
    with pytest.raises(OmnikitError):
        omnikit.describe(payload)
    with pytest.raises(OmnikitError):
        load_component(part(tmp_path / "part", id=payload))
    with pytest.raises(OmnikitError):
        System.assemble({"style": payload})
    with pytest.raises(OmnikitError):
        omnikit.register(payload, Touch)


@pytest.mark.parametrize(
    "override",
    [
        "tokenizer._target_=os.system",
        "+tokenizer._target_=os.system",
        "++_target_=builtins.open",
        "+tokenizer._args_=[x]",
        "tokenizer=os.system",
        "tokenizer=../../../etc/passwd",
        "+experiment=os.system",
    ],
)
def test_an_override_cannot_bring_code(override: str) -> None:
    with pytest.raises(OmnikitError):
        compose_config("train", ["experiment=emova_tiny", override])


@pytest.mark.parametrize("component", ["os.system", "builtins.open", "pathlib.Path"])
def test_a_component_node_names_a_registered_id(component: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "experiment=emova_tiny", f"tokenizer.component={component}"]) == 2
    assert "Unknown component" in capsys.readouterr().err


VARIANT = """\
defaults: [label_centroid, _self_]
dim: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{witness}]]
"""


def test_a_plugins_variant_is_read_as_data(tmp_path: Path, witness: Path) -> None:
    info = tmp_path / "bad_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[omnikit.conf]\nbad = bad_plugin.conf\n")
    folder = tmp_path / "bad_plugin" / "conf" / "style"
    folder.mkdir(parents=True)
    (tmp_path / "bad_plugin" / "__init__.py").touch()
    (folder / "bad.yaml").write_text(VARIANT.format(witness=witness))
    code = (
        f"import sys\nsys.path.append({str(tmp_path)!r})\nfrom omnikit.cli.config import compose_config\n"
        "compose_config('train', ['style=bad'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "python/object/apply" in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "weights.ckpt", "weights.pt", "weights.bin"])
def test_a_pickle_is_never_loaded(name: str, tmp_path: Path, witness: Path) -> None:
    path = tmp_path / name
    for content in (pickle.dumps(Touch(witness)), pickle.dumps({"state_dict": {"x": Touch(witness)}})):
        path.write_bytes(content)
        with pytest.raises(OmnikitError):
            omnikit.load(str(path))
        assert main(["load", str(path), "--out", str(tmp_path / "out")]) == 2


def test_objects_among_pickled_tensors_are_never_made(tmp_path: Path, witness: Path) -> None:
    torch.save({"state_dict": {"x": torch.zeros(2), "y": Touch(witness)}}, tmp_path / "weights.ckpt")
    with pytest.raises(OmnikitError):
        omnikit.load(str(tmp_path / "weights.ckpt"))


def test_weights_that_are_a_pickle_are_refused(tmp_path: Path, witness: Path) -> None:
    folder = part(tmp_path / "part")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Touch(witness)))
    with pytest.raises(OmnikitError, match="no readable safetensors"):
        load_component(folder)


def test_a_style_file_that_is_a_pickle_is_refused(tmp_path: Path, witness: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(pickle.dumps(Touch(witness)))
    words = ["style", "import", str(tmp_path / "style.safetensors"), "--out", str(tmp_path / "part")]
    assert main(words) == 2


def test_parameters_of_a_card_are_data(tmp_path: Path, witness: Path) -> None:
    parameters = {"in_dim": 3, "out_dim": {"_target_": "pathlib.Path.touch", "_args_": [str(witness)]}, "depth": 1}
    with pytest.raises((OmnikitError, TypeError)):
        load_component(part(tmp_path / "part", parameters=parameters))
    style = omnikit.create("style/label_centroid", dim=2, space_id="${oc.env:PATH}")
    save_component(style, tmp_path / "style")
    assert load_component(tmp_path / "style").space_id == "${oc.env:PATH}"


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    save_component(omnikit.create("projector/mlp", in_dim=3, out_dim=4), tmp_path / "part")
    index = {"weight_map": {"net.0.weight": "../part/model.safetensors"}}
    (tmp_path / "inside" / "model.safetensors.index.json").write_text(json.dumps(index))
    from omnikit.published.files import read_tensors

    with pytest.raises(OmnikitError, match="no file beside it"):
        read_tensors(tmp_path / "inside")


@pytest.mark.parametrize("reference", ["../../etc", "/etc/passwd", "tokenizer/../../etc.tiny", "tiny#../../etc"])
def test_a_reference_cannot_lead_out(reference: str) -> None:
    with pytest.raises(OmnikitError):
        omnikit.load(reference)
