"""`style/gmvae` and `style/text_prompt` learn what is in style vectors, here of a space whose factors are known."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from torch import Tensor

import omnikit
from omnikit.data.style_batches import StyleBatches
from omnikit.data.style_texts import describe_style
from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.style import LearnedStyle
from omnikit.stages.draws import generator
from omnikit.styles.gmvae import GMVAE
from omnikit.styles.text_prompt import FACTORS, TextPrompt

DIM = 16
SPACE = "made"


def examples(number: int, seed: int) -> tuple[Tensor, list[dict[str, str]]]:
    """Unit vectors: a sum of one direction a label, and a little noise."""
    directions = torch.Generator().manual_seed(5)
    parts = {
        (name, value): (1.0 if name in ("gender", "emotion") else 0.5) * torch.randn(DIM, generator=directions)
        for name, values in FACTORS.items()
        for value in values
    }
    rng = random.Random(seed)
    labels = [{name: rng.choice(values) for name, values in FACTORS.items()} for _ in range(number)]
    clean = torch.stack([sum(parts[item] for item in row.items()) for row in labels])
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(clean + noise, dim=1), labels


def trained(style: LearnedStyle, steps: int, lr: float = 5e-3) -> LearnedStyle:
    vectors, labels = examples(400, 0)
    style.fit(vectors, labels, SPACE)
    style.train()
    batches = StyleBatches(vectors, labels, batch_size=32, num_batches=steps, seed=0)
    optimizer = torch.optim.AdamW(style.parameters(), lr=lr)
    for index in range(steps):
        batch = batches[index]
        optimizer.zero_grad()
        style.loss(batch.vectors, batch.labels, batch.texts, generator(0, batch.step)).total.backward()
        optimizer.step()
    return style.eval()


def make(component: str, **parameters: object) -> LearnedStyle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return omnikit.create(component, dim=DIM, space_id=SPACE, **parameters)


@pytest.fixture(scope="module")
def prompt() -> TextPrompt:
    return trained(make("style/text_prompt", num_buckets=1024, embedding_dim=32, hidden_dim=64), 160, lr=8e-3)


@pytest.fixture(scope="module")
def told() -> GMVAE:
    return trained(make("style/gmvae", factor="emotion", components=FACTORS["emotion"], latent_dim=6), 60)


def share_right(found: list[dict[str, str]], wanted: list[dict[str, str]], name: str) -> float:
    return sum(row[name] == right[name] for row, right in zip(found, wanted, strict=True)) / len(wanted)


def test_descriptions_are_read_also_in_wordings_that_training_had_not(prompt: TextPrompt) -> None:
    vectors, labels = examples(200, 1)
    for held_out, least in ((False, 0.9), (True, 0.6)):
        batch = StyleBatches(vectors, labels, batch_size=200, num_batches=1, seed=9, held_out=held_out)[0]
        style = prompt.from_text(batch.texts)
        for name in FACTORS:
            assert share_right(style.labels, batch.labels, name) >= least, (name, held_out)
        error = (style.vector - batch.vectors).square().sum() / (batch.vectors - prompt.mean).square().sum()
        assert float(error) < (0.2 if not held_out else 0.6)


def test_labels_and_the_words_for_them_name_the_same_style(prompt: TextPrompt) -> None:
    said, named = (
        prompt.from_text(["a slow sad man"]),
        prompt.from_labels([{"gender": "male", "emotion": "sad", "speed": "slow"}]),
    )
    assert said.labels == named.labels and said.space_id == SPACE
    assert float(torch.cosine_similarity(said.vector, named.vector)) > 0.9


def test_a_number_lies_between_its_neighbours(prompt: TextPrompt) -> None:
    slow, middle, normal = prompt.from_labels([{"speed": value} for value in ("slow", 0.9, "normal")]).vector
    assert float((middle - slow).norm()) < float((normal - slow).norm())
    assert float((middle - normal).norm()) < float((normal - slow).norm())


@pytest.mark.parametrize("text", ["", "…", "xyzzy qqq", "123"])
def test_words_that_training_never_had_are_refused(prompt: TextPrompt, text: str) -> None:
    with pytest.raises(OmnikitError, match="None of the words"):
        prompt.from_text(["a sad man", text])


def test_a_very_long_description_is_read_from_its_start(prompt: TextPrompt) -> None:
    style = prompt.from_text(["a sad man " + "and so on " * 500])
    assert style.labels[0]["emotion"] == "sad" and bool(style.vector.isfinite().all())


def test_a_batch_of_texts_gives_the_styles_of_each(prompt: TextPrompt) -> None:
    texts = ["a sad man", "please speak very fast, in a high voice, like an angry woman who is in a hurry"]
    together = prompt.from_text(texts).vector
    alone = torch.cat([prompt.from_text([text]).vector for text in texts])
    torch.testing.assert_close(together, alone)


def test_components_that_are_told_are_the_labels(told: GMVAE) -> None:
    vectors, labels = examples(200, 1)
    read = told.read(vectors).components.argmax(1).tolist()
    right = sum(told.factors["emotion"][index] == row["emotion"] for index, row in zip(read, labels, strict=True))
    assert right / len(labels) > 0.85
    named = told.from_labels([{"emotion": value} for value in FACTORS["emotion"]])
    assert told.read(named.vector).components.argmax(1).tolist() == [0, 1, 2, 3]


def test_components_are_found_without_labels() -> None:
    found = trained(make("style/gmvae", components=[str(index) for index in range(8)], latent_dim=6), 40)
    vectors, labels = examples(300, 1)
    read = found.read(vectors).components.argmax(1).tolist()
    assert len(set(read)) >= 6
    groups: dict[int, Counter[tuple[str, str]]] = {}
    for index, row in zip(read, labels, strict=True):
        groups.setdefault(index, Counter())[row["gender"], row["emotion"]] += 1
    purity = sum(counts.most_common(1)[0][1] for counts in groups.values()) / len(labels)
    assert purity > 0.6  # an eighth by chance


def test_a_control_moves_its_latent_most(told: GMVAE) -> None:
    styles = told.from_labels([{}, {"z2": 3.0}, {"z2": "-3"}])
    latents = told.read(styles.vector).latents
    reach = (latents[1] - latents[2]).abs()
    assert int(reach.argmax()) == 1
    assert styles.labels[1]["z2"] == "3"
    with pytest.raises(OmnikitError, match="outside the scale"):
        told.from_labels([{"z2": 3.5}])


def test_draws_name_their_component_and_controls(told: GMVAE) -> None:
    drawn = told.draw(50, torch.Generator().manual_seed(1))
    again = told.from_labels(drawn.labels)
    torch.testing.assert_close(again.vector, drawn.vector)
    assert {row["emotion"] for row in drawn.labels} == set(FACTORS["emotion"])


def test_a_reading_rebuilds_what_it_read(told: GMVAE) -> None:
    vectors, _ = examples(100, 2)
    rebuilt = told._vectors(told.read(vectors).latents)
    assert float((rebuilt - vectors).square().sum() / (vectors - told.mean).square().sum()) < 0.3


def test_the_same_seed_learns_the_same(told: GMVAE) -> None:
    again = trained(make("style/gmvae", factor="emotion", components=FACTORS["emotion"], latent_dim=6), 60)
    for name, value in told.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_a_component_factor_is_no_control() -> None:
    with pytest.raises(OmnikitError, match="latent control"):
        make("style/gmvae", factor="z1")


def test_descriptions_say_what_is_not_usual_and_keep_test_wordings_apart() -> None:
    labels = {"gender": "male", "emotion": "sad", "speed": "slow", "pitch": "high"}
    known, held_out = (
        {describe_style(labels, random.Random(seed), held) for seed in range(300)} for held in (False, True)
    )
    assert len(known) > 200 and len(held_out) > 50 and not known & held_out
    assert all(text and not text.startswith((",", ":")) and "  " not in text for text in known | held_out)
    usual = {describe_style({}, random.Random(seed)) for seed in range(50)}
    assert not any(word in text for text in usual for word in ("sad", "happy", "slow", "fast", "high", "low"))
    with pytest.raises(UnknownName, match="sadd"):
        describe_style({"emotion": "sadd"}, random.Random(0))
