"""A system at work: hears and sees, answers in text, and speaks the answer in a style."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import nn

from omnikit.artefacts import (
    CARD,
    component_folder,
    declare_licence,
    fill,
    licensed,
    load_component,
    locate,
    read_card,
    save_component,
    trained_parameters,
    weights_root,
)
from omnikit.data.media import load_audio, load_images, resample
from omnikit.errors import ContractError, OmnikitError, UnknownName, WeightsError, naming_extras, unknown_name
from omnikit.hub import HUB, send
from omnikit.nn.devices import move
from omnikit.published.files import is_checkpoint, is_weight_file
from omnikit.published.load import load_published, load_whole
from omnikit.registry import SEATS, id_of, resolve, slots
from omnikit.reply import MAX_NEW_TOKENS, Clock, Heard, Question, Reply, Shown
from omnikit.slots.backbone import Segment
from omnikit.slots.base import Component
from omnikit.slots.emitter import Emitter
from omnikit.slots.hearing import Hearing
from omnikit.slots.seeing import picture_size, projected
from omnikit.slots.style import reference_waves
from omnikit.slots.units import first_ids
from omnikit.style_policy import Wish, decide, knowing
from omnikit.system_file import read_settings, read_wires, write_settings
from omnikit.types import Audio, Images, Labels, SpokenTurn, Style, StyleSource, Units
from omnikit.wiring import Node, Plan, negotiate

if TYPE_CHECKING:
    from omnikit.conversation import Piece

_log = logging.getLogger(__name__)

PUBLISHED_FORMAT = "format/emova_json"
"""How the published language models write their replies."""


class System(nn.Module):
    """Components wired by a negotiated plan. Make one with `assemble` (new weights) or `load` (trained ones).

    `.to(device)` moves the parts, and what they are given goes where each of them is.
    `max_new_tokens` is how much it writes at most where a call does not say; it is saved with the system.
    """

    def __init__(
        self, plan: Plan, components: Mapping[str, Component], *, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> None:
        super().__init__()
        self.plan, self.max_new_tokens = plan, max_new_tokens
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
            with naming_extras(node.component):
                part = resolve(node.component)(**plan.parameters[slot])
            if slot in weights:
                fill(part, Path(weights[slot]))
            parts[slot] = part.eval()
        return cls(plan, parts)

    @classmethod
    def of(cls, parts: Mapping[str, Component], *, system: str = "emova") -> System:
        """A system of components that are there already, negotiated as they are."""
        nodes = {slot: Node(id_of(type(part)), part.parameters_given, origin=slot) for slot, part in parts.items()}
        return cls(negotiate(nodes, read_wires(system)), parts)

    @classmethod
    def from_pretrained(cls, reference: str | Path, *, licence: str = "") -> System:
        """A trained system: a folder, a tag, `hf:owner/name@revision`, or a checkpoint that others published."""
        found = load(str(reference), licence=licence)
        if not isinstance(found, System):
            raise WeightsError(f"{reference} is one component; load it with omnikit.load('{reference}').")
        return found

    @classmethod
    def load(cls, reference: str | Path) -> System:
        """A trained system from a folder or a tag such as `tiny`."""
        root = locate(str(reference))
        nodes = {}
        for folder in sorted(item for item in root.iterdir() if (item / CARD).is_file()):
            nodes[folder.name] = Node(read_card(folder)["id"], trained_parameters(folder), origin=f"{folder / CARD}")
        if not nodes:
            raise WeightsError(f"{root} holds no trained components: no */{CARD} in it.")
        told = read_settings(root)
        plan = negotiate(nodes, told.wires)
        parts = {slot: load_component(root / slot) for slot in nodes}
        return cls(plan, parts, max_new_tokens=told.max_new_tokens)

    def save(self, folder: str | Path, *, half: bool = False, bases: Mapping[str, str] | None = None) -> None:
        """Write every component and the wires.

        `bases` maps slots to references (`tiny#vision_encoder`, `hf:owner/name@revision#backbone`): of such a part only
        the tensors that are not the same there are written, and the reference with its hash.
        """
        root, bases = Path(folder), bases or {}
        for slot in bases:
            self.part(slot)
        for slot in self.parts:
            save_component(self.part(slot), root / slot, half=half, base=bases.get(slot))
        write_settings(root, [link.wire for link in self.plan.links], self.max_new_tokens)

    save_pretrained = save

    def push_to_hub(
        self, repo: str, *, licence: str, private: bool = True, bases: Mapping[str, str] | None = None
    ) -> str:
        """Send the system to a repository of the hub; returns the reference that loads exactly this."""
        return push_to_hub(self, repo, licence=licence, private=private, bases=bases)

    def part(self, slot: str) -> Any:
        """The component of a slot. Raises `OmnikitError` naming the slots that this system has."""
        if slot not in self.parts:
            raise OmnikitError(f"This system has no {slot}; it has {', '.join(self.parts)}.")
        return self.parts[slot]

    def limit(self, max_new_tokens: int | None) -> int:
        """How many tokens are written at most: so many, or where nobody says, as many as this system's setting."""
        return self.max_new_tokens if max_new_tokens is None else max_new_tokens

    @torch.no_grad()
    def hear(self, audio: str | Path | Audio) -> Units:
        """Units of a recording (path or `Audio`, any rate)."""
        tokenizer = self.part("tokenizer")
        rate = tokenizer.contract(**tokenizer.parameters_given).needs["audio"].sample_rate
        return tokenizer.encode(move(_heard(audio, rate), tokenizer.device))

    @property
    def hearing(self) -> Hearing:
        """The parts that hear beside the tokenizer, as far as this system has them."""
        slots = ("speech_encoder", "speech_projector", "input_style")
        return Hearing(*(self.part(slot) if slot in self.parts else None for slot in slots))

    @property
    def emitter(self) -> Emitter:
        """How the backbone writes units; as tokens of its vocabulary where the system names no other way."""
        return self.part("emitter") if "emitter" in self.parts else Emitter()

    @torch.no_grad()
    def listen(self, audio: str | Path | Audio) -> list[Segment]:
        """What the backbone reads of a recording (path or `Audio`, any rate): its tone, then its units or features."""
        hearing = self.hearing
        units = [first_ids(self.hear(audio))] if hearing.reads_units else None
        return list(hearing.read(lambda rate: _heard(audio, rate), units)[0])

    @torch.no_grad()
    def see(self, image: str | Path | Images) -> torch.Tensor:
        """Projected features [N, W] of a picture."""
        return self.look([image] if isinstance(image, str | Path) else image)[0]

    @torch.no_grad()
    def look(self, images: Sequence[str | Path] | Images) -> list[torch.Tensor]:
        """Projected features [N, W] of several pictures, in any sizes that the encoder takes, by one call of it."""
        encoder = self.part("vision_encoder")
        seen = images if isinstance(images, Images) else load_images(images, picture_size(encoder))
        if not len(seen):
            return []
        return projected(self.part("projector"), encoder.encode(move(seen, encoder.device)), seen)

    @torch.no_grad()
    def reply(
        self,
        *,
        history: Sequence[tuple[Sequence[Segment], SpokenTurn]] = (),
        seed: int = 0,
        temperature: float = 0.0,
        constrained: bool = True,
        max_new_tokens: int | None = None,
        **asked: Unpack[Question],
    ) -> Reply:
        """Answer a question asked aloud (`audio`) or written (`text`), about a picture (`image`), several, or none.

        `style` overrides, factor by factor, what the model decides; a policy (`style_policy`) is asked for such labels
        once the answer is known; a whole `Style`, or a recording as `reference`, takes its place. The same seed gives
        the same bytes on CPU. `constrained` decoding can write nothing but a well-formed reply of the format, with
        units of the codebooks and values that the style module knows. The reply says if `max_new_tokens` cut it short.
        """
        wanted, user, clock = self.question(**asked)
        written = self._write("dialogue", user, history, seed, temperature, constrained, max_new_tokens)
        clock.lap("think")
        return self._speak(*written, wanted, seed, clock)

    def stream_reply(
        self,
        *,
        seed: int = 0,
        temperature: float = 0.0,
        constrained: bool = True,
        max_new_tokens: int | None = None,
        **asked: Unpack[Question],
    ) -> Iterator[Piece]:
        """The answer of `reply` in pieces, words and sound, while it is still written; the last one has it whole.

        Sound is made of units as they come, within the detokenizer's window. For more turns than one, and what is kept
        between them, see `conversation.Conversation`.
        """
        from omnikit.conversation import Conversation

        conversation = Conversation(
            self, temperature=temperature, constrained=constrained, max_new_tokens=max_new_tokens
        )
        return conversation.stream(seed=seed, **asked)

    @torch.no_grad()
    def question(
        self,
        *,
        image: Shown = None,
        audio: Heard = None,
        text: str | None = None,
        style: Wish | None = None,
        reference: Heard = None,
    ) -> tuple[Wish, list[Segment], Clock]:
        """The wanted style, what the backbone reads of a user's turn, and the clock that is running since then.

        Raises `OmnikitError` without a question, or for a style that cannot be had.
        """
        if audio is None and text is None:
            raise OmnikitError("reply needs a question: give audio=… or text=….")
        wanted = self._wanted(style, reference)
        if callable(wanted) and text is not None:
            wanted = knowing(wanted, text)
        clock = Clock()
        user = []
        if image is not None:
            shown = [image] if isinstance(image, str | Path) else image
            user += [Segment(frames=frames) for frames in self.look(shown)]
            clock.lap("see")
        if audio is not None:
            user += self.listen(audio)
            clock.lap("hear")
        if text is not None:
            user.append(Segment(text=text))
        return wanted, user, clock

    @torch.no_grad()
    def say(
        self,
        text: str,
        *,
        style: Wish | None = None,
        reference: Heard = None,
        seed: int = 0,
        max_new_tokens: int | None = None,
    ) -> Reply:
        """Speak `text` in a style: labels, a `Style`, what a policy says, or that of a recording (`reference`)."""
        if not text.strip():
            raise OmnikitError("say needs text; an empty string was given.")
        wanted = self._wanted(style, reference)
        clock = Clock()
        turn, truncated = self._write("tts", [Segment(text=text)], seed=seed, max_new_tokens=max_new_tokens)
        clock.lap("think")
        return self._speak(replace(turn, text=text), truncated, wanted, seed, clock)

    @torch.no_grad()
    def transcribe(self, audio: str | Path | Audio, *, max_new_tokens: int | None = None) -> str:
        """The words heard in a recording; a warning is logged when `max_new_tokens` cut them short."""
        turn, truncated = self._write("asr", self.listen(audio), max_new_tokens=max_new_tokens)
        if truncated:
            _log.warning("The transcript was cut short; give more max_new_tokens than %d.", self.limit(max_new_tokens))
        return turn.text

    @torch.no_grad()
    def speak(
        self,
        units: Units,
        style: Labels | Style | None = None,
        *,
        reference: str | Path | Audio | None = None,
        seed: int = 0,
    ) -> Audio:
        """Waveform of units in a style: labels (missing factors take their default), a `Style`, or a recording's."""
        spoken_style, _ = self.decided(SpokenTurn(text=""), self._wanted(style, reference))
        return self._sound(units, spoken_style, seed)

    @torch.no_grad()
    def style_of(
        self,
        labels: Labels | None = None,
        *,
        reference: str | Path | Audio | None = None,
        description: str | None = None,
    ) -> Style:
        """The style that labels name, that a recording has (`reference`), or that words describe.

        A recording is heard by the style module where it takes recordings, else by the detokenizer's own encoder.
        Raises `OmnikitError` for more than one of them, or one that neither part takes.
        """
        if sum(item is not None for item in (labels, reference, description)) > 1:
            raise OmnikitError("Give a style as labels, as a recording or as words: only one of them.")
        module = self.part("style")
        if description is not None:
            return module.from_text([description])
        if reference is None:
            return module.from_labels([labels or {}])
        if "audio" in module.views:
            rate = module.contract(**module.parameters_given).needs["audio"].sample_rate
            return module.from_audio(move(_heard(reference, rate), module.device))
        detokenizer = self.part("detokenizer")
        heard = _heard(reference, detokenizer.sample_rate)
        reference_waves(heard, detokenizer.sample_rate, detokenizer.hop_size)  # refuses what has no style
        vectors = detokenizer.style_vectors(move(heard, detokenizer.device))
        if vectors is None:
            raise OmnikitError("This detokenizer takes no style vector, so a reference recording is not applicable.")
        needs = detokenizer.contract(**detokenizer.parameters_given).needs
        return Style(vector=vectors, space_id=needs["style"].space_id, source="user")

    def _write(
        self,
        task: str,
        user: Sequence[Segment],
        history: Sequence = (),
        seed: int = 0,
        temperature: float = 0.0,
        constrained: bool = True,
        max_new_tokens: int | None = None,
    ) -> tuple[SpokenTurn, bool]:
        """What the backbone writes, and whether it was cut short."""
        backbone, form = self.part("backbone"), self.part("format")
        prompt = form.prompt(task, user, history)
        grammar = form.grammar(task, backbone, self.style_values()) if constrained else None
        written = self.emitter.generate(
            backbone,
            [prompt],
            generator=torch.Generator().manual_seed(seed),
            max_new_tokens=self.limit(max_new_tokens),
            temperature=temperature,
            grammar=grammar,
        )[0]
        return form.parse(task, written.text, backbone), written.truncated

    def style_values(self) -> Mapping[str, Sequence[str]]:
        """The values of every factor that the style module knows."""
        return self.part("style").factors if "style" in self.parts else {}

    def _wanted(self, style: Wish | None, reference: Heard) -> Wish:
        """What the user asks for, found to be usable before anything is computed; what a policy wants shows later."""
        if style is not None and reference is not None:
            raise OmnikitError("Give a style either as style=… or as reference=…, not both.")
        if reference is not None:
            return self.style_of(reference=reference)
        if callable(style):
            self.part("style")
            return style
        if not isinstance(style, Style):
            if style or "style" in self.parts:
                self.part("style").from_labels([style or {}])
            return style or {}
        port: Any = self.plan.contracts["detokenizer"].needs.get("style") if "detokenizer" in self.parts else None
        if port is not None and style.vector is not None and style.space_id != port.space_id:
            raise ContractError(
                f"The style is of the space '{style.space_id}', this system's voice takes '{port.space_id}'.\n"
                "Vectors of two spaces never mean the same; make the style with this system."
            )
        return style

    def decided(self, turn: SpokenTurn, wanted: Wish) -> tuple[Style, dict[str, StyleSource]]:
        """The style in which a turn is spoken, and who decided each factor: user, policy, model or default."""
        return decide(self.part("style") if "style" in self.parts else None, turn, wanted)

    def _speak(self, turn: SpokenTurn, truncated: bool, wanted: Wish, seed: int, clock: Clock) -> Reply:
        style, decided_by = self.decided(turn, wanted)
        audio = None
        if turn.units is not None and int(turn.units.lengths[0]) > 0 and "detokenizer" in self.parts:
            audio = self._sound(turn.units, style, seed)
        clock.lap("speak")
        return Reply(replace(turn, style=style), audio, decided_by, clock.laps, truncated)

    def _sound(self, units: Units, style: Style, seed: int) -> Audio:
        voice = self.part("detokenizer")
        units, style = move((units, style), voice.device)
        return voice.decode(units, style, torch.Generator().manual_seed(seed))


