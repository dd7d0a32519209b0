"""The pages that are made of the registry say what the registry, the contracts, the variants and the kit say."""

from __future__ import annotations

import posixpath
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conformance.small_parameters import VARIANTS

import hooks
from component_pages import conformance
from component_pages.docstrings import read_docstring
from component_pages.drawing import draw_contract
from component_pages.page import INDEX, every_page, path_of
from component_pages.partners import Meeting, Partner, meetings_of, strangers_of
from component_pages.use import use_of
from component_pages.variants import every_variant
from omnikit.cli.config import compose_config
from omnikit.contracts import AudioPort, Contract, FramesPort, Free, OneOf, Port, contract_of, signature_of
from omnikit.data.media import write_audio
from omnikit.errors import OmnikitError
from omnikit.plugins import CORE
from omnikit.registry import available, describe, entries, fault_of, resolve, slots
from omnikit.testing import cases
from omnikit.wiring import Wire

USABLE = [component_id for component_id in available() if not fault_of(component_id)]
OURS = [component_id for component_id in USABLE if entries()[component_id].distribution == CORE]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([\w-]+))?\)")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one component was held, and no other."""
    folder = tmp_path_factory.mktemp("conformance")
    assert conformance.hold_all(folder, ["style/none"], {}) == 0
    return folder


@pytest.fixture(scope="module")
def pages(results: Path) -> dict[str, str]:
    return every_page(results)


def test_every_component_has_a_page_and_stands_in_the_list_and_the_navigation(pages: dict[str, str]) -> None:
    assert set(pages) == {INDEX, *map(path_of, USABLE)}
    for component_id in USABLE:
        assert f"]({component_id}.md)" in pages[INDEX]
        assert path_of(component_id) in str(hooks.components_nav(pages))


def test_every_link_leads_somewhere(pages: dict[str, str]) -> None:
    made = {**pages, **hooks.pages_from_elsewhere()}
    docs = {path.relative_to(hooks.ROOT / "docs").as_posix() for path in (hooks.ROOT / "docs").rglob("*.*")}
    for page, text in made.items():
        for target, anchor in LINK.findall(text):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) if target else page
            assert path in made or path in docs, f"{page} links to {target}"
            if anchor and path in made:
                assert re.search(rf"(?mi)^#+ {re.escape(anchor)}$", made[path]), f"{page} links to {target}#{anchor}"


@pytest.mark.parametrize("component_id", USABLE)
def test_parameters_are_those_of_the_signature(component_id: str, pages: dict[str, str]) -> None:
    table = pages[path_of(component_id)].split("## Parameters\n")[1].split("\n## ")[0]
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in table.splitlines() if line.startswith("| <code>")]
    known = signature_of(resolve(component_id))
    assert [row[0] for row in rows] == [f"<code>{name}</code>" for name in known]
    told = describe(component_id).parameters
    for name, _, default, _ in rows:
        value = told[re.sub("<.*?>", "", name)]
        if isinstance(value, int | float) or value in ("derived", "required"):
            assert re.sub(r"<.*?>|\*", "", default) == str(value)
        if isinstance(value, Mapping) and value:
            assert default == "a group, below"
            assert re.search(rf"(?m)^ +{re.sub('<.*?>', '', name)}:", table)


def test_partners_are_those_whose_contracts_agree() -> None:
    told = {component_id: meetings_of(component_id) for component_id in USABLE}
    compared = 0
    for component_id, meetings in told.items():
        for meeting in meetings:
            wire = meeting.wires[0]
            joined = {component_id.split("/")[0], meeting.slot} == {wire.source, wire.target}
            assert [item.component for item in meeting.partners] == of_slot(meeting.slot)
            for partner in meeting.partners:
                assert outcome(told[partner.component], component_id, meeting.wires) == partner.outcome
                if len(meeting.wires) == 1 and joined:
                    assert partner.outcome in by_hand(component_id, partner, wire), (component_id, partner)
                    compared += 1
    assert compared > len(USABLE)


def of_slot(slot: str) -> list[str]:
    return [component_id for component_id in USABLE if component_id.startswith(f"{slot}/")]


def outcome(meetings: list[Meeting], component_id: str, wires: tuple[Wire, ...]) -> str:
    """What the other side says of the same wires."""
    found = [p.outcome for m in meetings if m.wires == wires for p in m.partners if p.component == component_id]
    assert len(found) == 1
    return found[0]


def by_hand(component_id: str, partner: Partner, wire: Wire) -> set[str]:
    """The outcomes that two contracts allow, read fact by fact."""
    ends = {item.split("/")[0]: item for item in (component_id, partner.component)}
    source, target = (describe(ends[slot]) for slot in (wire.source, wire.target))
    if wire.source_port not in source.contract.gives or wire.target_port in target.contract.ignores:
        return {"not applicable"}
    misfit = {"fits with", "does not fit"}
    given, needed = source.contract.gives[wire.source_port], target.contract.needs[wire.target_port]
    try:  # what one end says may be more than the other can do with
        for told, own, other in ((target, needed, given), (source, given, needed)):
            contract_of(resolve(told.id), {**told.parameters, **said_to(own, other)})
    except OmnikitError:
        return misfit
    return {"fits"} if agree(given, needed) else misfit


def said_to(own: Port, other: Port) -> dict[str, Any]:
    """The parameters that the other end of a wire tells."""
    facts = dict(other.facts())
    follows = {value.param: facts[fact] for fact, value in own.facts() if isinstance(value, Free)}
    return {name: value for name, value in follows.items() if value is not None and not isinstance(value, Free | OneOf)}


