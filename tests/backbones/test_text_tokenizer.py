"""The byte-level BPE and the wrapped tokenizer of a published model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.backbones.text_tokenizer import ByteBPE, PublishedTokenizer, train_text_tokenizer
from omnikit.errors import OmnikitError
from omnikit.slots.backbone import CONTROLS

TEXTS = ["the red star is in the top left corner", "the blue heart is big"] * 5
TRAINED = ByteBPE(train_text_tokenizer(TEXTS, 300))


@given(st.text())
def test_every_string_survives(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    for tokenizer in (ByteBPE(), TRAINED):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.sampled_from(CONTROLS), st.text(max_size=5))
def test_no_text_becomes_a_control_or_a_unit(control: str, text: str) -> None:
    typed = f"<|{control}|>{text.encode('utf-8', 'ignore').decode()}<|speech_3|>"
    ids = TRAINED.encode(typed)
    assert max(ids) < min(index for ids in TRAINED.controls.values() for index in ids)
    assert TRAINED.decode(ids) == typed


def test_merges_make_text_shorter_and_are_all_there_is() -> None:
    merges = train_text_tokenizer(TEXTS, 300)
    assert 0 < len(merges) <= 300 - 256
    assert len(TRAINED.encode(TEXTS[0])) < len(ByteBPE().encode(TEXTS[0])) / 2
    assert train_text_tokenizer(TEXTS, 300) == merges
    assert ByteBPE(merges).encode(TEXTS[1]) == TRAINED.encode(TEXTS[1])


def test_ids_are_bytes_then_pieces_then_controls() -> None:
    assert sorted(index for ids in TRAINED.controls.values() for index in ids) == list(
        range(TRAINED.size - len(CONTROLS), TRAINED.size)
    )
    assert ByteBPE().size == 256 + len(CONTROLS)
    assert TRAINED.decode([*TRAINED.encode("a"), *TRAINED.controls["end"]]) == "a"


@pytest.mark.parametrize("merge", ["ab", "a b c", "zz y", ""])
def test_a_merge_of_unknown_pieces_is_refused(merge: str) -> None:
    with pytest.raises(OmnikitError, match="no merge"):
        ByteBPE([merge])


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(OmnikitError, match="256"):
        train_text_tokenizer(TEXTS, 255)


CHATML = (
    "{% for m in messages %}{% if loop.first %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + m['content'] + '</turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "marks", "spelled"),
    [
        (
            CHATML,
            ["<|im_start|>", "<|im_end|>"],
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>"
            "\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            GEMMA,
            ["<bos>", "<turn>", "</turn>"],
            # one control serves all turns, so the line break that only later ones have before them is dropped
            "<bos><turn>user\nA</turn>\n<turn>assistant\nB</turn><turn>user\nC</turn>\n<turn>assistant\n",
        ),
    ],
)
def test_a_published_models_turns_are_written_as_its_template_does(
    template: str, marks: list[str], spelled: str
) -> None:
    tokenizer = PublishedTokenizer(published(template, marks))
    ids: list[int] = []
    for piece in ("start", "user", "A", "reply", "B", "end", "user", "C", "reply"):
        ids += tokenizer.controls.get(piece) or tokenizer.encode(piece)
    assert tokenizer._tokenizer.decode(ids) == spelled
    assert len(tokenizer.controls["end"]) == 1
    new = [tokenizer.controls[name] for name in CONTROLS if name not in ("start", "user", "reply", "end")]
    assert [ids[0] for ids in new] == list(range(tokenizer.size - len(new), tokenizer.size))
    typed = f"{marks[0]} is typed"
    assert max(tokenizer.encode(typed)) < 256 and tokenizer.decode(tokenizer.encode(typed)) == typed


def published(template: str, marks: list[str]):
    """A transformers tokenizer over bytes with some special tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(marks)
    return PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=template, eos_token=marks[-1])
