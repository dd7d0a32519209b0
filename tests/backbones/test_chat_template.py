"""How a published model's turns are found in its chat template, and which templates are refused in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backbones.conftest import publish

import omnikit
from omnikit.backbones.chat_template import ChatTemplateError, chat_controls
from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.text_tokenizer import PublishedTokenizer
from omnikit.errors import OmnikitError
from omnikit.slots.backbone import CONTROLS

QWEN2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\n' }}By default.{{ '<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKS = ("<|im_start|>", "<|im_end|>")
MISTRAL = (
    "{{ '<|im_start|>' }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (messages[0].content + '\n\n' if loop.index == 2 and messages[0].role == 'system' else '') }}"
    "{{ m.content + '[/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + '<|im_end|>' }}{% endif %}"
    "{% endfor %}"
)
TURN = "{{ '<|im_start|>' + m.role + ' ' + %s + '<|im_end|>' }}"


def each(turn: str) -> str:
    """A template that writes every message alike."""
    return "{% for m in messages %}" + turn + "{% endfor %}<|im_start|>assistant "


def tokenizer_of(template: str | dict[str, str] | None, marks: tuple[str, ...] = MARKS) -> Any:
    """A transformers tokenizer over bytes, with special tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(list(marks))
    return PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=template, eos_token=marks[-1])


def spelled(tokenizer: PublishedTokenizer, *pieces: str) -> str:
    """Controls and texts one behind the other, as the model reads them."""
    ids = [index for piece in pieces for index in tokenizer.controls.get(piece) or tokenizer.encode(piece)]
    return tokenizer._tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("system", "sentence"),
    [(None, "By default."), ("You are a helpful assistant.", "You are a helpful assistant."), ("", "")],
)
def test_a_system_sentence_stands_where_the_template_puts_it(system: str | None, sentence: str) -> None:
    tokenizer = PublishedTokenizer(tokenizer_of(QWEN2), system)
    assert spelled(tokenizer, "start", "user", "What is red?", "reply", "A star.", "end", "user", "Big?", "reply") == (
        f"<|im_start|>system\n{sentence}<|im_end|>\n"
        "<|im_start|>user\nWhat is red?<|im_end|>\n"
        "<|im_start|>assistant\nA star.<|im_end|>\n"
        "<|im_start|>user\nBig?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_template_that_puts_the_sentence_inside_a_turn_serves_without_one() -> None:
    tokenizer = PublishedTokenizer(tokenizer_of(MISTRAL))
    read = spelled(tokenizer, "start", "user", "A", "reply", "B", "end", "user", "C", "reply")
    assert read == "<|im_start|>[INST] A[/INST] B<|im_end|>[INST] C[/INST] "


@pytest.mark.parametrize("model", ["qwen2_5_3b", "qwen2_5_7b", "qwen2_5_7b_lora", "qwen2_5_72b"])
def test_the_published_systems_have_their_sentence(model: str) -> None:
    assert omnikit.describe(f"backbone/{model}").parameters["system"] == "You are a helpful assistant."
    assert omnikit.describe("backbone/hf_causal").parameters["system"] is None


@pytest.mark.parametrize(
    ("template", "system", "said"),
    [
        ("{% for m in messages %}{{ m.content }", None, "cannot be run: TemplateSyntaxError"),
        ("{{ raise_exception('no such roles here') }}", None, "cannot be run: .*no such roles here"),
        ("{{ messages[0].content.text.deep }}", None, "cannot be run: UndefinedError"),
        ("{{ 1 // 0 }}", None, "cannot be run: ZeroDivisionError"),
        ({"tool_use": QWEN2}, None, "cannot be run: ValueError"),
        (each(TURN % "'said'"), None, "leaves out what the user says"),
        ("{% set m = messages[-1] %}" + TURN % "m.content", None, "leaves out what the user says"),
        (each("{% if m.role == 'user' %}" + TURN % "m.content" + "{% endif %}"), None, "out what the assistant"),
        (each(TURN % "m.content.upper()"), None, "changes the letters of what the user says"),
        (each(TURN % "(m.content + m.content)"), None, "writes what the user says 2 times"),
        (each(TURN % "m.content").replace("messages", "messages | reverse"), None, "in another order"),
        (each("{{ m.content }}"), None, "nothing between a question and its answer"),
        (each("{{ ' ' if m.role == 'assistant' }}{{ m.content }}"), None, "an answer and the next question"),
        (each("{{ m.role + ': ' + m.content + '\n' }}"), None, "ends an answer in plain text"),
        (each("{{ ('Q ' if loop.first else m.role) + m.content + '<|im_end|>' }}"), None, "in another way than"),
        (each("{% if m.role != 'system' %}" + TURN % "m.content" + "{% endif %}"), "Hi.", "no place of its own"),
        (MISTRAL, "Hi.", "no place of its own"),
        (
            each("{{ raise_exception('no system') if m.role == 'system' }}" + TURN % "m.content"),
            "Hi.",
            "no system\n.*system=null",
        ),
        (None, "Hi.", "has no chat template, so no system sentence"),
        ("", "Hi.", "has no chat template, so no system sentence"),
    ],
)
def test_a_template_that_cannot_be_used_says_what_is_wrong_and_what_to_do(
    template: Any, system: str | None, said: str
) -> None:
    with pytest.raises(ChatTemplateError, match=said) as told:
        chat_controls(tokenizer_of(template), system)
    message = str(told.value)
    assert isinstance(told.value, OmnikitError) and len(message.splitlines()) <= 8
    assert "tokenizer.json" in message or "system=null" in message


def test_a_template_that_is_bad_is_no_matter_of_the_network(tmp_path: Path) -> None:
    folder = publish(tmp_path, tied=True)
    (folder / "chat_template.jinja").write_text(each(TURN % "m.content.upper()"))
    with pytest.raises(ChatTemplateError, match="changes the letters"):
        HFCausal(pretrained=str(folder), **SIZES)


SIZES: dict[str, Any] = {
    "hidden": 32,
    "max_positions": 64,
    "codebooks": [8],
    "unit_rate": 25,
    "layout": "frame",
    "vocab_id": "test",
}


def test_the_sentence_is_a_parameter_that_is_kept(tmp_path: Path) -> None:
    folder = publish(tmp_path / "hub", tied=True)
    (folder / "chat_template.jinja").write_text(each(TURN % "m.content").replace("<|im_end|>", "</s>"))
    backbone = HFCausal(pretrained=str(folder), system="Be brief.", **SIZES)
    opening = backbone.text.encode("<|im_start|>system Be brief.")
    assert list(backbone.text.controls["start"])[: len(opening)] == opening
    backbone.save_extra(tmp_path)
    again = HFCausal(**HFCausal.restore_parameters(backbone.parameters_given, tmp_path))
    assert again.text.controls == backbone.text.controls
    other = HFCausal(pretrained=str(folder), **SIZES)
    assert other.text.controls["start"] == () and other.text.controls["user"] == again.text.controls["user"]


def test_a_random_model_takes_no_sentence(make: Callable[..., HFCausal]) -> None:
    with pytest.raises(OmnikitError, match="no chat template"):
        make(system="Be brief.")


def test_a_base_model_learns_its_turns_and_one_with_units_knows_them() -> None:
    base = PublishedTokenizer(tokenizer_of(None))
    assert len({base.controls[name] for name in CONTROLS}) == len(CONTROLS) and not base.unwritable
    taught = tokenizer_of(None, (*(f"<|speech_{unit}|>" for unit in range(3)), *MARKS))
    for system in (None, "Be brief."):
        assert PublishedTokenizer(taught, system).unwritable == {"start", "user", "reply"}
