"""How emitters lay units out, what they learn of them, and that one codebook is what a vocabulary makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import omnikit
from omnikit.backbones.hf_causal import HFCausal
from omnikit.emitters.delay import Delay
from omnikit.emitters.depth import Depth
from omnikit.emitters.hidden_ctc import HiddenCTC
from omnikit.emitters.in_vocab import InVocab
from omnikit.errors import ContractError, OmnikitError
from omnikit.slots.backbone import Segment
from omnikit.slots.emitter import Emitter, HiddenEmitter, Token

BOOKS = (8, 5, 6)
SPOKEN = ((1, 2, 3, 4), (0, 1, 2, 3), (5, 4, 3, 2))
END = Segment(control="end", train=True)
SMALL: dict[str, Any] = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 128}


def backbone(books: tuple[int, ...] = BOOKS) -> HFCausal:
    torch.manual_seed(0)
    return HFCausal(**SMALL, codebooks=books, unit_rate=25, layout="frame", vocab_id="test").eval()


def depth(books: tuple[int, ...] = BOOKS) -> Depth:
    torch.manual_seed(1)
    return Depth(dim=16, layers=1, heads=2, width=32, codebooks=books)


def delay(books: tuple[int, ...] = BOOKS) -> Delay:
    return Delay(codebooks=books, unit_rate=25)


def ctc(factor: int = 4) -> HiddenCTC:
    torch.manual_seed(1)
    return HiddenCTC(factor=factor, dim=16, layers=1, heads=2, width=32, codebooks=(8,))


def lesson(units: tuple[tuple[int, ...], ...], text: str = "ab") -> list[Segment]:
    said = Segment(text=text, train=True)
    return [Segment(control="user"), Segment(text="q"), said, Segment(units=units, train=True), said, END]


def greedy() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_codebook_stands_as_many_places_later_as_its_number() -> None:
    places = delay().places(SPOKEN, written=True)
    grid = [dict(place.codes) for place in places]
    assert grid == [{0: 1}, {0: 2, 1: 0}, {0: 3, 1: 1, 2: 5}, {0: 4, 1: 2, 2: 4}, {1: 3, 2: 3}, {2: 2}]
    assert [place.control for place in places] == [None] * 4 + ["/speech"] * 2
    assert [place.chosen for place in places] == [True] * 5 + [False]


def test_a_step_takes_one_place_with_all_its_codes() -> None:
    assert [place.codes for place in depth().places(((1, 2), (3, 4), (5, 0)), written=False)] == [
        ((0, 1), (1, 3), (2, 5)),
        ((0, 2), (1, 4), (2, 0)),
    ]


def test_what_is_heard_keeps_its_units_where_what_is_said_has_none() -> None:
    model, emitter = backbone((8,)), ctc()
    heard, said = Segment(units=((1, 2, 3),)), Segment(units=((1, 2, 3),), train=True)
    assert emitter.count_tokens(model, [heard]) == 3 and emitter.count_tokens(model, [said]) == 1
    rows = model._rows([[heard, Segment(text="a", train=True), said]], emitter)
    assert rows.ids[0] == [*model.units.ids(((1, 2, 3),)), *model.text.encode("a"), *model.text.controls["speech"]]


@pytest.mark.parametrize(("emitter", "positions"), [(InVocab(), 12), (delay(), 6), (depth(), 4)])
def test_positions_of_four_steps_of_three_codebooks(emitter: Emitter, positions: int) -> None:
    assert emitter.count_tokens(backbone(), [Segment(units=SPOKEN)]) == positions
    assert emitter.count_tokens(backbone(), [Segment(units=((), (), ()))]) == 0


def test_a_position_is_read_as_the_sum_of_its_codes() -> None:
    model = backbone()
    table = model.model.get_input_embeddings().weight
    rows = model._rows([[Segment(units=SPOKEN)]], depth())
    places = model.units.places
    wanted = [sum(table[places[book][unit]] for book, unit in enumerate(step)) for step in zip(*SPOKEN, strict=True)]
    torch.testing.assert_close(model._embed(rows, rows.length)[0], torch.stack(wanted))


def test_the_delayed_loss_is_the_cross_entropy_of_every_code_and_no_padding() -> None:
    model, emitter = backbone(), delay()
    rows = model._rows([lesson(SPOKEN)], emitter)
    hidden = model.model(inputs_embeds=model._embed(rows, rows.length), use_cache=False).last_hidden_state[0]  # [L, W]
    start = next(run.start for run in rows.runs)
    logits = model._logits(hidden)  # [L, V]
    own = logits.index_fill(1, torch.tensor(model._layout.silent(emitter)), -torch.inf)
    each = [F.cross_entropy(own[p - 1], torch.tensor(rows.ids[0][p])) for _, p in rows.trained]
    for book in (1, 2):
        for step, unit in enumerate(SPOKEN[book]):
            before = hidden[start + step + book - 1]
            scores = before @ model.model.get_input_embeddings().weight[model.units.places[book]].T
            each.append(F.cross_entropy(scores, torch.tensor(unit)))
    losses = emitter.loss(model, [lesson(SPOKEN)])
    torch.testing.assert_close(losses.total, torch.stack(each).mean())
    assert int(losses.parts["tokens"]) == len(each) == 2 * 2 + 12 + 2  # text, codes, `/speech` and `end`


def test_later_codes_change_nothing_before_them() -> None:
    """The depth transformer's logits of a codebook depend on the codes before it alone, and on those."""
    emitter = depth((8, 8, 8, 8)).eval()
    hidden, codes = torch.randn(2, 32, generator=greedy()), torch.tensor([[1, 2, 3], [4, 5, 6]])
    whole = emitter(hidden, codes)
    for number in (1, 2):
        for one, other in zip(emitter(hidden, codes[:, :number]), whole, strict=False):
            torch.testing.assert_close(one, other)
    other = codes.clone()
    other[:, 1] = 0
    changed = emitter(hidden, other)
    torch.testing.assert_close(changed[0], whole[0])
    assert not torch.allclose(changed[1], whole[1])