def load(reference: str, *, licence: str = "", prompts: str | Path | None = None) -> Any:
    """Load a system or a part of one: `tiny`, `runs/x/system`, `tiny#tokenizer`, `tokenizer/spiral_fsq.tiny`.

    A file or folder of weights that others published (`s2u.ckpt#tokenizer`, `emova-3b#projector`) becomes the component
    that omnikit knows it as, a whole checkpoint becomes a system; nothing in it is executed. The slot may be left out
    where a file holds one part. `hf:owner/name@revision` and `…@revision#slot` are fetched from the hub. `licence` says
    under which licence weights are used that declare none, `prompts` is a file of sentences to ask a checkpoint with.

    Raises `UnknownName` for a tag or slot that does not exist, `WeightsError` for weights that cannot be used.
    """
    root, _, slot = reference.partition("#")
    if slot and slot not in (*slots(), *SEATS):
        raise unknown_name("slot", slot, (*slots(), *SEATS))
    path = Path(root).expanduser()
    if prompts is not None and (slot or not is_checkpoint(path) or (path / CARD).is_file()):
        raise OmnikitError(f"prompts=… is for a whole checkpoint that others published, which '{reference}' is not.")
    with naming_extras(f"load('{reference}')"):
        if is_weight_file(path):
            return load_published(path, slot or None)
        if is_checkpoint(path) and not (path / CARD).is_file():
            return load_published(path, slot) if slot else _whole(path, prompts)
    if root.startswith(HUB):
        return _there(licensed(component_folder(reference), reference, licence))
    if slot:
        return load_component(component_folder(reference))
    head, dot, tag = reference.partition(".")
    if dot and "/" in head and head.split("/")[0] in slots() and not Path(reference).exists():
        folder = weights_root(tag) / head.split("/")[0]
        card = read_card(folder)
        if card["id"] != head:
            raise UnknownName(
                f"No weights '{tag}' of {head}: the {tag} system has {card['id']}. Try load('{card['id']}.{tag}')."
            )
        return load_component(folder)
    return _there(locate(root))


