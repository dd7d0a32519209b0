"""The drawing of a system shows every part once, and on its arrows what the contracts say."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from omnikit.contracts import AudioPort, FramesPort, Free, ImagePort, StylePort, UnitsPort
from omnikit.registry import SEATS
from omnikit.report.diagram import draw_system, port_label
from omnikit.system import read_wires
from omnikit.wiring import Node, negotiate

PARTS = {
    "vision_encoder": "timm",
    "projector": "mlp",
    "speech_encoder": "none",
    "speech_projector": "none",
    "input_style": "none",
    "tokenizer": "spiral_fsq",
    "backbone": "hf_causal",
    "style": "label_centroid",
    "detokenizer": "uvits",
    "format": "json",
}


@pytest.fixture(scope="module")
def drawing() -> ElementTree.Element:
    nodes = {slot: Node(f"{SEATS.get(slot, slot)}/{name}") for slot, name in PARTS.items()}
    nodes["tokenizer"] = Node("tokenizer/spiral_fsq", {"vocab_id": "some"})
    return ElementTree.fromstring(draw_system(negotiate(nodes, read_wires())))


def test_every_wired_part_is_drawn_once_and_apart_from_the_others(drawing: ElementTree.Element) -> None:
    titles = [group[1].text for group in drawing.iter("g")]
    wired = [slot.replace("_", " ") for slot in PARTS if slot != "format"]
    assert sorted(titles) == sorted([*wired, "image", "audio", "audio"])
    boxes = [[float(group[0].get(key, 0)) for key in ("x", "y", "width", "height")] for group in drawing.iter("g")]
    for (x, y, width, height), (other_x, other_y, _, _) in combinations(boxes, 2):
        assert abs(x - other_x) >= width or abs(y - other_y) >= height
    _, _, total_width, total_height = map(float, drawing.get("viewBox", "").split())
    assert all(x >= 0 and y >= 0 and x + w <= total_width and y + h <= total_height for x, y, w, h in boxes)


def test_what_flows_runs_from_left_to_right(drawing: ElementTree.Element) -> None:
    for wire in drawing.iter("path"):
        if "wire" in wire.get("class", ""):
            numbers = re.findall(r"[\d.]+", wire.get("d", ""))
            end = numbers[-2] if "C" in wire.get("d", "") else numbers[-1]
            assert float(numbers[0]) < float(end)


def test_rates_and_sizes_stand_on_the_arrows(drawing: ElementTree.Element) -> None:
    said = " ".join(part.text or "" for part in drawing.iter("tspan"))
    for fact in ("25 Hz", "4096 units", "16 kHz", "of 128", "64 × 64 px"):
        assert fact in said


def test_empty_slots_are_dashed(drawing: ElementTree.Element) -> None:
    idle = [group for group in drawing.iter("g") if "idle" in group.get("class", "")]
    assert [group[1].text for group in idle] == ["speech encoder", "speech projector", "input style"]
    dashed = [path for path in drawing.iter("path") if path.get("class") == "wire idle"]
    assert len(dashed) == 5  # two of sound that nobody hears, three of nothing


@pytest.mark.parametrize(
    ("port", "label"),
    [
        (AudioPort(22_050), ("22.05 kHz",)),
        (AudioPort(), ("any rate",)),
        (ImagePort(64), ("64 × 64 px",)),
        (FramesPort(dim=128, rate=50), ("50 Hz", "× 128")),
        (FramesPort(dim=Free("in_dim"), length=16), ("16 patches", "")),
        (UnitsPort((4096,), 25), ("25 Hz", "4096 units")),
        (UnitsPort((1024, 1024), 12), ("12 Hz", "1024, 1024 units")),
        (StylePort("vector", 128), ("vector", "of 128")),
        (StylePort("none", 0), ("none", "")),
    ],
)
def test_port_labels(port: object, label: tuple[str, ...]) -> None:
    assert port_label(port) == label