def test_a_step_is_written_from_what_it_was_learnt_from() -> None:
    """Greedy writing takes at every codebook the likeliest entry under teacher forcing on what it wrote itself."""
    emitter = depth().eval()
    hidden = torch.randn(5, 32, generator=greedy())
    steps = emitter.write(hidden, torch.tensor([0, 1, 2, 3, 4]), lambda logits: logits.argmax(-1))
    forced = emitter(hidden, steps[:, :-1])
    assert torch.equal(torch.stack([logits.argmax(-1) for logits in forced], dim=1), steps[:, 1:])


@pytest.mark.parametrize("make", [delay, depth])
@pytest.mark.filterwarnings("ignore:emitter")
def test_one_codebook_is_what_the_vocabulary_makes_of_it(make: Callable[..., HiddenEmitter]) -> None:
    model, emitter, plain = backbone((8,)), make((8,)), InVocab()
    lessons = [lesson(((1, 2, 3),)), lesson(((4, 0, 4, 0),), "c")]
    found, known = (one.loss(model, lessons) for one in (emitter, plain))
    assert torch.equal(found.total, known.total) and torch.equal(found.parts["tokens"], known.parts["tokens"])
    prompts = [row[:3] for row in lessons]
    for heat in (0.0, 1.5):
        how = {"max_new_tokens": 20, "temperature": heat}
        written = [one.generate(model, prompts, generator=greedy(), **how) for one in (emitter, plain)]
        assert written[0] == written[1]


def test_a_user_is_told_that_one_codebook_needs_no_pattern() -> None:
    with pytest.warns(UserWarning, match="emitter/delay is for several codebooks; with one"):
        delay((8,))


