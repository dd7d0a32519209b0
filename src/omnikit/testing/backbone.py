"""Promises of the slot `backbone`.

Letters: B batch, N features, W backbone width, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch

from omnikit.contracts import FramesPort, UnitsPort
from omnikit.slots.backbone import CONTROLS, Backbone, Memory, Segment
from omnikit.testing.kit import NotApplicable, Subject, Suite, expect, expect_gradient, expect_same, refused
from omnikit.testing.material import draws, features, units

_TEXTS = ("what is this?", "a red star", 'ünï — 星 {"a": 1}\n')
_NEW = 6


def _ids(subject: Subject, length: int) -> tuple[tuple[int, ...], ...]:
    made = units(subject.contract.needs["units"], (length,))  # type: ignore[arg-type]
    return tuple(tuple(book) for book in made.codes[0].tolist())  # [K][T]


def _prompts(subject: Subject, backbone: Backbone) -> list[list[Segment]]:
    seen = features(backbone.width, (3,)).features[0].to(backbone.device)  # [N, W]
    return [
        [Segment(control="start"), Segment(text=_TEXTS[0]), Segment(control="reply")],
        [Segment(control="start"), Segment(frames=seen), Segment(control="reply")],
        [Segment(control="start"), Segment(units=_ids(subject, 4)), Segment(text=_TEXTS[1]), Segment(control="reply")],
    ]


def _lessons(subject: Subject, backbone: Backbone) -> list[list[Segment]]:
    answers = (
        [Segment(text=_TEXTS[1], train=True)],
        [Segment(units=_ids(subject, 3), train=True)],
        [Segment(text=_TEXTS[2], train=True), Segment(units=_ids(subject, 2), train=True)],
    )
    end = Segment(control="end", train=True)
    pairs = zip(_prompts(subject, backbone), answers, strict=True)
    return [[*prompt, *answer, end] for prompt, answer in pairs]


def _teach(subject: Subject, backbone: Backbone, num_steps: int) -> float:
    """Train on the lessons; the loss of the last step."""
    lessons = _lessons(subject, backbone)
    optimizer = torch.optim.Adam((item for item in backbone.parameters() if item.requires_grad), lr=3e-3)
    loss = torch.zeros(())
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = backbone.loss(lessons).total
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def outputs(subject: Subject, backbone: Backbone) -> Any:
    """Greedy and drawn answers, the loss of a batch, and lengths."""
    prompts = _prompts(subject, backbone)
    greedy = backbone.generate(prompts, generator=draws(), max_new_tokens=_NEW)
    drawn = backbone.generate(prompts, generator=draws(), max_new_tokens=_NEW, temperature=1.0)
    lessons = _lessons(subject, backbone)
    return greedy, drawn, backbone.loss(lessons), [backbone.count_tokens(lesson) for lesson in lessons]


def is_as_declared(subject: Subject) -> None:
    """Width, codebooks, rate, layout and vocabulary of the instance are those of its contract."""
    backbone, contract = subject.component, subject.contract
    embeds, port = dict(contract.needs["embeds"].facts()), dict(contract.needs["units"].facts())
    expect(backbone.width == embeds["dim"], f"width {backbone.width}, the contract says {embeds['dim']}.")
    expect(tuple(backbone.codebooks) == tuple(port["codebooks"]), f"codebooks {backbone.codebooks}.")
    expect(Fraction(backbone.unit_rate) == Fraction(port["rate"]), f"unit_rate {backbone.unit_rate}.")
    expect((backbone.layout, backbone.vocab_id) == (port["layout"], port["vocab_id"]), "other layout or vocabulary.")
    given = dict(contract.gives["units"].facts())
    expect(given == port, "the units that it gives are not those that it needs.")


def spelling_units_can_be_undone(subject: Subject) -> None:
    """`parse_units` undoes `unit_text` for every unit and any length, and each entry takes one position."""
    backbone = subject.component
    longest = max(backbone.codebooks)
    whole = tuple(tuple(step % size for step in range(longest)) for size in backbone.codebooks)  # each unit once [K][T]
    for spoken in (whole, *(_ids(subject, length) for length in (1, 2, 7, 30))):
        text = backbone.unit_text(spoken)
        parsed = backbone.parse_units(text)
        expect(tuple(map(tuple, parsed)) == tuple(map(tuple, spoken)), f"'{text[:60]}' is read as {parsed!r:.80}.")
        taken, entries = backbone.count_tokens([Segment(units=spoken)]), len(spoken) * len(spoken[0])
        expect(taken == entries, f"{entries} codebook entries take {taken} positions.")


def refuses_what_spells_no_units(subject: Subject) -> None:
    """Text around units, half a step, units beyond the codebook and other numbers of codebooks are refused."""
    backbone = subject.component
    text = backbone.unit_text(_ids(subject, 2))
    for wrong in (f"{text} and words", text[:-1], f" {text}", text.replace(text[-3:], "x", 1)):
        with refused(f"'{wrong[-40:]}' as units"):
            backbone.parse_units(wrong)
    with refused("a unit beyond its codebook"):
        backbone.unit_text([[size] for size in backbone.codebooks])
    with refused("units of another number of codebooks"):
        backbone.unit_text([*_ids(subject, 2), *_ids(subject, 2)])


def typed_marks_are_text(subject: Subject) -> None:
    """What a user types is text, even where it looks like a unit or a control."""
    backbone = subject.component
    spoken = _ids(subject, 1)
    typed = backbone.count_tokens([Segment(text=backbone.unit_text(spoken))])
    expect(typed > backbone.count_tokens([Segment(units=spoken)]), "typing the spelling of a unit gives the unit.")
    for control in CONTROLS:
        expect(backbone.count_tokens([Segment(control=control)]) >= 1, f"control '{control}' takes no position.")
    with refused("a control that does not exist"):
        backbone.count_tokens([Segment(control="no_such_control")])
    with refused("a segment that holds nothing"):
        backbone.count_tokens([Segment()])


def positions_add_up(subject: Subject) -> None:
    """A sequence takes the positions of its segments; every feature takes one."""
    backbone = subject.component
    for sequence in _lessons(subject, backbone):
        parts = sum(backbone.count_tokens([segment]) for segment in sequence)
        expect(backbone.count_tokens(sequence) == parts, "segments together take other positions than one by one.")
    seen = Segment(frames=features(backbone.width, (5,)).features[0])
    expect(backbone.count_tokens([seen]) == 5, "five features do not take five positions.")
    with refused("features of another width"):
        backbone.count_tokens([Segment(frames=torch.zeros(2, backbone.width + 1))])


def loss_of_a_batch_is_that_of_its_rows(subject: Subject) -> None:
    """Each row of a batch has the loss that it has alone; the total is the mean over trained positions."""
    backbone = subject.component
    lessons = _lessons(subject, backbone)
    with torch.no_grad():
        together = backbone.loss(lessons)
        alone = [backbone.loss([lesson]) for lesson in lessons]
    counts = torch.stack([item.parts["tokens"][0] for item in alone])
    expect_same(together.parts["tokens"], counts, "trained positions differ in a batch")
    rows = torch.stack([item.parts["sequences"][0] for item in alone])
    expect_same(together.parts["sequences"], rows, "a row has another loss in a batch", 1e-4)
    expect_same(together.total, (rows * counts).sum() / counts.sum(), "the total is no mean over positions", 1e-4)
    with refused("a batch in which nothing is trained"):
        backbone.loss([[replace(segment, train=False) for segment in lessons[0]]])


def learns(subject: Subject) -> None:
    """The gradient reaches every trainable part and the features, and a few steps lower the loss of a batch."""
    backbone = subject.make()  # in evaluation mode: dropout would draw from the global generator
    lessons = _lessons(subject, backbone)
    seen = lessons[1][1].frames.requires_grad_()
    start = backbone.loss(lessons).total
    expect_gradient(backbone, start)
    expect(seen.grad is not None and bool(seen.grad.any()), "no gradient comes back to the features.")
    before, after = float(start.detach()), _teach(subject, backbone, 6)
    expect(after < 0.95 * before, f"six steps lead from a loss of {before:.3f} to {after:.3f}.")


def greedy_batch_equals_singles(subject: Subject) -> None:
    """At temperature 0 a batch of prompts of different lengths gives what each gives alone."""
    backbone = subject.make()  # taught a little, so that what it writes depends on the whole prompt
    _teach(subject, backbone, 40)
    prompts = _prompts(subject, backbone.eval())
    together = backbone.generate(prompts, generator=draws(), max_new_tokens=_NEW)
    expect(len(together) == len(prompts), "answers are missing.")
    for index, prompt in enumerate(prompts):
        (alone,) = backbone.generate([prompt], generator=draws(1), max_new_tokens=_NEW)
        expect(alone == together[index], f"prompt {index} is answered {together[index].ids}, alone {alone.ids}.")


def streams_what_it_generates(subject: Subject) -> None:
    """Pieces of a stream, joined, are the text that `generate` gives, greedy and drawn."""
    backbone = subject.component
    for prompt in _prompts(subject, backbone):
        for heat in (0.0, 1.0):
            (whole,) = backbone.generate([prompt], generator=draws(), max_new_tokens=_NEW, temperature=heat)
            pieces = list(backbone.stream(prompt, generator=draws(), max_new_tokens=_NEW, temperature=heat))
            expect("".join(pieces) == whole.text, f"the stream gives {pieces}, at once it is '{whole.text}'.")


def a_memory_changes_nothing(subject: Subject) -> None:
    """A longer prompt after a shorter one, and then a wholly other one, is answered as without a memory."""
    backbone = subject.make()  # taught a little, so that what it writes depends on the whole prompt
    _teach(subject, backbone, 40)
    first, other, third = _prompts(subject, backbone.eval())
    memory = Memory()
    for prompt in (first, [*first, Segment(text=_TEXTS[1]), *third], other, [*other, *third[1:]]):
        (whole,) = backbone.generate([prompt], generator=draws(), max_new_tokens=_NEW)
        told = "".join(backbone.stream(prompt, generator=draws(), max_new_tokens=_NEW, memory=memory))
        expect(told == whole.text, f"with a memory '{told}' is written, without one '{whole.text}'.")
        expect(whole.finished != whole.truncated, "without a grammar what has no end, and that alone, was cut short.")
        expect(memory.truncated == whole.truncated, "the memory does not say whether a stream was cut short.")
        expect(0 <= memory.reused < backbone.count_tokens(prompt), f"{memory.reused} positions were not read again.")


def drawing_follows_the_generator(subject: Subject) -> None:
    """Above temperature 0 the same generator state writes the same, and another one something else."""
    backbone = subject.component

    def write(seed: int) -> Sequence[Any]:
        prompts = _prompts(subject, backbone)
        return backbone.generate(prompts, generator=draws(seed), max_new_tokens=_NEW, temperature=1.0)

    first = write(1)
    expect(first == write(1), "the same generator state writes something else.")
    expect(any(write(seed) != first for seed in (2, 3, 4)), "three other generator states write the same.")
    expect(all(len(answer.ids) <= _NEW for answer in first), "more tokens than asked for are written.")


def refuses_what_is_too_long(subject: Subject) -> None:
    """Where it has `max_positions`, prompts and lessons beyond them are refused with a clear error."""
    backbone, limit = subject.component, subject.parameters.get("max_positions")
    if limit is None:
        raise NotApplicable("it has no parameter max_positions")
    long = [Segment(control="start"), Segment(units=_ids(subject, limit)), Segment(control="end", train=True)]
    with refused(f"a prompt of {backbone.count_tokens(long)} positions"):
        backbone.generate([long], generator=draws(), max_new_tokens=1)
    with refused(f"a lesson of {backbone.count_tokens(long)} positions"):
        backbone.loss([long])
    with refused("a prompt that leaves no room for the new tokens"):
        backbone.generate(_prompts(subject, backbone), generator=draws(), max_new_tokens=limit)


def refuses_what_is_empty(subject: Subject) -> None:
    """A batch without prompts, and a prompt without segments, are refused with a clear error."""
    with refused("an empty batch"):
        subject.component.generate([], generator=draws(), max_new_tokens=1)
    with refused("an empty prompt"):
        subject.component.generate([[]], generator=draws(), max_new_tokens=1)


def fits_its_text(subject: Subject) -> None:
    """After `fit_text` it learns and writes as before, and is saved and loaded with what it learnt of text."""
    backbone = subject.make()
    backbone.fit_text(_TEXTS * 4, 300)
    with torch.no_grad():
        loss = backbone.loss(_lessons(subject, backbone)).total
    expect(bool(loss.isfinite()), "the loss is not finite after fit_text.")
    again = subject.cls(**backbone.parameters_given)
    for text in _TEXTS:
        lengths = [part.count_tokens([Segment(text=text)]) for part in (backbone, again)]
        expect(lengths[0] == lengths[1], f"made again from parameters_given, '{text!r}' takes {lengths} positions.")


def starts_units_from_vectors(subject: Subject) -> None:
    """`init_unit_embeddings` follows vectors and generator alone, stays finite, and refuses another number of units."""
    vectors = torch.randn(sum(subject.component.codebooks), 5, generator=draws())
    states = []
    for seed in (1, 1, 2):
        backbone = subject.make()
        backbone.init_unit_embeddings(vectors, draws(seed))
        states.append(dict(backbone.state_dict()))
    expect_same(states[0], states[1], "the same vectors and generator state start otherwise")
    before = subject.component.state_dict()
    changed = [name for name, tensor in states[0].items() if not torch.equal(tensor, before[name])]
    expect(bool(changed), "init_unit_embeddings changes nothing.")
    expect(all(bool(states[0][name].isfinite().all()) for name in changed), "embeddings are not finite.")
    expect(any(not torch.equal(states[0][name], states[2][name]) for name in changed), "the generator is not used.")
    with refused("vectors for another number of units"):
        subject.make().init_unit_embeddings(vectors[:-1], draws())


SUITE = Suite(
    base=Backbone,
    needs={"embeds": FramesPort, "units": UnitsPort},
    gives={"units": UnitsPort},
    outputs=outputs,
    cases=(
        is_as_declared,
        spelling_units_can_be_undone,
        refuses_what_spells_no_units,
        typed_marks_are_text,
        positions_add_up,
        loss_of_a_batch_is_that_of_its_rows,
        learns,
        greedy_batch_equals_singles,
        streams_what_it_generates,
        a_memory_changes_nothing,
        drawing_follows_the_generator,
        refuses_what_is_too_long,
        refuses_what_is_empty,
        fits_its_text,
        starts_units_from_vectors,
    ),
)
