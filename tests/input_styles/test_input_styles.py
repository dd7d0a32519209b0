"""Input styles: a tone is learnt and named, a prefix follows it, and what cannot be is refused."""

from __future__ import annotations

import pytest
import torch

import omnikit
from omnikit.contracts import contract_of
from omnikit.errors import MediaError, OmnikitError
from omnikit.registry import resolve
from omnikit.types import Audio

RATE = 16_000
LABELS = [{"emotion": emotion} for emotion in ("calm", "loud", "calm", "loud")]


def tones() -> Audio:
    """Four recordings: low and soft, high and loud, by turns; of two lengths."""
    time = torch.arange(RATE // 2) / RATE
    rows = [(0.02, 150), (0.4, 900), (0.03, 170), (0.5, 1000)]
    wave = torch.stack([level * torch.sin(2 * torch.pi * hertz * time) for level, hertz in rows])
    return Audio(wave, torch.tensor([RATE // 2, RATE // 2, RATE // 3, RATE // 3]), RATE)


def make_tags() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return omnikit.create("input_style/tags", factors={"emotion": ["calm", "loud"]}, hidden_dim=16, dim=16)


def test_tags_learn_to_name_a_tone_and_write_it_as_text() -> None:
    tags = make_tags()
    optimizer = torch.optim.Adam(tags.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        losses = tags.loss(tones(), LABELS)
        losses.total.backward()
        optimizer.step()
    assert losses.parts["emotion"] == 1 and losses.total < 0.3
    assert [segment.text for segment in tags.eval().read(tones())] == [f"<emotion={row['emotion']}>" for row in LABELS]
    assert list(tags.texts()) == ["<emotion=calm>", "<emotion=loud>"]


def test_labels_that_tags_do_not_know_are_left_out() -> None:
    tags = make_tags()
    mixed = [LABELS[0], {"emotion": "bored"}, {"pitch": "low"}, LABELS[3]]
    both = Audio(tones().wave[[0, 3]], tones().lengths[[0, 3]], RATE)
    torch.testing.assert_close(tags.loss(tones(), mixed).total, tags.loss(both, [mixed[0], mixed[3]]).total)
    with pytest.raises(OmnikitError, match="has a label of emotion"):
        tags.loss(tones(), [{}] * 4)


def test_a_prefix_differs_between_tones_and_is_short() -> None:
    prefix = omnikit.create("input_style/embed_prefix", positions=3, hidden_dim=8, dim=8, out_dim=12).eval()
    found = [segment.frames for segment in prefix.read(tones())]
    assert {tuple(frames.shape) for frames in found} == {(3, 12)}
    assert (found[0] - found[1]).abs().max() > 1e-3
    click = Audio(torch.zeros(1, 5), torch.tensor([5]), RATE)
    assert prefix.read(click)[0].frames.isfinite().all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OmnikitError, match="positions >= 1"):
        omnikit.create("input_style/embed_prefix", positions=0, out_dim=12)
    with pytest.raises(OmnikitError, match="two values"):
        omnikit.create("input_style/tags", factors={"emotion": ["sad"]})
    with pytest.raises(OmnikitError, match="none"):
        omnikit.create("input_style/tags", factors={})
    with pytest.raises(MediaError, match="input_style/tags reads audio at 16000 Hz"):
        make_tags().read(Audio(torch.zeros(1, 900), torch.tensor([900]), 8000))


def test_text_and_features_are_told_apart_by_the_contract() -> None:
    parameters = {"factors": {"emotion": ["a", "b"]}, "hidden_dim": 8, "dim": 8, "sample_rate": RATE}
    tags = contract_of(resolve("input_style/tags"), parameters)
    assert tags.ignores == {"embeds"} and tags.gives["labels"].factors == ("emotion",)
    none = contract_of(resolve("input_style/none"), {})
    assert not none.gives
