"""Promises of the slot `emitter`, held with a small backbone that writes units of the same codebooks.

Letters: K codebooks, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from omnikit.contracts import FramesPort, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.registry import create
from omnikit.slots.backbone import Backbone, Generated, Memory, Segment
from omnikit.slots.emitter import Emitter
from omnikit.slots.grammar import literal, sequence, some_units
from omnikit.testing.kit import Subject, Suite, expect, expect_gradient, expect_same, first_of, refused
from omnikit.testing.material import draws

_RATE, _LAYOUT, _VOCAB = 25, "frame", "conformance"
_WIDTH, _BOOKS = 32, (16,)
_NEW = 40
_STEPS_BY_HEART = 300
_BY_HEART = 0.03
_OPEN, _CLOSE = "<", ">"


def _books(subject: Subject) -> tuple[int, ...]:
    return tuple(first_of(getattr(subject.contract.needs["units"], "codebooks", None)) or _BOOKS)


def _width(subject: Subject) -> int:
    port: Any = subject.contract.needs.get("hidden")
    return (first_of(port.dim) if port is not None else None) or _WIDTH


def _made(width: int, books: tuple[int, ...]) -> Backbone:
    """A backbone with the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(
            "backbone/hf_causal",
            **{"hidden": width, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 192},
            **{"codebooks": books, "unit_rate": _RATE, "layout": _LAYOUT, "vocab_id": _VOCAB},
        ).eval()


_shared = lru_cache(maxsize=16)(_made)
"""The same, one for all that only read."""


def _backbone(subject: Subject) -> Backbone:
    """The backbone of the emitter's codebooks and width, not to be taught."""
    return _shared(_width(subject), _books(subject))


def _pupil(subject: Subject) -> tuple[Emitter, Backbone]:
    """An emitter and a backbone of its own that may learn."""
    return subject.make(), _made(_width(subject), _books(subject))


def _units(books: Sequence[int], length: int) -> tuple[tuple[int, ...], ...]:
    """Units [K][T], no two neighbours equal."""
    return tuple(tuple((3 * step + book + length) % size for step in range(length)) for book, size in enumerate(books))


def _lessons(books: Sequence[int]) -> list[list[Segment]]:
    """A reply with units inside its text, units alone for a text that was typed, and text alone for units heard."""
    end = Segment(control="end", train=True)

    def asked(*user: Segment) -> list[Segment]:
        return [Segment(control="start"), Segment(control="user"), *user, Segment(control="reply")]

    text = [Segment(text=each, train=True) for each in ("ab", _OPEN, _CLOSE)]
    return [
        [*asked(Segment(text="q")), *text[:2], Segment(units=_units(books, 5), train=True), text[2], end],
        [*asked(Segment(text="cde")), Segment(units=_units(books, 3), train=True), end],
        [*asked(Segment(units=_units(books, 4))), Segment(text="it", train=True), end],
    ]


def _prompts(books: Sequence[int]) -> list[list[Segment]]:
    return [[segment for segment in lesson if not segment.train] for lesson in _lessons(books)]


