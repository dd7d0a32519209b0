"""Files of weights: containers are opened, code is never run, what is broken says so."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import omnikit
from omnikit.errors import WeightsError
from omnikit.published.files import read_tensors
from omnikit.published.names import below, plain, prefix_before


def leave_a_trace() -> None:
    """What a malicious pickle would run."""
    Path("ran-code").touch()


class Payload:
    """A pickle that calls a function of a module it names."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (leave_a_trace, ())


class Method:
    """A pickle that looks up what it calls."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran-code"),))


class Callback:
    """What trainers leave beside the weights: an object with a state, and its class as a key."""

    def __init__(self) -> None:
        self.best = 0.0293


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".pt", ".bin"])
def test_code_in_a_pickle_is_never_run(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"evil{suffix}"
    torch.save({"state_dict": {"a": torch.zeros(1), "b": Payload()}, "extra": Payload()}, path)
    assert list(read_tensors(path)) == ["a"]
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match="never runs code") as caught:
        read_tensors(path)
    assert len(str(caught.value).splitlines()) <= 8
    for refused in (Method(), os.system):
        torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": refused}, path)
        with pytest.raises(WeightsError, match="never runs code"):
            read_tensors(path)
    assert not (tmp_path / "ran-code").exists()


def test_what_a_trainer_left_beside_the_weights_is_left_out(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.ones(2)}, "callbacks": {Callback: {"best": 1.0}}, "settings": Callback()}
    torch.save(content, tmp_path / "x.ckpt")
    before = set(torch.serialization.get_safe_globals())
    assert torch.equal(read_tensors(tmp_path / "x.ckpt")["a"], torch.ones(2))
    assert set(torch.serialization.get_safe_globals()) == before


def test_containers_are_opened(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b.c": torch.zeros(1)}
    contents = [tensors, {"state_dict": tensors, "epoch": 3}, {"model": tensors}, {"model": {"state_dict": tensors}}]
    for content in contents:
        torch.save(content, tmp_path / "x.pth")
        found = read_tensors(tmp_path / "x.pth")
        assert list(found) == ["a", "b.c"] and torch.equal(found["a"], tensors["a"])
    save_file(tensors, tmp_path / "x.safetensors")
    assert sorted(read_tensors(tmp_path / "x.safetensors")) == ["a", "b.c"]


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_broken_and_missing_files_say_so(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    with pytest.raises(WeightsError, match="does not exist"):
        read_tensors(path)
    for content in (b"", b"no weights", b"\x80\x02" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=path.name):
            read_tensors(path)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "model": {"a": 3}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(tmp_path / "x.pt")
    torch.save([torch.zeros(1)], tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(tmp_path / "x.pt")


def test_a_file_of_another_model_says_what_is_known(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"layer\.weight(.|\n)*tokenizer/spiral_fsq"):
        omnikit.load(str(tmp_path / "x.safetensors"))


def test_spellings_become_one() -> None:
    assert plain("a.parametrizations.weight.original0") == "a.weight_g"
    assert plain("a.parametrizations.weight.original1") == "a.weight_v"
    assert plain("a.norm.GAMMA") == "a.norm.gamma" and plain("a.norm.BETA") == "a.norm.beta"
    assert plain("a.weight") == "a.weight" and plain("a.notGAMMA") == "a.notGAMMA"


def test_prefixes_are_found_and_taken_off() -> None:
    zero = torch.zeros(1)
    tensors = {"model.net.weight_g": zero, "model.net.bias": zero, "other": zero}
    assert prefix_before(tensors, "net.bias") == "model."
    assert prefix_before(tensors, "model.net.bias") == "" and prefix_before(tensors, "et.bias") is None
    assert sorted(below(tensors, "model.")) == ["net.bias", "net.weight_g"]
