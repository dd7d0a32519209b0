"""Systems and components under a repository and a revision, and parts that lean on others; no network is used."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component, read_card, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit.slots.base import Component
from omnikit.system import System, push_to_hub, save_pretrained

REVISION = "0123abc"


@dataclass
class FakeHub:
    """Keeps what is sent in a folder, and hands out copies of what is asked for."""

    root: Path
    asked: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def HfApi(self) -> FakeHub:
        return self

    def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok

    def upload_folder(self, repo_id: str, folder_path: str, commit_message: str, allow_patterns: list[str]) -> Any:
        shutil.copytree(folder_path, self.root / repo_id / REVISION)
        for path in (self.root / repo_id / REVISION).rglob("*"):
            assert path.is_dir() or any(fnmatch(path.name, pattern) for pattern in allow_patterns), path
        return SimpleNamespace(oid=REVISION)

    def snapshot_download(self, repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        self.asked.append((repo, revision, allow_patterns))
        there = self.root / repo / revision
        if not there.is_dir():
            raise OSError(f"404: {repo} at {revision}\nmore about it")
        got = self.root / "cache" / str(len(self.asked))
        for path in there.rglob("*"):
            name = str(path.relative_to(there))
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (got / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, got / name)
        got.mkdir(parents=True, exist_ok=True)
        return str(got)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr("omnikit.hub.extra", lambda *_: fake)
    return fake


@pytest.fixture
def system() -> System:
    torch.manual_seed(0)
    parts: dict[str, Component] = {
        "vision_encoder": omnikit.create("vision_encoder/qwen2_vit", dim=16, depth=1, heads=2, out_dim=8, patch_size=4),
        "projector": omnikit.create("projector/mlp", in_dim=8, out_dim=12),
        "format": omnikit.create("format/emova_json"),
    }
    return System.of({slot: part.eval() for slot, part in parts.items()})


def same(one: Component, other: Component) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_was_sent_loads_again_whole_and_in_parts(hub: FakeHub, system: System) -> None:
    reference = system.push_to_hub("somebody/small", licence="Apache-2.0")
    assert reference == f"hf:somebody/small@{REVISION}"
    for back in (omnikit.load(reference), System.from_pretrained(reference)):
        assert set(back.parts) == set(system.parts)
        assert all(same(back.part(slot), part) for slot, part in system.parts.items())
    hub.asked.clear()
    assert same(omnikit.load(f"{reference}#projector"), system.part("projector"))
    ((_, revision, patterns),) = hub.asked
    assert revision == REVISION and all(pattern.startswith("projector/") for pattern in patterns)


def test_a_component_alone_can_be_sent(hub: FakeHub, system: System) -> None:
    reference = push_to_hub(system.part("projector"), "somebody/projector", licence="Apache-2.0")
    assert same(omnikit.load(reference), system.part("projector"))
    with pytest.raises(WeightsError, match="one component"):
        System.from_pretrained(reference)


def test_weights_of_the_hub_say_their_licence_or_the_caller_does(hub: FakeHub, system: System) -> None:
    reference = push_to_hub(system.part("projector"), "somebody/projector", licence="CC-BY-4.0")
    path = hub.root / "somebody" / "projector" / REVISION / "component.json"
    card = json.loads(path.read_text())
    assert card["provenance"] == {"licence": "CC-BY-4.0"}
    path.write_text(json.dumps({**card, "provenance": {}}))
    with pytest.raises(WeightsError, match="declares no licence for projector/mlp"):
        omnikit.load(reference)
    assert same(omnikit.load(reference, licence="CC-BY-4.0"), system.part("projector"))
    path.write_text(json.dumps({**card, "provenance": {"license": "mit"}}))
    assert same(omnikit.load(reference), system.part("projector"))


@pytest.mark.parametrize("reference", ["hf:somebody/small", "hf:small@main", "hf:somebody/small@"])
def test_a_reference_names_its_revision(hub: FakeHub, reference: str) -> None:
    with pytest.raises(OmnikitError, match="@revision"):
        omnikit.load(reference)


def test_what_cannot_be_had_is_said(hub: FakeHub, system: System) -> None:
    with pytest.raises(OmnikitError, match="404: nobody/nothing"):
        omnikit.load("hf:nobody/nothing@main")
    reference = system.push_to_hub("somebody/small", licence="Apache-2.0")
    with pytest.raises(OmnikitError, match="no part 'tokenizer'"):
        omnikit.load(f"{reference}#tokenizer")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OmnikitError, match=r"omnikit-core\[hub\]"):
        omnikit.load(f"hf:somebody/small@{REVISION}")


def test_what_stayed_as_it_was_is_saved_as_a_reference(hub: FakeHub, system: System, tmp_path: Path) -> None:
    published = system.push_to_hub("somebody/small", licence="Apache-2.0")
    with torch.no_grad():
        system.part("projector").state_dict()["0.bias"].add_(1.0)
    bases = {slot: f"{published}#{slot}" for slot in ("vision_encoder", "projector")}
    save_pretrained(system, tmp_path / "after", bases=bases)
    sizes = {slot: (tmp_path / "after" / slot / "model.safetensors").stat().st_size for slot in bases}
    assert sizes["vision_encoder"] < 100 and sizes["projector"] < 300  # nothing, and one bias
    card = read_card(tmp_path / "after" / "vision_encoder")
    assert card["base"]["reference"] == bases["vision_encoder"] and len(card["base"]["sha256"]) == 64
    back = omnikit.load(str(tmp_path / "after"))
    assert all(same(back.part(slot), part) for slot, part in system.parts.items())
    again = back.push_to_hub("somebody/after", licence="Apache-2.0", bases=bases)
    assert same(omnikit.load(again).part("projector"), system.part("projector"))
    with pytest.raises(OmnikitError, match="no tokenizer"):
        save_pretrained(system, tmp_path / "wrong", bases={"tokenizer": published})
    with pytest.raises(OmnikitError, match="parts of the hub only"):
        back.push_to_hub(
            "somebody/else", licence="Apache-2.0", bases={"projector": str(tmp_path / "after" / "projector")}
        )


def test_a_base_that_has_changed_is_refused(system: System, tmp_path: Path) -> None:
    projector = system.part("projector")
    save_component(projector, tmp_path / "base")
    save_component(projector, tmp_path / "leaning", base=str(tmp_path / "base"))
    assert same(load_component(tmp_path / "leaning"), projector)
    chain = tmp_path / "chain"
    save_component(projector, chain, base=str(tmp_path / "leaning"))
    assert same(load_component(chain), projector)
    with torch.no_grad():
        projector.state_dict()["2.bias"].add_(1.0)
    save_component(projector, tmp_path / "base")
    with pytest.raises(WeightsError, match="other weights now"):
        load_component(tmp_path / "leaning")
    card = json.loads((chain / "component.json").read_text())
    assert card["sha256"] != read_card(tmp_path / "leaning")["sha256"]