def _teach(emitter: Emitter, backbone: Backbone, num_steps: int, enough: float = 0.0) -> float:
    """Train both on the lessons until the loss is as low as `enough`, or for `num_steps`; the loss of the last step."""
    weights = [weight for part in (backbone, emitter) for weight in part.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    loss = torch.zeros(())
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = emitter.loss(backbone, _lessons(tuple(backbone.codebooks))).total
        loss.backward()
        optimizer.step()
        if float(loss.detach()) <= enough:
            break
    return float(loss.detach())


def _write(emitter: Emitter, backbone: Backbone, seed: int = 0, **how: Any) -> list[Generated]:
    asked: dict[str, Any] = {"max_new_tokens": _NEW, **how}
    return emitter.generate(backbone, _prompts(tuple(backbone.codebooks)), generator=draws(seed), **asked)


def outputs(subject: Subject, emitter: Emitter) -> Any:
    """The loss of the lessons, positions, and greedy and drawn answers of an untaught backbone."""
    backbone = _backbone(subject).to(emitter.device)
    lessons = _lessons(_books(subject))
    counted = [emitter.count_tokens(backbone, lesson) for lesson in lessons]
    written = [_write(emitter, backbone, temperature=heat, max_new_tokens=8) for heat in (0.0, 1.0)]
    return emitter.loss(backbone, lessons), counted, written


def learns(subject: Subject) -> None:
    """The gradient reaches all its weights and the backbone's, and a few steps lower the loss of a batch."""
    emitter, backbone = _pupil(subject)
    start = emitter.loss(backbone, _lessons(_books(subject))).total
    before = float(start.detach())
    if any(True for _ in emitter.parameters()):
        expect_gradient(emitter, start)
    else:
        start.backward()
    reached = any(weight.grad is not None and bool(weight.grad.any()) for weight in backbone.parameters())
    expect(reached, "no gradient reaches the backbone.")
    after = _teach(emitter, backbone, 6)
    expect(after < 0.95 * before, f"six steps lead from a loss of {before:.3f} to {after:.3f}.")


def loss_of_a_batch_is_that_of_its_rows(subject: Subject) -> None:
    """Each row of a batch has the loss that it has alone; the total is the mean over all tokens and codes."""
    emitter, backbone = subject.component, _backbone(subject)
    lessons = _lessons(_books(subject))
    with torch.no_grad():
        together = emitter.loss(backbone, lessons)
        alone = [emitter.loss(backbone, [lesson]) for lesson in lessons]
    counts = torch.stack([item.parts["tokens"][0] for item in alone])
    expect_same(together.parts["tokens"], counts, "the tokens that count differ in a batch")
    rows = torch.stack([item.parts["sequences"][0] for item in alone])
    expect_same(together.parts["sequences"], rows, "a row has another loss in a batch", 1e-4)
    expect_same(together.total, (rows * counts).sum() / counts.sum(), "the total is no mean over tokens", 1e-4)


def counts_what_it_learns(subject: Subject) -> None:
    """`count_trained` is what `loss` says that it counts; every code of every step is among it."""
    emitter, backbone, books = subject.component, _backbone(subject), _books(subject)
    lessons = _lessons(books)
    with torch.no_grad():
        found = emitter.loss(backbone, lessons).parts["tokens"].tolist()
    said = [emitter.count_trained(backbone, lesson) for lesson in lessons]
    expect(found == said, f"the loss counts {found} tokens, count_trained {said}.")
    codes = 5 * len(books)
    expect(found[0] >= codes + 4, f"a lesson of four text tokens and {codes} codes counts {found[0]}; each is learnt.")


def positions_add_up(subject: Subject) -> None:
    """A sequence takes the positions of its segments, and text as many as it takes without an emitter."""
    emitter, backbone = subject.component, _backbone(subject)
    for lesson in _lessons(_books(subject)):
        parts = sum(emitter.count_tokens(backbone, [segment]) for segment in lesson)
        expect(emitter.count_tokens(backbone, lesson) == parts, "segments together take other positions than alone.")
        text = [segment for segment in lesson if segment.units is None]
        taken = emitter.count_tokens(backbone, text), backbone.count_tokens(text)
        expect(taken[0] == taken[1], f"text takes {taken[0]} positions, in the backbone {taken[1]}.")


def hears_every_unit(subject: Subject) -> None:
    """What a user says is read whole: another code anywhere in it gives what follows another loss."""
    emitter, backbone, books = subject.component, _backbone(subject), _books(subject)
    end = Segment(control="end", train=True)
    heard = _units(books, 3)
    rows = [heard]
    for book, size in enumerate(books):
        for step in range(3):
            other = tuple((unit + (at == step)) % size for at, unit in enumerate(heard[book]))
            rows.append((*heard[:book], other, *heard[book + 1 :]))
    with torch.no_grad():
        losses = emitter.loss(backbone, [[Segment(units=row), end] for row in rows]).parts["sequences"].tolist()
    for row, loss in zip(rows[1:], losses[1:], strict=True):
        expect(loss != losses[0], f"{row} is read as if it were {heard}.")


def says_what_it_has_learnt(subject: Subject) -> None:
    """What was learnt by heart is written again, unit for unit: reading, learning and writing lay units out alike."""
    (emitter, backbone), books = _pupil(subject), _books(subject)
    loss = _teach(emitter, backbone, _STEPS_BY_HEART, _BY_HEART)
    expect(loss <= _BY_HEART, f"three short lessons are not learnt in {_STEPS_BY_HEART} steps: the loss is {loss:.3f}.")
    for lesson, found in zip(_lessons(books), _write(emitter, backbone), strict=True):
        target = [segment for segment in lesson if segment.train]
        wanted = "".join(item.text or (backbone.unit_text(item.units) if item.units else "") for item in target)
        expect(found.finished and found.text == wanted, f"'{found.text}' is written, '{wanted}' was learnt.")


def greedy_batch_equals_singles(subject: Subject) -> None:
    """At temperature 0 a batch of prompts gives what each gives alone."""
    (emitter, backbone), books = _pupil(subject), _books(subject)
    _teach(emitter, backbone, 20)  # so that what it writes depends on the whole prompt
    together = _write(emitter, backbone)
    for index, prompt in enumerate(_prompts(books)):
        (alone,) = emitter.generate(backbone, [prompt], generator=draws(1), max_new_tokens=_NEW)
        expect(alone == together[index], f"prompt {index} is answered '{together[index].text}', alone '{alone.text}'.")


def streams_what_it_generates(subject: Subject) -> None:
    """Pieces of a stream, joined, are what `generate` gives, also behind a memory of what was read before."""
    (emitter, backbone), books = _pupil(subject), _books(subject)
    _teach(emitter, backbone, 20)
    memory = Memory()
    for prompt in _prompts(books):
        for heat in (0.0, 1.0):
            how: dict[str, Any] = {"max_new_tokens": _NEW, "temperature": heat}
            (whole,) = emitter.generate(backbone, [prompt], generator=draws(), **how)
            pieces = list(emitter.stream(backbone, prompt, generator=draws(), memory=memory, **how))
            expect("".join(pieces) == whole.text, f"the stream gives {pieces}, at once it is '{whole.text}'.")


def drawing_follows_the_generator(subject: Subject) -> None:
    """Above temperature 0 the same generator state writes the same, and another one something else."""
    emitter, backbone = subject.component, _backbone(subject)
    first = _write(emitter, backbone, 1, temperature=1.0)
    expect(first == _write(emitter, backbone, 1, temperature=1.0), "the same generator state writes something else.")
    others = (_write(emitter, backbone, seed, temperature=1.0) for seed in (2, 3))
    expect(any(other != first for other in others), "two other generator states write the same.")


def held_to_a_grammar_it_writes_whole_steps(subject: Subject) -> None:
    """Held to text around units, an untaught backbone writes just that, in whole steps, within any budget."""
    emitter, backbone, books = subject.component, _backbone(subject), _books(subject)
    rule = sequence(literal(_OPEN), some_units(len(books)), literal(_CLOSE))
    for budget in (rule.cost + 1, 9 * len(books)):
        for found in _write(emitter, backbone, temperature=1.5, max_new_tokens=budget, grammar=rule):
            expect(found.finished, f"'{found.text}' is not finished within {budget} positions.")
            inside = found.text.removeprefix(_OPEN).removesuffix(_CLOSE)
            expect(found.text == _OPEN + inside + _CLOSE, f"'{found.text}' leaves the grammar.")
            try:
                units = backbone.parse_units(inside)
            except OmnikitError:
                units = ((),)
            expect(len(units[0]) > 0, f"'{inside}' is no row of whole steps.")


def refuses_other_codebooks(subject: Subject) -> None:
    """Units of another tokenizer are refused, and a backbone of other codebooks where it knows its own."""
    emitter, backbone, books = subject.component, _backbone(subject), _books(subject)
    end = Segment(control="end", train=True)
    for wrong in (tuple((size,) for size in books), (*_units(books, 2), *_units(books, 2))):
        with refused(f"units {wrong}"):
            emitter.loss(backbone, [[Segment(text="a"), Segment(units=wrong, train=True), end]])
    if getattr(subject.contract.needs["units"], "codebooks", None) is not None:
        with refused("a backbone of other codebooks"):
            emitter.loss(_shared(_width(subject), tuple(size + 1 for size in books)), _lessons(books))


SUITE = Suite(
    base=Emitter,
    needs={"hidden": FramesPort, "units": UnitsPort},
    gives={"units": UnitsPort},
    outputs=outputs,
    cases=(
        learns,
        loss_of_a_batch_is_that_of_its_rows,
        counts_what_it_learns,
        positions_add_up,
        hears_every_unit,
        says_what_it_has_learnt,
        greedy_batch_equals_singles,
        streams_what_it_generates,
        drawing_follows_the_generator,
        held_to_a_grammar_it_writes_whole_steps,
        refuses_other_codebooks,
    ),
)
