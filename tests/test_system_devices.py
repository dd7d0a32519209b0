"""A system on another device: every part is given its inputs where it is itself.

Parts are moved to torch's device `meta`, which has no numbers, and answer what they had answered on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from omnikit.conversation import Conversation
from omnikit.data.media import write_audio
from omnikit.slots.backbone import Generated
from omnikit.system import System
from omnikit.testing.kit import tensors_of
from omnikit.types import Audio, Style, Units
from omnikit.wiring import Node

RATE = 16_000
REPLY = (
    '{"heard":"what is it","reply":"a star","emotion":"happy","pitch":"low","speed":"fast",'
    '"units":"<|speech_3|><|speech_4|><|speech_5|>"}'
)
SPIRAL: dict[str, Any] = {
    "num_mels": 16,
    "reduced": False,
    "widths": [16, 16, 16, 16],
    "layers": [1, 1],
    "heads": [2, 2],
    "position": [4, 2],
    "num_phones": 4,
    "decoder_dim": 8,
    "vocab_id": "random",
}
UVITS: dict[str, Any] = {
    "layout": "frame",
    "sample_rate": RATE,
    "head": "istft",
    "spectrogram": {"fft_size": 512, "hop_size": 128, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
    "latent": {"dim": 8, "hidden_dim": 8, "posterior_layers": 1, "flow_layers": 1, "num_flows": 1},
    "duration": {"filter_dim": 8},
    "reference": {"hidden_dim": 8},
    "istft": {"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
}
HUBERT = {"family": "hubert", "dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "conv_dim": 8}
NODES = {
    "vision_encoder": Node("vision_encoder/timm", {"image_size": 16, "patch_size": 8, "dim": 12, "depth": 1}),
    "projector": Node("projector/mlp", {}),
    "speech_encoder": Node("speech_encoder/hf", {"model": HUBERT, "out_dim": 0}),
    "speech_projector": Node("projector/mlp", {}),
    "input_style": Node("input_style/embed_prefix", {"positions": 2, "hidden_dim": 8, "dim": 8}),
    "tokenizer": Node("tokenizer/spiral_fsq", SPIRAL),
    "backbone": Node("backbone/hf_causal", {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32}),
    "style": Node("style/label_centroid", {"dim": 8, "space_id": "random"}),
    "detokenizer": Node("detokenizer/uvits", UVITS),
    "format": Node("format/json", {}),
}
LISTENING_STYLE = Node("style/reference", {"dim": 8, "space_id": "random", "sample_rate": RATE, "hidden_dim": 8})
TAKES = {
    "vision_encoder": ["encode"],
    "projector": ["project"],
    "speech_encoder": ["encode"],
    "speech_projector": ["project"],
    "input_style": ["read"],
    "tokenizer": ["encode"],
    "style": ["from_labels", "from_audio"],
    "detokenizer": ["decode", "style_vectors"],
}
"""What is recorded once, and answered from the record where there are no numbers."""


class Given:
    """Where the tensors were that a part was given, and what it answered, in order."""

    def __init__(self) -> None:
        self.places: dict[str, set[str]] = {}
        self.answers: dict[str, list[Any]] = {}

    def note(self, slot: str, *inputs: Any) -> None:
        self.places.setdefault(slot, set()).update(tensor.device.type for tensor in tensors_of(inputs))


def watch(system: System, monkeypatch: pytest.MonkeyPatch, record: dict[str, list[Any]] | None) -> Given:
    """Note what every part is given; with a `record` it answers from there."""
    given = Given()

    def watched(slot: str, method: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any, **named: Any) -> Any:
            given.note(slot, inputs, named)
            answer = own(*inputs, **named) if record is None else record[f"{slot}.{method}"].pop(0)
            given.answers.setdefault(f"{slot}.{method}", []).append(answer)
            return answer

        return call

    for slot, methods in TAKES.items():
        for method in methods:
            part = system.part(slot)
            monkeypatch.setattr(part, method, watched(slot, method, getattr(part, method)))

    def stream(units: Iterable[Units], style: Style, generator: torch.Generator) -> Iterator[Audio]:
        given.note("detokenizer", style)
        for piece in units:
            given.note("detokenizer", piece)
            yield Audio(torch.zeros(1, 8), torch.tensor([8]), RATE)

    backbone = system.part("backbone")
    written = [Generated(ids=(), text=REPLY, finished=True)]
    monkeypatch.setattr(system.part("detokenizer"), "stream", stream)
    monkeypatch.setattr(backbone, "generate", lambda prompts, **_: written)
    monkeypatch.setattr(backbone, "stream", lambda prompt, **_: iter([REPLY[:-13], REPLY[-13:]]))
    return given


def converse(system: System, folder: Path) -> None:
    """Hear, see, answer whole and in pieces, and speak in the style of a recording."""
    asked = {"image": [folder / "a.png", folder / "b.png"], "audio": folder / "a.wav"}
    assert system.reply(**asked, style={}).audio is not None
    system.hear(asked["audio"])
    style = system.style_of(reference=asked["audio"])
    *_, last = Conversation(system).stream(**asked, style=style)
    assert last.reply is not None and last.reply.audio is not None
    assert system.speak(last.reply.turn.units, style).wave.numel()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    for name, size in (("a", (20, 16)), ("b", (16, 40))):
        Image.new("RGB", size, "red").save(path / f"{name}.png")
    tone = 0.3 * np.sin(np.arange(RATE // 2) / 9).astype(np.float32)
    write_audio(path / "a.wav", tone, RATE)
    return path


def made(style: Node) -> System:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return System.assemble({**NODES, "style": style})


@pytest.mark.parametrize("style", [NODES["style"], LISTENING_STYLE], ids=["heard_by_the_voice", "heard_by_the_style"])
def test_every_part_is_given_its_inputs_where_it_is(style: Node, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patches:
        system = made(style)
        here = watch(system, patches, None)
        converse(system, folder)
    heard_by = "style.from_audio" if style is LISTENING_STYLE else "detokenizer.style_vectors"
    assert heard_by in here.answers and set(here.places) == set(TAKES)
    apart = ["vision_encoder", "speech_encoder", "tokenizer", "detokenizer"]
    for moved in (list(TAKES), apart):
        system = made(style)
        for slot in moved:
            system.part(slot).to("meta")
        with monkeypatch.context() as patches:
            there = watch(system, patches, {name: list(answers) for name, answers in here.answers.items()})
            converse(system, folder)
        for slot, places in there.places.items():
            expected = "meta" if slot in moved else "cpu"
            assert places <= {expected}, f"{slot} is on {expected} and was given tensors on {sorted(places)}"
        assert {slot for slot, places in there.places.items() if places} >= set(TAKES) - {"style"}
