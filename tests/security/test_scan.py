"""`omnikit scan` sees what is unsafe, by bytes and not by names, and is silent about what is not."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import omnikit
from omnikit.artefacts import save_component
from omnikit.cli import main
from omnikit.errors import OmnikitError
from omnikit.scan import MAX_HEADER_BYTES, scan


def card(folder: Path, **changes: object) -> None:
    """The card of the part in `folder`, changed."""
    path = folder / "projector" / "component.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def archive(path: Path, name: str, link: str = "") -> None:
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        file.addfile(member, io.BytesIO(b""))


def zipped(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"x")


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


WAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle": (lambda at: (at / "x.bin").write_bytes(pickle.dumps([1])), "is a pickle"),
    "a pickle in disguise": (lambda at: (at / "x.safetensors").write_bytes(pickle.dumps([1])), "is a pickle"),
    "an old pickle": (lambda at: (at / "x.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR."), "is a pickle"),
    "torch.save": (lambda at: torch.save({"x": torch.zeros(1)}, at / "x.dat"), "checkpoint of torch.save"),
    "objects": (
        lambda at: np.save(at / "x.npy", np.array([{}], dtype=object), allow_pickle=1 == 1),
        "array of objects",
    ),
    "objects, zipped": (lambda at: np.savez(at / "x.npz", y=np.array([{}], dtype=object)), "arrays of objects (y.npy)"),
    "code": (lambda at: (at / "modeling.py").write_text("import os"), "holds code"),
    "remote code": (lambda at: (at / "config.json").write_text('{"auto_map": {}}'), "asks for code by name (auto_map)"),
    "a target": (
        lambda at: (at / "c.yaml").write_text("a:\n  _target_: os.system"),
        "asks for code by name (_target_)",
    ),
    "a tag": (lambda at: (at / "c.yaml").write_text("a: !!python/object/apply:os.system [x]"), "build Python objects"),
    "a link out": (lambda at: (at / "x").symlink_to("/etc/hosts"), "is a link to /etc/hosts"),
    "a folder linked out": (lambda at: (at / "x").symlink_to("/etc"), "is a link to /etc"),
    "a pipe": (lambda at: os.mkfifo(at / "x"), "is no plain file"),
    "a tar upwards": (lambda at: archive(at / "x.tar", "../x"), "would unpack ../x outside"),
    "a tar with a link": (lambda at: archive(at / "x.tar", "y", "/etc/hosts"), "holds the link y"),
    "a zip to the root": (lambda at: zipped(at / "x.zip", "/etc/x"), "would unpack /etc/x outside"),
    "a zip by backslash": (lambda at: zipped(at / "x.zip", "..\\x"), "outside its folder"),
    "a large header": (
        lambda at: (at / "x.safetensors").write_bytes(safetensors({}, length=MAX_HEADER_BYTES + 1)),
        "says that its header has 100,000,001 bytes",
    ),
    "no header": (lambda at: (at / "x.safetensors").write_bytes(safetensors([1])), "none of safetensors"),
    "overlapping tensors": (
        lambda at: (at / "x.safetensors").write_bytes(safetensors({"a": tensor(0, 4), "b": tensor(2, 6)}, b"123456")),
        "tensors that overlap",
    ),
    "tensors beyond the file": (
        lambda at: (at / "x.safetensors").write_bytes(safetensors({"a": tensor(0, 9)}, b"1234")),
        "go beyond the file",
    ),
    "an unknown id": (lambda at: card(at, id="os/system"), "which is no registered component"),
    "an id that is code": (lambda at: card(at, id="builtins.open"), "which is no registered component"),
    "another sha256": (lambda at: card(at, sha256="0" * 64), "another sha256"),
    "no sha256": (lambda at: card(at, sha256=None), "says no sha256"),
    "no weights": (lambda at: (at / "projector" / "model.safetensors").unlink(), "has no model.safetensors"),
    "no card": (lambda at: (at / "projector" / "component.json").write_text("[]"), "is no component card"),
    "a card of lists": (lambda at: card(at, id=["a"]), "is no component card"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean part."""
    save_component(omnikit.create("projector/mlp", in_dim=3, out_dim=4), tmp_path / "projector")
    return tmp_path


@pytest.mark.parametrize(("make", "words"), WAYS.values(), ids=WAYS)
def test_what_is_unsafe_is_found(folder: Path, make: Callable[[Path], object], words: str) -> None:
    assert scan(folder) == ([], 2)
    make(folder)
    findings, _ = scan(folder)
    assert [words in str(finding) for finding in findings] == [True], [str(finding) for finding in findings]


def test_the_box_is_clean() -> None:
    root = Path(omnikit.__file__).parent / "weights"
    findings, count = scan(root)
    assert findings == [] and count > 10


def test_the_verb_says_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(folder)]) == 0
    assert "nothing unsafe" in capsys.readouterr().out
    (folder / "x.bin").write_bytes(pickle.dumps([1]))
    assert main(["scan", str(folder), "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert record["files"] == 3 and record["findings"][0]["path"] == "x.bin"
    assert main(["scan", str(folder / "x.bin")]) == 3
    with pytest.raises(OmnikitError, match="does not exist"):
        scan(folder / "gone")
