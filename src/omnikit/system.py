"""A system at work: hears and sees, answers in text, and speaks the answer in a style."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from omnikit.artefacts import (
    CARD,
    fill,
    load_component,
    locate,
    read_card,
    save_component,
    trained_parameters,
    weights_root,
)
from omnikit.data.media import load_audio, load_image, resample
from omnikit.errors import OmnikitError, UnknownName, WeightsError, unknown_name
from omnikit.registry import SLOTS, resolve
from omnikit.slots.backbone import Segment
from omnikit.slots.base import Component
from omnikit.types import Audio, Images, SpokenTurn, StyleSource, Units
from omnikit.wiring import Node, Plan, Wire, negotiate

MAX_NEW_TOKENS = 400


@dataclass(frozen=True)
class Reply:
    """A spoken answer: the turn, its sound (None when the model wrote no units), and seconds spent in each part.

    `decided_by` says for every style factor whether `user`, `model` or `default` chose its value.
    """

    turn: SpokenTurn
    audio: Audio | None
    decided_by: Mapping[str, StyleSource] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The turn as JSON-ready data."""
        return {
            "user_text": self.turn.user_text,
            "text": self.turn.text,
            "style": dict(self.turn.style.labels[0]) if self.turn.style.labels else {},
            "style_decided_by": dict(self.decided_by),
            "num_units": int(self.turn.units.lengths[0]) if self.turn.units else 0,
            "valid": self.turn.parse_ok,
            "timings_s": {name: round(value, 4) for name, value in self.timings.items()},
        }


def read_wires(system: str = "emova") -> list[Wire]:
    """The wires of a system description in `omnikit.conf/system/`."""
    folder = Path(str(resources.files("omnikit.conf"))) / "system"
    path = folder / f"{system}.yaml"
    if not path.is_file():
        raise unknown_name("system", system, [item.stem for item in folder.glob("*.yaml")])
    return [Wire.parse(text) for text in yaml.safe_load(path.read_text())["wires"]]