def agree(given: Port, needed: Port) -> bool:
    wanted = dict(needed.facts())
    for fact, value in given.facts():
        other = wanted[fact]
        if None in (value, other) or isinstance(value, Free) or isinstance(other, Free):
            continue
        if value not in (other.values if isinstance(other, OneOf) else (other,)):
            return False
    return True


def test_units_are_followed_through_the_backbone_and_reasons_are_one_line() -> None:
    (through,) = [item for item in meetings_of("tokenizer/spiral_fsq") if item.slot == "detokenizer"]
    said = {item.component: item for item in through.partners}
    assert through.middle.startswith("backbone/")
    assert said["detokenizer/uvits"].outcome == "fits"
    assert said["detokenizer/cfm_mel"].outcome == "fits with"
    assert "tokenizer.reduced=False" in said["detokenizer/cfm_mel"].why
    assert "layout: " in said["detokenizer/cfm_mel"].why
    assert all("\n" not in item.why for item in through.partners)
    assert "format" in strangers_of("tokenizer/spiral_fsq")


def test_every_variant_stands_on_the_page_of_its_component(pages: dict[str, str]) -> None:
    for component_id, variants in every_variant().items():
        for variant in variants:
            assert f"`{component_id.split('/')[0]}={variant.name}`" in pages[path_of(component_id)]
            assert yaml.safe_load(variant.source)["defaults"]
    paths = [path for slot in slots() for path in (hooks.ROOT / "conf" / slot).glob("*.yaml")]
    shown = [(component_id.split("/")[0], item.name) for component_id, both in every_variant().items() for item in both]
    assert {(path.parent.name, path.stem) for path in paths} <= set(shown)
    chains = (("tokenizer/bottleneck", "spiral_fsq_3x8_tiny"), ("detokenizer/uvits", "uvits_tiny_hifigan"))
    for component_id, name in chains:
        assert name in [item.name for item in every_variant()[component_id]]
        slot = component_id.split("/")[0]
        assert compose_config("train", [f"{slot}={name}"])[slot]["component"] == component_id


@pytest.mark.parametrize("component_id", OURS)
def test_the_three_lines_run(component_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000).astype(np.float32)
    write_audio(tmp_path / "question.wav", noise, 16_000)
    monkeypatch.chdir(tmp_path)
    small = next(iter(VARIANTS.get(component_id, {"": {}}).values()))
    code = use_of(component_id, small)
    assert re.search(rf'omnikit\.create\(\s*"{component_id}"', code)
    exec(compile(code, component_id, "exec"), {})


def test_results_of_the_kit_are_shown_while_the_source_is_the_same(
    results: Path, pages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = conformance.read_record(results, "style/none")
    assert record is not None
    assert [item["case"] for item in record["cases"]] == [case.name for case in cases("style")]
    page = pages[path_of("style/none")]
    assert f"**{conformance.sentence_of(record)}**" in page
    assert all(f"`{case.name}`" in page for case in cases("style"))
    assert "Not held for this build" in pages[path_of("projector/mlp")]
    monkeypatch.setattr(conformance, "fingerprint", lambda component_id: "another")
    assert conformance.read_record(results, "style/none") is None


def test_a_contract_is_drawn_with_every_fact() -> None:
    contract = Contract(
        needs={"audio": AudioPort(sample_rate=16_000)},
        gives={"frames": FramesPort(dim=Free("out_dim"), rate=25)},
        ignores=frozenset({"style"}),
        causal=True,
        lookahead_ms=0.0,
    )
    drawn = ElementTree.fromstring(draw_contract("speech_encoder/<mine>", contract))
    needs, _, part, _, gives = (" ".join(item.itertext()) for item in drawn)
    assert "16000 Hz" in needs
    assert "not applicable" in needs
    assert part.split() == ["speech_encoder", "<mine>", "causal,", "no", "look-ahead"]
    assert "from the other end" in gives
    assert "25 Hz" in gives


def test_every_drawing_is_well_formed_and_names_its_ports(pages: dict[str, str]) -> None:
    for component_id in USABLE:
        lines = pages[path_of(component_id)].splitlines()
        drawn = next(line for line in lines if line.startswith('<div class="contract"'))
        said = "".join(ElementTree.fromstring(drawn).itertext())
        contract = describe(component_id).contract
        assert {*contract.needs, *contract.gives, *contract.ignores} <= set(said.split())


def test_a_docstring_is_read_into_its_parts() -> None:
    class Part:
        """What it
        is.

        Args:
            one, two: sizes
                of both.
            three: a number.

        A word more.
        Contract: this → that,
            or so.
        Ref: Nobody, "Nothing", 2020.

        >>> Part()
        """

    read = read_docstring(Part)
    assert read.summary == "What it is."
    assert read.meanings == {"one": "sizes of both.", "two": "sizes of both.", "three": "a number."}
    assert read.text == ["A word more."]
    assert read.sections == {"Contract": "this → that, or so.", "Ref": 'Nobody, "Nothing", 2020.'}
    assert read.doctest == ">>> Part()"


def test_links_between_files_become_links_between_pages() -> None:
    moved = {"tiny.md": "tiny.md", "../plugins/omnikit-speechbrain/README.md": "plugins/omnikit-speechbrain.md"}
    for said, page in moved.items():
        assert hooks.relinked(f"see [this]({said}#part).", "docs/voice.md") == f"see [this]({page}#part)."
        title = hooks.title_of(hooks.ROOT / "docs" / said)
        assert hooks.relinked(f"[{said}]({said})", "docs/voice.md") == f"[{title}]({page})"
    assert hooks.relinked("[out](https://a.b/c.md)", "README.md") == "[out](https://a.b/c.md)"