def save_pretrained(component: Component | System, folder: str | Path, **settings: Any) -> None:
    """Write a component (settings: `half`, `base`) or a system (`half`, `bases`) as safetensors and JSON."""
    if isinstance(component, System):
        component.save(folder, **settings)
    else:
        save_component(component, Path(folder), **settings)


def push_to_hub(
    component: Component | System, repo: str, *, licence: str, private: bool = True, **settings: Any
) -> str:
    """Send a component or a system to a repository of the hub; returns the reference that loads exactly this.

    The `licence` (an SPDX name, e.g. Apache-2.0) is written into every part's card; settings are those of
    `save_pretrained`. Raises `OmnikitError` for a base on this computer's disk, which nobody else has, and where the
    hub refuses.
    """
    bases = settings.get("bases") or {"": settings.get("base")}
    local = [base for base in bases.values() if base and not base.startswith(HUB)]
    if local:
        raise OmnikitError(
            f"What is sent may lean on parts of the hub only, not on {local[0]}.\n"
            "Send that first and give its reference (hf:owner/name@revision), or send everything without a base."
        )
    with TemporaryDirectory() as made:
        folder = Path(made) / "sent"
        save_pretrained(component, folder, **settings)
        declare_licence(folder, licence)
        return send(folder, repo, private=private, message="omnikit")


def _there(folder: Path) -> Any:
    """The component or the system of a folder."""
    return load_component(folder) if (folder / CARD).is_file() else System.load(folder)


def _whole(path: Path, prompts: str | Path | None) -> Any:
    """What a published folder holds: one component, or a system with the format of its replies."""
    parts = load_whole(path)
    if "backbone" in parts and len(parts) > 1:
        parts["format"] = resolve(PUBLISHED_FORMAT)(prompts=None if prompts is None else str(prompts))
    return System.of(parts) if len(parts) > 1 else next(iter(parts.values()))


def _heard(audio: str | Path | Audio, sample_rate: int) -> Audio:
    """A recording (path or `Audio`) at a rate."""
    return load_audio(Path(audio), sample_rate) if isinstance(audio, str | Path) else resample(audio, sample_rate)