def test_misreading_reaches_every_codebook_and_stays_in_it() -> None:
    model, emitter = backbone(), depth()
    rows = model._rows([lesson(SPOKEN)], emitter)
    read = model._layout.misread(rows, 0.9, greedy())
    books = model.units.ranges()
    assert read.beside != rows.beside
    assert all(one in books[1] and two in books[2] for one, two in read.beside.values())
    noisy = emitter.loss(model, [lesson(SPOKEN)], misread=0.9, generator=greedy())
    assert noisy.total != emitter.loss(model, [lesson(SPOKEN)]).total


def test_only_whole_steps_are_told_of_a_reply_that_is_cut_off() -> None:
    model, emitter = backbone(), delay()
    hand = emitter.hand(model, 1, lambda logits: logits.argmax(-1))
    hidden = torch.randn(1, 32, generator=greedy())
    told = [hand.write(hidden, [Token(unit=unit)])[0].steps for unit in (1, 2, 3, 4)]
    assert [len(steps) for steps in told] == [0, 0, 1, 1]
    assert [steps[0][0] for steps in told[2:]] == [1, 2] and hand.wants() == ["run"]
    late = [hand.write(hidden, [Token(control="/speech")])[0].steps for _ in range(2)]
    assert [steps[0][0] for steps in late] == [3, 4] and hand.wants() == ["any"]


def test_a_run_has_no_more_units_than_copies_of_its_text() -> None:
    model, emitter = backbone((8,)), ctc(factor=2).eval()
    fits, crowded = (emitter.loss(model, [lesson((units,))]) for units in ((1, 2, 3), (1, 2, 3, 4, 5)))
    assert fits.parts["tokens"].tolist() == [9] and crowded.parts["tokens"].tolist() == [11]
    for parameter in emitter.parameters():
        parameter.grad = None
    crowded.total.backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in emitter.parameters())


def test_a_reply_is_said_from_its_own_text_and_tts_from_what_was_typed() -> None:
    model, emitter = backbone((8,)), ctc()
    own, typed = lesson(((1, 2),)), [Segment(control="user"), Segment(text="xyz"), Segment(units=((1, 2),), train=True)]
    rows = model._rows([own, typed], emitter)
    assert [run.said for run in rows.runs] == [(2, 3), (1, 2, 3)]  # "ab" behind "q"; "xyz"
    with pytest.raises(OmnikitError, match="any text"):
        emitter.loss(model, [[Segment(control="user"), Segment(units=((1, 2),), train=True)]])


def test_units_in_several_places_of_a_reply_are_refused() -> None:
    units = Segment(units=((1, 2),), train=True)
    reply = [Segment(text="q"), Segment(text="a", train=True), units, Segment(text="b", train=True), units, END]
    with pytest.raises(OmnikitError, match="several places"):
        ctc().loss(backbone((8,)), [reply])


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(OmnikitError, match="dim 10 must be a multiple of heads 4"):
        Depth(dim=10, heads=4, width=32, codebooks=BOOKS)


def test_what_an_emitter_cannot_write_is_refused_by_its_contract() -> None:
    with pytest.raises(ContractError, match="one codebook, these have 3"):
        HiddenCTC.contract(width=32, codebooks=BOOKS)
    assert not HiddenCTC.contract(width=32, codebooks=(8,)).causal
    assert Delay.contract(codebooks=(8,) * 4, unit_rate=12.5).lookahead_ms == pytest.approx(240.0)
    assert omnikit.describe("emitter/hidden_ctc").contract.lookahead_ms is None


def test_a_backbone_that_shows_no_hidden_states_writes_in_its_vocabulary_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone()
    plain = HFCausal.contract.__func__

    def closed(cls: type, **parameters: Any) -> Any:
        contract = plain(cls, **parameters)
        return type(contract)(needs=contract.needs, gives={"units": contract.gives["units"]})

    monkeypatch.setattr(HFCausal, "contract", classmethod(closed))
    assert InVocab().loss(model, [lesson(SPOKEN)]).total.isfinite()
    with pytest.raises(OmnikitError, match="does not show its hidden states"):
        depth().loss(model, [lesson(SPOKEN)])
