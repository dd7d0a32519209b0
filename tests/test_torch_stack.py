"""The import hook acts where compiled parts do not load, and only there. Each case runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FAKE_TORCH = """
class _Namespace:
    pass

class _Ops:
    torchvision = _Namespace()

ops = _Ops()
declared = []

class _Library:
    def __init__(self, namespace, kind):
        self.namespace, self.kind = namespace, kind
    def define(self, schema):
        declared.append((self.namespace, self.kind, schema))
        setattr(ops.torchvision, schema.split("(")[0], schema)

class library:
    Library = _Library
"""
SCHEMAS = [
    ("torchvision", "FRAGMENT", f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in ("nms", "qnms")
]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


def run(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter with the hook in place; fake modules in `folder` go before installed ones."""
    head = "import sys\nfrom omnikit._torch_stack import install\ninstall()\n"
    if folder is not None:
        head = f"import sys\nsys.path.insert(0, {str(folder)!r})\n" + head
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def answer(code: str, folder: Path | None = None) -> str:
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_torchvision(folder: Path, has_ops: bool) -> None:
    write(
        folder,
        {
            "torch/__init__.py": FAKE_TORCH,
            "torchvision/__init__.py": "from . import extension, _meta_registrations\n",
            "torchvision/extension.py": f"import torch\ndef _has_ops():\n    return {has_ops}\n",
            "torchvision/_meta_registrations.py": "import torch\nschema = torch.ops.torchvision.__dict__.get('nms')\n",
        },
    )


def fake_torchaudio(folder: Path, loading: str) -> None:
    write(
        folder,
        {
            "torchaudio/__init__.py": "from . import _extension\n",
            "torchaudio/_extension/__init__.py": f"""
                def _check_cuda_version():
                    raise RuntimeError("made for another CUDA")
                {loading}
                _IS_TORCHAUDIO_EXT_AVAILABLE = _IS_ALIGN_AVAILABLE = True
                fail_if_no_align = lambda function: function
            """,
        },
    )


def test_schemas_are_declared_before_torchvision_describes_the_operators(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, has_ops=False)
    code = """
        import torch, torchvision
        assert torchvision._meta_registrations.schema.startswith("nms(")
        print(torch.declared)
    """
    assert answer(code, tmp_path) == repr(SCHEMAS)


def test_what_is_declared_already_is_left_alone(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, has_ops=False)
    code = """
        import torch
        torch.ops.torchvision.nms = "from elsewhere"
        import torchvision
        print(torchvision._meta_registrations.schema, [schema[:4] for _, _, schema in torch.declared])
    """
    assert answer(code, tmp_path) == "from elsewhere ['qnms']"


def test_a_torchvision_with_operators_is_left_alone(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, has_ops=True)
    assert answer("import torch, torchvision\nprint(torch.declared)", tmp_path) == "[]"


@pytest.mark.parametrize(
    "failure",
    [
        "raise OSError('libcudart.so.13: cannot open shared object file')",
        "raise ImportError('undefined symbol')",
        "_check_cuda_version()",
    ],
)
def test_a_failing_extension_leaves_torchaudio_without_one(tmp_path: Path, failure: str) -> None:
    fake_torchaudio(tmp_path, failure)
    code = """
        import torchaudio
        extension = torchaudio._extension
        extension._check_cuda_version()
        @extension.fail_if_no_align
        def forced_align(x):
            return x
        try:
            forced_align(1)
        except RuntimeError as error:
            print(extension._IS_TORCHAUDIO_EXT_AVAILABLE, extension._IS_ALIGN_AVAILABLE, error)
    """
    assert answer(code, tmp_path).startswith("False False torchaudio's forced_align needs compiled operators")


def test_a_loading_extension_is_left_alone(tmp_path: Path) -> None:
    fake_torchaudio(tmp_path, "")
    code = """
        import torchaudio
        extension = torchaudio._extension
        print(extension._IS_TORCHAUDIO_EXT_AVAILABLE, extension.fail_if_no_align(abs)(-2), extension.__spec__.origin)
    """
    origin = tmp_path / "torchaudio" / "_extension" / "__init__.py"
    assert answer(code, tmp_path) == f"True 2 {origin}"


@pytest.mark.parametrize("failure", ["import not_installed_anywhere", "raise KeyError('a fault of another kind')"])
def test_other_faults_are_not_hidden(tmp_path: Path, failure: str) -> None:
    fake_torchaudio(tmp_path, failure)
    done = run("import torchaudio", tmp_path)
    assert done.returncode != 0
    assert "not_installed_anywhere" in done.stderr or "a fault of another kind" in done.stderr


def test_the_hook_imports_nothing_and_stands_once() -> None:
    code = """
        before = set(sys.modules)
        install()
        names = [type(finder).__name__ for finder in sys.meta_path]
        print(names.count("_TorchStackFinder"), names[0], sorted(set(sys.modules) - before))
    """
    assert answer(code) == "1 _TorchStackFinder []"


def test_the_installed_torchvision_can_be_imported_with_its_transforms() -> None:
    code = """
        import omnikit, torch, torchvision
        from torchvision.transforms.v2 import functional
        print(tuple(functional.resize(torch.zeros(3, 8, 8), [4, 6]).shape), hasattr(torch.ops.torchvision, "nms"))
    """
    assert answer(code) == "(3, 4, 6) True"
