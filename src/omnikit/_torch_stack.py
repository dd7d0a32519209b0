"""Lets torchvision and torchaudio be imported beside a torch build that their compiled parts were not made for.

The wheels of both on the package index link the CUDA libraries of one torch release. Beside a CPU build of torch, or
another release, the compiled parts do not load, and `import torchvision` or `import torchaudio` dies, and with it timm,
lightning and transformers. Everything that omnikit uses of them is plain Python. So, only where the compiled parts do
not load:

- before `torchvision._meta_registrations` runs, the schemas of the operators that it describes are declared;
- where `torchaudio._extension` fails, it is left as in a torchaudio that was built without its extension.

The hook imports nothing, and must stand before the first import of timm, lightning, transformers or torchaudio.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_DETECTION_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DETECTION_OPS = ("nms", "qnms")


def install() -> None:
    """Put the hook in front of Python's own finders; a second call changes nothing."""
    if not any(isinstance(finder, _TorchStackFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchStackFinder())


class _TorchStackFinder:
    """Finds the two modules as the other finders would, and runs them with a mend around."""

    def __init__(self) -> None:
        self._libraries: list[Any] = []  # a torch library's declarations live as long as the object

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        run = {
            "torchvision._meta_registrations": self._run_meta_registrations,
            "torchaudio._extension": _run_extension,
        }.get(fullname)
        if run is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _MendingLoader(spec.loader, run)  # type: ignore[assignment]
        return spec

    def _run_meta_registrations(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        extension, torch = sys.modules.get("torchvision.extension"), sys.modules.get("torch")
        if extension is not None and torch is not None and not extension._has_ops():
            missing = [name for name in _DETECTION_OPS if not hasattr(torch.ops.torchvision, name)]
            if missing:
                library = torch.library.Library("torchvision", "FRAGMENT")
                for name in missing:
                    library.define(name + _DETECTION_SCHEMA)
                self._libraries.append(library)
        execute(module)


class _MendingLoader:
    """A loader that hands the execution of its module to `run`, and is the wrapped loader in everything else."""

    def __init__(self, loader: Any, run: Callable[[Callable[[ModuleType], None], ModuleType], None]) -> None:
        self._loader = loader
        self._run = run

    def exec_module(self, module: ModuleType) -> None:
        self._run(self._loader.exec_module, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _run_extension(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        execute(module)
    except ModuleNotFoundError:
        raise  # something is not installed: no fault of the compiled part
    except (OSError, ImportError, RuntimeError):
        vars(module).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            _check_cuda_version=lambda: None,
            fail_if_no_align=_fail_if_no_align,
        )


def _fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
    """Replaces a function that needs torchaudio's alignment kernels by one that says so when it is called."""

    @wraps(function)
    def absent(*args: object, **kwargs: object) -> None:
        raise RuntimeError(
            f"torchaudio's {function.__name__} needs compiled operators, which do not load beside this torch; "
            "install the torch build that this torchaudio was made for."
        )

    return absent
