"""Negotiation: dependent numbers are derived and explained; misfits are one short error with a fix that works."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest

from omnikit.errors import ContractError, OmnikitError
from omnikit.registry import SEATS, SLOTS
from omnikit.system import read_wires
from omnikit.wiring import Node, Wire, fits, negotiate

EMOVA = {
    "vision_encoder": "vision_encoder/timm",
    "projector": "projector/mlp",
    "speech_encoder": "speech_encoder/none",
    "tokenizer": "tokenizer/spiral_fsq",
    "backbone": "backbone/hf_causal",
    "style": "style/label_centroid",
    "detokenizer": "detokenizer/uvits",
    "format": "format/json",
}


def nodes(**changes: dict[str, Any]) -> dict[str, Node]:
    """EMOVA in frame layout with changed parameters by slot."""
    base = {"tokenizer": {"reduced": False}, "detokenizer": {"layout": "frame"}}
    return {slot: Node(name, {**base.get(slot, {}), **changes.get(slot, {})}) for slot, name in EMOVA.items()}


def test_every_dependent_number_is_derived_and_explained() -> None:
    plan = negotiate(nodes(tokenizer={"levels": [5, 5, 5]}), read_wires())
    assert plan.parameters["backbone"]["codebooks"] == (125,)
    assert plan.parameters["detokenizer"]["codebooks"] == (125,)
    assert plan.parameters["detokenizer"]["unit_rate"] == Fraction(25)
    assert plan.parameters["projector"]["out_dim"] == plan.contracts["backbone"].needs["embeds"].dim
    assert re.search(r"detokenizer\.codebooks\s+= \[125\]\s+from backbone\.units\.codebooks", plan.explain())
    drawn = plan.draw()
    assert all(f"[{slot}]" in drawn for slot in EMOVA)


def test_a_swapped_style_changes_the_detokenizer_and_nothing_else() -> None:
    before = negotiate(nodes(), read_wires())
    after = negotiate({**nodes(), "style": Node("style/none")}, read_wires())
    assert before.parameters["detokenizer"]["style_dim"] > 0
    assert after.parameters["detokenizer"]["style_dim"] == 0
    assert {**before.parameters["backbone"]} == {**after.parameters["backbone"]}


def test_whether_parts_fit_is_known_without_a_plan() -> None:
    assert fits(nodes(), read_wires())
    assert not fits(nodes(detokenizer={"layout": "reduced"}), read_wires())
    assert not fits({"detokenizer": Node("detokenizer/uvits")}, read_wires())  # nobody says its codebooks
    with pytest.raises(OmnikitError, match="Unknown component"):
        fits({"detokenizer": Node("detokenizer/uvit")}, read_wires())


def test_a_misfit_names_both_ends_and_a_fix_that_works() -> None:
    with pytest.raises(ContractError) as caught:
        negotiate(nodes(detokenizer={"layout": "reduced"}), read_wires())
    message = str(caught.value)
    assert len(message.splitlines()) <= 8
    assert "backbone.units -> detokenizer.units" in message
    assert "detokenizer/uvits takes reduced" in message
    fixes = dict(item.split("=") for item in message.split("Fits with: ")[1].splitlines()[0].split("  or  "))
    assert fixes == {"detokenizer.layout": "frame", "tokenizer.reduced": "True"}
    negotiate(nodes(detokenizer={"layout": "reduced"}, tokenizer={"reduced": True}), read_wires())


def test_units_of_another_tokenizer_are_refused() -> None:
    with pytest.raises(ContractError, match="vocab_id differs") as caught:
        negotiate(nodes(tokenizer={"vocab_id": "a"}, detokenizer={"vocab_id": "b"}), read_wires())
    assert "never the same units" in str(caught.value)


def test_a_number_that_nobody_says() -> None:
    lonely = {"projector": Node("projector/mlp"), "backbone": Node("backbone/hf_causal")}
    with pytest.raises(ContractError, match=r"Nobody says what (projector\.in_dim|backbone\.codebooks)"):
        negotiate(lonely, [Wire.parse("projector.embeds -> backbone.embeds")])


@pytest.mark.parametrize("text", ["a -> b", "a.b", "a.b -> c.d -> e.f", ""])
def test_what_is_no_wire(text: str) -> None:
    with pytest.raises(OmnikitError, match="no wire"):
        Wire.parse(text)


def test_an_unknown_port_is_answered_by_the_closest() -> None:
    with pytest.raises(ContractError, match=r"Did you mean 'tokenizer\.units'"):
        negotiate(nodes(), [Wire.parse("tokenizer.unit -> backbone.units")])


def test_wires_of_the_system_file_name_real_slots() -> None:
    assert {end for wire in read_wires() for end in (wire.source, wire.target)} <= {*SLOTS, *SEATS}


def test_speech_enters_through_a_projector_of_its_own() -> None:
    hearing = {
        "speech_encoder": Node("speech_encoder/hf", {"out_dim": 0}),
        "speech_projector": Node("projector/mlp"),
        "input_style": Node("input_style/embed_prefix"),
    }
    plan = negotiate({**nodes(), **hearing}, read_wires())
    width = plan.contracts["backbone"].needs["embeds"].dim
    encoder_width = plan.contracts["speech_encoder"].gives["frames"].dim
    assert plan.parameters["speech_projector"] == {"in_dim": encoder_width, "out_dim": width, "depth": 2}
    assert plan.parameters["input_style"]["out_dim"] == width
    direct = {"speech_encoder": Node("speech_encoder/hf"), "speech_projector": Node("projector/none")}
    assert negotiate({**nodes(), **direct}, read_wires()).parameters["speech_encoder"]["out_dim"] == width


def test_a_port_that_does_not_apply_is_no_misfit_at_either_end() -> None:
    plan = negotiate({**nodes(), "input_style": Node("input_style/tags")}, read_wires())
    (link,) = [link for link in plan.links if link.wire.source == "input_style"]
    assert link.port is None and link.note == "not applicable"
