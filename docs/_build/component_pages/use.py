"""Three lines that use a component alone, written for its contract; tests run them for every component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from omnikit.contracts import DERIVED, Contract, bind_parameters, signature_of
from omnikit.nn.picture_sizes import NativeSize
from omnikit.registry import resolve
from omnikit.testing import subject
from omnikit.testing.kit import first_of

_WIDTH = 100
_AUDIO = "from omnikit.data.media import load_audio\n"
_SEGMENT = "from omnikit.slots.backbone import Segment\n"


def use_of(component_id: str, given: Mapping[str, Any] | None = None) -> str:
    """Python that makes a component with the parameters `given` and calls it once.

    Parameters that a system would derive get the stand-ins of the conformance kit.
    """
    slot = component_id.split("/")[0]
    known = signature_of(resolve(component_id))
    given = {name: value for name, value in _SIZES.get(slot, {}).items() if name in known} | dict(given or {})
    held = subject(component_id, **given)
    bound = bind_parameters(component_id, resolve(component_id), given)
    waiting = [name for name in held.parameters if isinstance(bound.get(name, DERIVED), str)]
    derived = {name: held.parameters[name] for name in waiting if bound.get(name, DERIVED) == DERIVED}
    shown = {**given, **derived}
    arguments = "".join(f", {name}={_plain(value)}" for name, value in shown.items())
    imports, calls = _CALLS.get(slot, _alone)(held.contract)
    made = f'{_VARIABLES.get(slot, "part")} = omnikit.create("{component_id}"{arguments})\n'
    torch = "import torch\n" if "torch." in calls else ""
    lines = [_wrapped(line) for line in (made + calls).splitlines()]
    return "\n".join([f"import omnikit\n{torch}{imports}", *lines, ""])


_SIZES: dict[str, dict[str, Any]] = {"projector": {"in_dim": 64, "in_length": 256}}
"""Sizes for which every component of a slot works at its defaults, where the kit's small ones are too small."""
_VARIABLES = {
    "vision_encoder": "encoder",
    "speech_encoder": "encoder",
    "input_style": "tone",
    "projector": "projector",
    "tokenizer": "tokenizer",
    "backbone": "backbone",
    "style": "styles",
    "detokenizer": "voice",
    "format": "replies",
}


def _wrapped(line: str) -> str:
    """A long call with its arguments on a line of their own."""
    head, bracket, inside = line.partition("(")
    return line if len(line) <= _WIDTH else f"{head}{bracket}\n    {inside.removesuffix(')')}\n)"


def _plain(value: Any) -> str:
    """A parameter as one types it."""
    if isinstance(value, Fraction):
        value = int(value) if value.denominator == 1 else float(value)
    return repr(list(value) if isinstance(value, tuple) else value).replace("'", '"')


def _rate(contract: Contract) -> int:
    port: Any = contract.needs["audio"]
    return int(first_of(port.sample_rate) or 16_000)


def _alone(contract: Contract) -> tuple[str, str]:
    return "", "print(part)\n"


def _vision_encoder(contract: Contract) -> tuple[str, str]:
    port: Any = contract.needs["image"]
    size = first_of(port.size)
    height, width = size.fit(56, 84) if isinstance(size, NativeSize) else (size, size)
    pictures = f"Images(torch.rand(1, 3, {height}, {width}))"
    if isinstance(size, NativeSize):
        pictures = f"Images.of([torch.rand(3, {height}, {width})])"
    return "", f"frames = encoder.encode(omnikit.{pictures})\nprint(frames.features.shape, frames.lengths)\n"


def _speech_encoder(contract: Contract) -> tuple[str, str]:
    last = "print(frames.features.shape, frames.rate)" if contract.gives else "print(frames)"
    return _AUDIO, f'frames = encoder.encode(load_audio("question.wav", {_rate(contract)}))\n{last}\n'


def _input_style(contract: Contract) -> tuple[str, str]:
    return _AUDIO, f'read = tone.read(load_audio("question.wav", {_rate(contract)}))\nprint(read)\n'


def _projector(contract: Contract) -> tuple[str, str]:
    port: Any = contract.needs["frames"]
    features = f"torch.rand(1, {first_of(port.length) or 16}, {first_of(port.dim)})"
    frames = f"omnikit.Frames({features}, torch.tensor([{first_of(port.length) or 16}]))"
    return "", f"embeds = projector.project({frames})\nprint(embeds.features.shape)\n"


def _tokenizer(contract: Contract) -> tuple[str, str]:
    calls = f'units = tokenizer.encode(load_audio("question.wav", {_rate(contract)}))\n'
    return _AUDIO, f"{calls}print(units.codes.shape, units.rate, units.layout)\n"


def _backbone(contract: Contract) -> tuple[str, str]:
    prompt = '[[Segment(text="hello")]]'
    calls = f"answers = backbone.generate({prompt}, generator=torch.Generator(), max_new_tokens=8)\n"
    return _SEGMENT, f"{calls}print(answers[0])\n"


def _style(contract: Contract) -> tuple[str, str]:
    return "", "style = styles.from_labels([{}])  # e.g. [{factor: value}], of styles.factors\nprint(styles.factors, style)\n"


def _detokenizer(contract: Contract) -> tuple[str, str]:
    port: Any = contract.needs["units"]
    sizes = tuple(first_of(port.codebooks))
    style: Any = contract.needs.get("style")
    dim = first_of(style.dim) if style is not None else None
    vector = f'vector=torch.zeros(1, {dim}), space_id="{first_of(style.space_id)}"' if dim else ""
    codes = f"torch.arange(20).repeat(1, {len(sizes)}, 1) % {min(sizes)}"
    facts = f'{sizes}, Fraction("{first_of(port.rate)}"), "{first_of(port.vocab_id)}", "{first_of(port.layout)}"'
    spoken = f"units = omnikit.Units({codes}, torch.tensor([20]), {facts})\n"
    made = f"audio = voice.decode(units, omnikit.Style({vector}), torch.Generator())\n"
    return "from fractions import Fraction\n", spoken + made


def _format(contract: Contract) -> tuple[str, str]:
    return _SEGMENT, 'prompt = replies.prompt("dialogue", [Segment(text="how big is it?")])\nprint(prompt)\n'


_CALLS: dict[str, Callable[[Contract], tuple[str, str]]] = {
    "vision_encoder": _vision_encoder,
    "speech_encoder": _speech_encoder,
    "input_style": _input_style,
    "projector": _projector,
    "tokenizer": _tokenizer,
    "backbone": _backbone,
    "style": _style,
    "detokenizer": _detokenizer,
    "format": _format,
}
