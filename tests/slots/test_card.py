"""What a notebook shows of a component."""

from __future__ import annotations

from xml.etree import ElementTree

import torch

import omnikit
from omnikit.contracts import Contract, TextPort
from omnikit.slots.base import Component


class Scratch(Component):
    """A part that nobody registered, with a parameter that looks like HTML."""

    def __init__(self, text: str = "<script>") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1_200))
        self.frozen = torch.nn.Parameter(torch.zeros(34), requires_grad=False)

    @classmethod
    def contract(cls, text: str = "<script>") -> Contract:
        return Contract(needs={"text": TextPort()})


def test_a_card_says_id_contract_parameters_and_weights() -> None:
    projector = omnikit.create("projector/mlp", in_dim=4, out_dim=6)
    card = projector._repr_html_()
    text = " ".join(ElementTree.fromstring(card.replace("<br>", "<br/>")).itertext())
    count = sum(weight.numel() for weight in projector.parameters())
    for said in ("projector/mlp", "frames(dim=4)", "frames(dim=6)", "in_dim = 4", f"{count:,}"):
        assert said in text, said


def test_a_card_of_scratch_work_has_its_name_and_runs_nothing() -> None:
    card = Scratch()._repr_html_()
    assert "<script>" not in card and "&lt;script&gt;" in card
    assert "<b>Scratch</b>" in card
    assert "1,234, of which 1,200 learn" in card
    assert "<td>nothing</td>" in card
