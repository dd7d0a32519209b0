"""What every format promises of its grammar: it holds just what is written, and decoding cannot leave it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.backbones.hf_causal import HFCausal
from omnikit.errors import OmnikitError
from omnikit.formats.chain import ChainFormat
from omnikit.formats.emova_json import EmovaJsonFormat
from omnikit.formats.json import JsonFormat
from omnikit.formats.parallel import ParallelFormat
from omnikit.formats.plain_chain import PlainChainFormat
from omnikit.formats.tagged import TaggedFormat
from omnikit.slots.backbone import Segment
from omnikit.slots.grammar import accepts
from omnikit.types import SpokenTurn, Style, Units

VALUES = {"emotion": ("neutral", "sad"), "pitch": ("low", "high"), "speed": ("slow", "fröhlich")}
FORMATS: list[ChainFormat] = [
    JsonFormat(),
    TaggedFormat(),
    PlainChainFormat(),
    ParallelFormat(words=2, steps=3),
    ParallelFormat(words=1, steps=1),
    EmovaJsonFormat(),
]
SMALL = {"hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 16, "unit_rate": 25, "layout": "frame"}


def backbone_of(*books: int) -> HFCausal:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HFCausal(**SMALL, max_positions=256, codebooks=books, vocab_id="test").eval()


BACKBONE, TWO = backbone_of(16), backbone_of(8, 4)
each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.name}{getattr(form, 'words', '')}")
texts = st.text(
    st.one_of(st.sampled_from(' \n\t\\<>&|"{}ensa 星。　é'), st.characters(exclude_categories=["Cs"])), max_size=24
)
styles = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
steps = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=9)


def turn_of(reply: str, heard: str | None, labels: dict | None, spoken: list | None) -> SpokenTurn:
    units = None
    if spoken is not None:
        codes = torch.tensor(spoken).T[None]  # [1, K, T]
        units = Units(codes, torch.tensor([len(spoken)]), TWO.codebooks, TWO.unit_rate, "test")
    style = Style(labels=(labels,)) if labels else Style()
    return SpokenTurn(text=reply, user_text=heard, style=style, units=units)


def symbols_of(segments: Sequence[Segment]) -> list[int | str]:
    found: list[int | str] = []
    for item in segments:
        found += [item.text] if item.text else [book for _ in (item.units or [[]])[0] for book in (0, 1)]
    return found


_UNIT = re.compile(r"<\|speech_0_[0-7]\|>|<\|speech_1_[0-3]\|>")


def symbols_in(raw: str) -> list[int | str]:
    """What a grammar reads of a text in which every mark of `TWO` is a unit."""
    return [int(piece[9]) if _UNIT.fullmatch(piece) else piece for piece in re.split(f"({_UNIT.pattern})", raw)]


@each_format
@settings(max_examples=25, deadline=None)
@given(texts, st.none() | texts, st.none() | styles, st.none() | steps)
def test_what_is_written_is_held_and_read_back(form: ChainFormat, reply, heard, labels, spoken) -> None:
    turn = turn_of(reply, heard, labels, spoken)
    target = form.target("dialogue", turn, TWO)
    assert accepts(form.grammar("dialogue", TWO, VALUES), symbols_of(target))
    raw = "".join(item.text or (TWO.unit_text(item.units) if item.units else "") for item in target)
    read = form.parse("dialogue", raw, TWO)
    assert read.parse_ok and (read.text, read.user_text) == (reply, heard)
    assert dict(*read.style.labels) == ({name: labels[name] for name in form.factors} if labels else {})
    assert (read.units is None) == (spoken is None)
    if spoken is not None:
        assert read.units.codes[0].T.tolist() == [list(step) for step in spoken]


@each_format
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_held_is_well_formed(form: ChainFormat, data: st.DataObject) -> None:
    turn = turn_of("so <it> is\n星 x", "a&b", dict.fromkeys(VALUES, "sad"), [(1, 2)] * 7)
    target = form.target("dialogue", turn, TWO)
    raw = "".join(item.text or (TWO.unit_text(item.units) if item.units else "") for item in target)
    at = data.draw(st.integers(0, len(raw)))
    spoilt = raw[:at] + data.draw(st.sampled_from(["", " ", "\n", "\\", "x", "<", "&", "星", '"'])) + raw[at + 1 :]
    if accepts(form.grammar("dialogue", TWO, {}), symbols_in(spoilt)):
        assert form.parse("dialogue", spoilt, TWO).parse_ok


@each_format
def test_no_random_model_leaves_the_grammar(form: ChainFormat) -> None:
    draws = torch.Generator().manual_seed(1)
    words = torch.randint(97, 123, (34, 5), generator=draws).tolist()
    prompts = [[Segment(control="start"), Segment(text="".join(map(chr, word)))] for word in words]
    cases = ((TWO, "dialogue", 0.0), (BACKBONE, "dialogue", 2.0), (BACKBONE, "asr", 2.0), (TWO, "tts", 0.0))
    for backbone, task, temperature in cases:
        grammar = form.grammar(task, backbone, VALUES)
        written = backbone.generate(
            prompts, generator=draws, max_new_tokens=grammar.cost + 20, temperature=temperature, grammar=grammar
        )
        for answer in written:
            read = form.parse(task, answer.text, backbone)
            assert answer.finished and read.parse_ok, answer.text
            assert all(value in VALUES[name] for name, value in dict(*read.style.labels).items())
            if task == "tts":
                assert bool((read.units.codes[0] < torch.tensor(backbone.codebooks)[:, None]).all())


@each_format
def test_a_batch_is_held_as_its_rows_are(form: ChainFormat) -> None:
    grammar = form.grammar("dialogue", TWO, VALUES)
    prompts = [form.prompt("dialogue", [Segment(text=text)]) for text in ("a", "a much longer question", "why")]
    budget = grammar.cost + 30
    together = TWO.generate(prompts, generator=torch.Generator(), max_new_tokens=budget, grammar=grammar)
    for prompt, found in zip(prompts, together, strict=True):
        assert [found] == TWO.generate([prompt], generator=torch.Generator(), max_new_tokens=budget, grammar=grammar)


def test_a_budget_without_room_for_any_reply_is_refused() -> None:
    grammar = JsonFormat().grammar("dialogue", BACKBONE, VALUES)
    with pytest.raises(OmnikitError, match="shortest reply"):
        BACKBONE.generate(
            [[Segment(text="a")]], generator=torch.Generator(), max_new_tokens=grammar.cost, grammar=grammar
        )


def test_a_well_formed_answer_stays_as_it_is() -> None:
    backbone, form = backbone_of(16), JsonFormat(factors=["emotion"])
    backbone.fit_text(['{"reply":"It is red.","emotion":"sad","units":"'] * 3, 290)
    spoken = Units(torch.tensor([[[1, 5, 5, 2]]]), torch.tensor([4]), (16,), backbone.unit_rate, "test")
    turn = SpokenTurn(text="It is red.", style=Style(labels=({"emotion": "sad"},)), units=spoken)
    prompt = form.prompt("dialogue", [Segment(text="hi")])
    optimizer = torch.optim.Adam(backbone.parameters(), lr=3e-2)
    for _ in range(80):
        optimizer.zero_grad()
        backbone.loss([[*prompt, *form.target("dialogue", turn, backbone)]]).total.backward()
        optimizer.step()
    asked = {"generator": torch.Generator(), "max_new_tokens": 60}
    free = backbone.generate([prompt], **asked)
    held = backbone.generate([prompt], **asked, grammar=form.grammar("dialogue", backbone, {"emotion": ("sad", "low")}))
    assert form.parse("dialogue", free[0].text, backbone).parse_ok and free == held
    (other,) = backbone.generate([prompt], **asked, grammar=form.grammar("dialogue", backbone, {"emotion": ("low",)}))
    assert form.parse("dialogue", other.text, backbone).style.labels[0]["emotion"] == "low"
