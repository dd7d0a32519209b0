"""What is unsafe in a folder of weights, found by reading bytes: nothing of it is loaded, imported or run."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omnikit.artefacts import CARD, WEIGHTS
from omnikit.errors import OmnikitError
from omnikit.registry import entries, resolve

MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file, as the format says: https://github.com/huggingface/safetensors (format, 2023)."""
MAX_TEXT_BYTES = 50_000_000
_CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".bat", ".exe", ".ipynb"}
_TEXT = {".json", ".yaml", ".yml"}
_TARS = {".tar", ".tgz", ".gz", ".bz2", ".xz"}
_PICKLE_START = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_CALLS = (b"c__builtin__\n", b"cbuiltins\n", b"cos\n", b"cposix\n", b"csubprocess\n", b"ctorch")
_TARGETS = ("_target_", "auto_map", "custom_pipelines")


@dataclass(frozen=True)
class Finding:
    """Something unsafe: the path inside the folder, what it is, and what to do."""

    path: str
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.advice}"


def scan(root: Path) -> tuple[list[Finding], int]:
    """Every finding in a file or folder, and how many files were read. Raises `OmnikitError` where there is nothing."""
    if not root.exists():
        raise OmnikitError(f"{root} does not exist; give a file or a folder of weights.")
    base = root if root.is_dir() else root.parent
    findings, count = [], 0
    for path in _files(root):
        count += 1
        findings += [Finding(str(path.relative_to(base)), *found) for found in _look(path, base.resolve())]
    return findings, count


def _files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, folders, names in os.walk(root):
        yield from (Path(folder) / name for name in sorted(folders) if (Path(folder) / name).is_symlink())
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


Found = tuple[str, str]


def _look(path: Path, base: Path) -> Iterator[Found]:
    """What is unsafe about one file."""
    if path.is_symlink() and not path.resolve().is_relative_to(base):
        yield f"is a link to {path.resolve()}, outside the folder", "put the file itself there, or delete the link"
        return
    mode = path.stat().st_mode if path.exists() else 0
    if stat.S_ISDIR(mode):
        return
    if not stat.S_ISREG(mode):
        yield "is no plain file", "delete it"
        return
    if path.suffix.lower() in _CODE:
        yield "holds code, which omnikit never runs", "delete it, and do not run it yourself"
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
        for reader in (_pickle, _numpy, _archive, _safetensors, _text):
            yield from reader(path, start)
        if path.name == CARD:
            yield from _card(path)
    except OSError as error:
        yield f"cannot be read ({error.strerror})", "check its permissions, or delete it"


_CONVERT = "never load it with pickle; `omnikit load FILE --out FOLDER` reads its tensors as data"


def _pickle(path: Path, start: bytes) -> Iterator[Found]:
    is_new = start.startswith(_PICKLE_START)
    is_text = path.suffix.lower() in (*_CODE, *_TEXT, ".txt", ".md") or start.startswith(b"PK")
    if is_new or (not is_text and any(call in start for call in _CALLS)):
        yield "is a pickle, which runs code when it is loaded", _CONVERT


def _numpy(path: Path, start: bytes) -> Iterator[Found]:
    if start.startswith(b"\x93NUMPY") and b"|O" in start[:512]:
        yield "is a NumPy array of objects, which are pickles", "save it again as an array of numbers"


def _archive(path: Path, start: bytes) -> Iterator[Found]:
    """A zip or tar file: pickles in it, and members that would be unpacked outside."""
    names: list[str] = []
    links: list[str] = []
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            links = [item.filename for item in archive.infolist() if stat.S_ISLNK(item.external_attr >> 16)]
            if any(name.endswith(".pkl") for name in names):
                yield "is a checkpoint of torch.save, whose pickle runs code when it is loaded openly", _CONVERT
            objects = [name for name in names if name.endswith(".npy") and b"|O" in archive.open(name).read(512)]
            if objects:
                yield f"holds arrays of objects ({objects[0]}), which are pickles", "save them as arrays of numbers"
    elif (start[257:262] == b"ustar" or path.suffix.lower() in _TARS) and tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        names = [member.name for member in members]
        links = [member.name for member in members if member.issym() or member.islnk() or member.isdev()]
    out = [name for name in names if _leads_out(name)]
    if out:
        yield f"would unpack {out[0]} outside its folder", "do not unpack it"
    if links:
        yield f"holds the link {links[0]}", "do not unpack it"


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")


def _safetensors(path: Path, start: bytes) -> Iterator[Found]:
    """The header against the format: its size, and offsets that cover the data without gap or overlap."""
    if path.suffix.lower() != ".safetensors" or start.startswith(_PICKLE_START):
        return
    size, broken = path.stat().st_size, "get the file again from where it came"
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else size
    if length > MAX_HEADER_BYTES or length + 8 > size:
        yield f"says that its header has {length:,} bytes (of {size:,} in the file)", broken
        return
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    try:
        header = json.loads(text)
        spans = sorted(tuple(item["data_offsets"]) for name, item in header.items() if name != "__metadata__")
        ends = [0, *(end for _, end in spans)]
        fits = all(begin == before <= end for (begin, end), before in zip(spans, ends, strict=False))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        yield "has a header that is none of safetensors", broken
        return
    if not fits or ends[-1] != size - 8 - length:
        yield "has tensors that overlap, leave gaps or go beyond the file", broken


def _text(path: Path, start: bytes) -> Iterator[Found]:
    """JSON and YAML that ask for code by name."""
    if path.suffix.lower() not in _TEXT:
        return
    if path.stat().st_size > MAX_TEXT_BYTES:
        yield f"is larger than {MAX_TEXT_BYTES:,} bytes", "no settings are that long; delete it"
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    found = [word for word in _TARGETS if f'"{word}"' in text or f"\n{word}:" in f"\n{text}" or f" {word}:" in text]
    if found:
        yield f"asks for code by name ({found[0]})", "omnikit never follows it; do not trust other programs with it"
    if path.suffix.lower() != ".json" and ("!!python" in text or "tag:yaml.org,2002:python" in text):
        yield "holds YAML tags that build Python objects", "omnikit reads YAML as data; write plain values"


def _card(path: Path) -> Iterator[Found]:
    """A component's card: a known id that can be used, and weights that are those it was written for."""
    try:
        card: Any = json.loads(path.read_text(encoding="utf-8"))
        component_id, parameters, digest = card["id"], card["parameters"], card.get("sha256")
    except (ValueError, TypeError, KeyError, RecursionError):
        yield "is no component card", "get the part again from where it came"
        return
    if not isinstance(component_id, str) or not isinstance(parameters, dict):
        yield "is no component card: it needs an id and parameters", "get the part again from where it came"
        return
    try:
        resolve(component_id)
    except OmnikitError as error:
        known = "is broken" if component_id in entries() else "is no registered component"
        yield f"names {component_id!r:.60}, which {known}", str(error).splitlines()[-1].rstrip(".")
    weights = path.parent / WEIGHTS
    if not weights.is_file():
        yield f"has no {WEIGHTS} beside it", "get the part again from where it came"
    elif digest is None:
        yield "says no sha256 of its weights", "nobody can tell whether they were changed"
    elif digest != _sha256(weights, card.get("base")):
        yield f"says another sha256 than {WEIGHTS} has", "the weights were changed or damaged; get the part again"


def _sha256(path: Path, base: Any) -> str:
    """Of the weights; of a part that leans on a base, that and the base's together, as its card has it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not isinstance(base, dict):
        return digest
    return hashlib.sha256((digest + str(base.get("sha256"))).encode()).hexdigest()
