"""Names of tensors as different tools write them: prefixes of wrappers, spellings of weight norm and of layer norms."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from omnikit.errors import WeightsError

_SPELLINGS = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
    "GAMMA": "gamma",
    "BETA": "beta",
}
_LEFTOVERS = ("_wer.", "_metric.")


def plain(name: str) -> str:
    """One spelling for all: weight norm as `weight_g` and `weight_v`, affine norms as `gamma` and `beta`."""
    for written, spelling in _SPELLINGS.items():
        if name == written or name.endswith(f".{written}"):
            return name.removesuffix(written) + spelling
    return name


def prefix_before(tensors: Mapping[str, Tensor], anchor: str) -> str | None:
    """What stands before `anchor` (a plain name) in the names of a file, None where it is not there.

    Raises `WeightsError` where it is there several times.
    """
    found = [name for name in tensors if plain(name) == anchor or plain(name).endswith(f".{anchor}")]
    if len(found) > 1:
        raise WeightsError(
            f"The file holds {anchor} {len(found)} times: {', '.join(found[:3])}.\n"
            "Give a file with one such model in it."
        )
    return plain(found[0]).removesuffix(anchor) if found else None


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix` without it, in plain spelling; what metrics of a training left there is dropped.

    Raises `WeightsError` for a tensor that is there in two spellings.
    """
    found: dict[str, Tensor] = {}
    for written, tensor in tensors.items():
        if not written.startswith(prefix) or written[len(prefix) :].startswith(_LEFTOVERS):
            continue
        name = plain(written[len(prefix) :])
        if name in found:
            raise WeightsError(f"The file holds {prefix}{name} in two spellings; one of them must go.")
        found[name] = tensor
    return found
