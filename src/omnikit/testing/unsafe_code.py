"""What of a source file could run code out of data: pickles, open loaders, Hydra's targets, remote code, eval."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_CALLS = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "torch.jit.load",
    "torch.hub.load",
    "builtins.eval",
    "builtins.exec",
}
_HYDRA = {f"hydra.utils.{name}" for name in ("instantiate", "call", "get_class", "get_method", "get_object")}
_FLAGS = (("weights_only", False), ("allow_pickle", True), ("trust_remote_code", True))


def unsafe_code(tree: ast.Module, may_load_weights: bool) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a parsed file that could run what it reads.

    `may_load_weights` allows `torch.load`, which reads tensors alone where `weights_only` is left as it is.
    """
    forbidden = _CALLS | _HYDRA | (set() if may_load_weights else {"torch.load"})
    full_names = {"eval": "builtins.eval", "exec": "builtins.exec"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full_names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            brought = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            full_names |= brought
            yield from ((node.lineno, full) for full in brought.values() if full in forbidden)
    refused = {
        id(node.left)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn | ast.Eq)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            full = f"{full_names.get(first, first)}.{rest}"
            if full in forbidden:
                yield node.lineno, full
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if full_names.get(node.func.id) in {"builtins.eval", "builtins.exec"}:
                yield node.lineno, node.func.id
        elif isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            if (node.arg, node.value.value) in _FLAGS:
                yield node.value.lineno, f"{node.arg}={node.value.value}"
        elif isinstance(node, ast.Constant) and node.value == "_target_" and id(node) not in refused:
            yield node.lineno, "_target_"