class System(nn.Module):
    """Components wired by a negotiated plan. Make one with `assemble` (new weights) or `load` (trained ones)."""

    def __init__(self, plan: Plan, components: Mapping[str, Component]) -> None:
        super().__init__()
        self.plan = plan
        self.parts = nn.ModuleDict(components)

    @classmethod
    def assemble(
        cls, components: Mapping[str, str | Node], *, system: str = "emova", weights: Mapping[str, Path] | None = None
    ) -> System:
        """Negotiate and build: slot → component id or `Node`; `weights` maps slots to trained folders.

        Raises `ContractError` before any weight is allocated when two parts do not fit.
        """
        nodes = {slot: Node(item) if isinstance(item, str) else item for slot, item in components.items()}
        plan = negotiate(nodes, read_wires(system))
        return cls.build(plan, weights or {})

    @classmethod
    def build(cls, plan: Plan, weights: Mapping[str, Path]) -> System:
        """Allocate the components of a plan and fill in trained weights where a folder is given."""
        parts = {}
        for slot, node in plan.nodes.items():
            part = resolve(node.component)(**plan.parameters[slot])
            if slot in weights:
                fill(part, Path(weights[slot]))
            parts[slot] = part.eval()
        return cls(plan, parts)

    @classmethod
    def load(cls, reference: str | Path) -> System:
        """A trained system from a folder or a tag such as `tiny`."""
        root = locate(str(reference))
        nodes = {}
        for folder in sorted(item for item in root.iterdir() if (item / CARD).is_file()):
            nodes[folder.name] = Node(read_card(folder)["id"], trained_parameters(folder), origin=f"{folder / CARD}")
        if not nodes:
            raise WeightsError(f"{root} holds no trained components: no */{CARD} in it.")
        path = root / "system.json"
        wires = json.loads(path.read_text())["wires"] if path.is_file() else [str(wire) for wire in read_wires()]
        plan = negotiate(nodes, [Wire.parse(text) for text in wires])
        return cls(plan, {slot: load_component(root / slot) for slot in nodes})

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write every component and the wires."""
        root = Path(folder)
        for slot, part in self.parts.items():
            save_component(part, root / slot, half=half)
        wires = {"omnikit": metadata.version("omnikit-core"), "wires": [str(link.wire) for link in self.plan.links]}
        (root / "system.json").write_text(json.dumps(wires, indent=1) + "\n")

    def part(self, slot: str) -> Any:
        """The component of a slot. Raises `OmnikitError` naming the slots that this system has."""
        if slot not in self.parts:
            raise OmnikitError(f"This system has no {slot}; it has {', '.join(self.parts)}.")
        return self.parts[slot]

    @torch.no_grad()
    def hear(self, audio: str | Path | Audio) -> Units:
        """Units of a recording (path or `Audio`, any rate)."""
        tokenizer = self.part("tokenizer")
        rate = tokenizer.contract(**tokenizer.parameters_given).needs["audio"].sample_rate
        heard = load_audio(Path(audio), rate) if isinstance(audio, str | Path) else resample(audio, rate)
        return tokenizer.encode(heard)

    @torch.no_grad()
    def see(self, image: str | Path | Images) -> torch.Tensor:
        """Projected features [N, W] of a picture."""
        encoder = self.part("vision_encoder")
        size = encoder.contract(**encoder.parameters_given).needs["image"].size
        images = load_image(Path(image), size) if isinstance(image, str | Path) else image
        return self.part("projector").project(encoder.encode(images)).features[0]

    @torch.no_grad()
    def reply(
        self,
        *,
        image: str | Path | Images | None = None,
        audio: str | Path | Audio | None = None,
        text: str | None = None,
        style: Mapping[str, str] | None = None,
        history: Sequence[tuple[Sequence[Segment], SpokenTurn]] = (),
        seed: int = 0,
        temperature: float = 0.0,
    ) -> Reply:
        """Answer a question asked aloud (`audio`) or written (`text`), about a picture or not.

        `style` overrides, factor by factor, what the model decides. The same seed gives the same bytes on CPU.
        """
        if audio is None and text is None:
            raise OmnikitError("reply needs a question: give audio=… or text=….")
        self._check_style(style or {})
        clock = _Clock()
        user = []
        if image is not None:
            user.append(Segment(frames=self.see(image)))
            clock.lap("see")
        if audio is not None:
            user.append(Segment(units=_ids(self.hear(audio))))
            clock.lap("hear")
        if text is not None:
            user.append(Segment(text=text))
        turn = self._write("dialogue", user, history, seed, temperature)
        clock.lap("think")
        return self._speak(turn, style or {}, seed, clock)

    @torch.no_grad()
    def say(self, text: str, *, style: Mapping[str, str] | None = None, seed: int = 0) -> Reply:
        """Speak `text` in a style."""
        if not text.strip():
            raise OmnikitError("say needs text; an empty string was given.")
        self._check_style(style or {})
        clock = _Clock()
        turn = replace(self._write("tts", [Segment(text=text)], (), seed, 0.0), text=text)
        clock.lap("think")
        return self._speak(turn, style or {}, seed, clock)

    @torch.no_grad()
    def transcribe(self, audio: str | Path | Audio) -> str:
        """The words heard in a recording."""
        return self._write("asr", [Segment(units=_ids(self.hear(audio)))], (), 0, 0.0).text

    @torch.no_grad()
    def speak(self, units: Units, labels: Mapping[str, str], *, seed: int = 0) -> Audio:
        """Waveform of units in the style that `labels` name (missing factors take their default)."""
        style = self.part("style").from_labels([labels])
        return self.part("detokenizer").decode(units, style, torch.Generator().manual_seed(seed))

    def _write(
        self, task: str, user: Sequence[Segment], history: Sequence, seed: int, temperature: float
    ) -> SpokenTurn:
        backbone, form = self.part("backbone"), self.part("format")
        prompt = form.prompt(task, user, history)
        generator = torch.Generator().manual_seed(seed)
        written = backbone.generate(
            [prompt], generator=generator, max_new_tokens=MAX_NEW_TOKENS, temperature=temperature
        )[0]
        return form.parse(task, written.text, backbone)

    def _check_style(self, wanted: Mapping[str, str]) -> None:
        self.part("style").from_labels([wanted])

    def _speak(self, turn: SpokenTurn, wanted: Mapping[str, str], seed: int, clock: _Clock) -> Reply:
        factors = self.part("style").factors
        decided = dict(turn.style.labels[0]) if turn.style.labels else {}
        decided = {name: value for name, value in decided.items() if value in factors.get(name, ())}
        source: StyleSource = "user" if wanted else ("model" if decided else "default")
        style = self.part("style").from_labels([{**decided, **wanted}], source=source)
        decided_by: dict[str, StyleSource] = {
            name: "user" if name in wanted else "model" if name in decided else "default" for name in factors
        }
        audio = None
        if turn.units is not None and int(turn.units.lengths[0]) > 0:
            audio = self.part("detokenizer").decode(turn.units, style, torch.Generator().manual_seed(seed))
        clock.lap("speak")
        return Reply(replace(turn, style=style), audio, decided_by, clock.laps)


def load(reference: str) -> Any:
    """Load a system or a part of one: `tiny`, `runs/x/system`, `tiny#tokenizer`, `tokenizer/spiral_fsq.tiny`.

    Raises `UnknownName` for a tag or slot that does not exist, `WeightsError` for a folder that cannot be used.
    """
    root, _, slot = reference.partition("#")
    if slot:
        if slot not in SLOTS:
            raise unknown_name("slot", slot, SLOTS)
        return load_component(locate(root) / slot)
    head, dot, tag = reference.partition(".")
    if dot and "/" in head and head.split("/")[0] in SLOTS and not Path(reference).exists():
        folder = weights_root(tag) / head.split("/")[0]
        card = read_card(folder)
        if card["id"] != head:
            raise UnknownName(
                f"No weights '{tag}' of {head}: the {tag} system has {card['id']}. Try load('{card['id']}.{tag}')."
            )
        return load_component(folder)
    folder = locate(root)
    if (folder / CARD).is_file():
        return load_component(folder)
    return System.load(folder)


def _ids(units: Units) -> tuple[tuple[int, ...], ...]:
    """Row 0 of a batch of units as [K][T] plain ids."""
    length = int(units.lengths[0])
    return tuple(tuple(row[:length].tolist()) for row in units.codes[0])


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
