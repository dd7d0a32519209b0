"""`backbone/hf_causal`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.text_tokenizer import ByteBPE
from omnikit.contracts import Free, bind_parameters, contract_of
from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.backbone import CONTROLS, Segment

Make = Callable[..., HFCausal]


def example(backbone: HFCausal) -> list[list[Segment]]:
    """Two sequences of different lengths, one with features."""
    frames = torch.randn(5, backbone.width, generator=torch.Generator().manual_seed(1))
    units = tuple(tuple(range(book, book + 3)) for book in range(len(backbone.codebooks)))
    long = [
        Segment(control="user"),
        Segment(frames=frames),
        Segment(units=units),
        Segment(text="the star is red", train=True),
        Segment(control="end", train=True),
    ]
    return [long, [Segment(text="what color"), Segment(units=units, train=True), Segment(control="end", train=True)]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_contract_follows_the_tokenizer_and_states_the_width() -> None:
    contract = contract_of(HFCausal, bind_parameters("backbone/hf_causal", HFCausal, {"hidden": 96}))
    assert contract.needs["embeds"].dim == 96
    for port in (contract.needs["units"], contract.gives["units"]):
        assert port.codebooks == Free("codebooks") and port.rate == Free("unit_rate")
        assert port.layout == Free("layout") and port.vocab_id == Free("vocab_id")


def test_units_stand_after_text_in_a_fixed_order(make: Make) -> None:
    backbone = make(codebooks=[8, 4], unit_rate="25/2")
    assert backbone.unit_rate == Fraction(25, 2)
    first = backbone.text.size
    assert backbone.units.ids([[0, 7], [0, 3]]) == [first, first + 8, first + 7, first + 11]
    assert backbone.num_tokens == first + 12
    assert backbone.model.get_input_embeddings().weight.shape == (backbone.num_tokens, 32)


def test_features_are_read_from_any_device(make: Make) -> None:
    backbone = make().to("meta")  # a device without numbers
    frames = [torch.zeros(2, 32), torch.zeros(3, 32, device="meta")]
    rows = backbone._rows([[Segment(frames=each) for each in frames]])
    embeds = backbone._embed(rows, rows.length)
    assert embeds.shape == (1, 5, 32) and embeds.device.type == "meta"


@pytest.mark.parametrize("books", [[64], [8, 4], [2, 2, 2]])
def test_units_survive_their_spelling(make: Make, books: list[int]) -> None:
    backbone = make(codebooks=books)
    rng = torch.Generator().manual_seed(4)
    units = tuple(tuple(torch.randint(size, (9,), generator=rng).tolist()) for size in books)
    assert backbone.parse_units(backbone.unit_text(units)) == units
    empty = tuple(() for _ in books)
    assert backbone.unit_text(empty) == "" and backbone.parse_units("") == empty


@pytest.mark.parametrize(
    "text",
    ["<|speech_64|>", "<|speech_3|> ", "x", "<|speech_03|>", "<|speech_0_3|>", "<|speech_-1|>", "<|speech_3|><|speech"],
)
def test_text_that_is_no_sequence_of_units_is_refused(backbone: HFCausal, text: str) -> None:
    with pytest.raises(OmnikitError):
        backbone.parse_units(text)


def test_an_incomplete_or_crossed_step_is_refused(make: Make) -> None:
    backbone = make(codebooks=[8, 4])
    for text in ("<|speech_0_1|>", "<|speech_1_1|><|speech_0_1|>", "<|speech_0_1|><|speech_1_4|>", "<|speech_1|>"):
        with pytest.raises(OmnikitError):
            backbone.parse_units(text)


@pytest.mark.parametrize("units", [[[64]], [[-1]], [[1], [2]], []])
def test_units_of_another_tokenizer_are_refused(backbone: HFCausal, units: list[list[int]]) -> None:
    with pytest.raises(OmnikitError):
        backbone.unit_text(units)


def test_the_loss_is_the_cross_entropy_of_the_trained_tokens(make: Make) -> None:
    backbone = make(codebooks=[8, 4])
    short = example(backbone)[1]
    ids = [*backbone.text.encode("what color"), *backbone.units.ids(short[1].units), *backbone.text.controls["end"]]
    start = len(backbone.text.encode("what color"))
    table = backbone.model.get_input_embeddings().weight
    hidden = backbone.model(inputs_embeds=table[torch.tensor(ids)][None], use_cache=False).last_hidden_state
    expected = F.cross_entropy((hidden @ table.T)[0, start - 1 : -1], torch.tensor(ids[start:]))
    losses = backbone.loss([short])
    torch.testing.assert_close(losses.total, expected)
    assert losses.parts["tokens"].tolist() == [len(ids) - start]


def test_a_padded_batch_gives_the_numbers_of_singles(backbone: HFCausal) -> None:
    sequences = example(backbone)
    together = backbone.loss(sequences)
    alone = [backbone.loss([sequence]) for sequence in sequences]
    torch.testing.assert_close(together.parts["sequences"], torch.stack([one.total for one in alone]).detach())
    tokens = together.parts["tokens"]
    torch.testing.assert_close(together.total.detach(), (together.parts["sequences"] * tokens).sum() / tokens.sum())


def test_what_is_not_trained_gives_no_loss_but_is_read(backbone: HFCausal) -> None:
    reading = [Segment(text="what color"), Segment(control="end", train=True)]
    other = [Segment(text="the star"), Segment(control="end", train=True)]
    assert backbone.loss([reading]).parts["tokens"].tolist() == [1]
    assert backbone.loss([reading]).total != backbone.loss([other]).total


def test_gradients_reach_features_and_embeddings(backbone: HFCausal) -> None:
    frames = torch.randn(3, 32, requires_grad=True)
    backbone.loss([[Segment(frames=frames), Segment(text="red", train=True)]]).total.backward()
    assert frames.grad.abs().sum(dim=1).gt(0).all()
    assert backbone.model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_greedy_batches_write_what_singles_write(backbone: HFCausal) -> None:
    prompts = [sequence[:-2] for sequence in example(backbone)]
    prompts.append([Segment(control="start"), Segment(text="the star is red and blue")])
    together = backbone.generate(prompts, generator=seeded(), max_new_tokens=12)
    alone = [backbone.generate([prompt], generator=seeded(), max_new_tokens=12)[0] for prompt in prompts]
    assert together == alone
    assert all(len(row.ids) == 12 or row.finished for row in together)


def test_writing_step_by_step_equals_reading_at_once(backbone: HFCausal) -> None:
    prompt = example(backbone)[0][:3]
    written = backbone.generate([prompt], generator=seeded(), max_new_tokens=8)[0].ids
    rows = backbone._rows([prompt])
    embeds = backbone._embed(rows, rows.length)
    for index in written:
        hidden = backbone.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        assert int(backbone._logits(hidden[0, -1]).argmax()) == index
        embeds = torch.cat([embeds, backbone.model.get_input_embeddings()(torch.tensor([[index]]))], dim=1)


def test_sampling_follows_its_generator(backbone: HFCausal) -> None:
    prompt = [[Segment(text="the")]]
    first, again, other = (
        backbone.generate(prompt, generator=seeded(seed), max_new_tokens=20, temperature=2.0)[0] for seed in (1, 1, 2)
    )
    assert first == again and first.ids != other.ids


def test_generation_stops_at_the_end_and_leaves_it_out(backbone: HFCausal) -> None:
    optimiser = torch.optim.Adam(backbone.parameters(), lr=1e-2)
    sequence = [Segment(control="user"), Segment(units=((5, 6),), train=True), Segment(text="red", train=True)]
    sequence += [Segment(units=((7,),), train=True), Segment(control="end", train=True)]
    for _ in range(40):
        optimiser.zero_grad()
        backbone.loss([sequence]).total.backward()
        optimiser.step()
    written = backbone.generate([sequence[:1]], generator=seeded(), max_new_tokens=20)[0]
    assert written.finished and written.text == "<|speech_5|><|speech_6|>red<|speech_7|>"
    cut = backbone.generate([sequence[:1]], generator=seeded(), max_new_tokens=2)[0]
    assert not cut.finished and cut.text == "<|speech_5|><|speech_6|>"


def test_unit_embeddings_start_from_the_tokenizers_vectors(backbone: HFCausal) -> None:
    vectors = torch.randn(64, 4, generator=seeded(7))
    vectors[9] = vectors[3]
    table = backbone.model.get_input_embeddings().weight
    before = table.detach().clone()
    backbone.init_unit_embeddings(vectors, seeded())
    units = table[backbone.units.first :].detach()
    assert torch.equal(table[: backbone.units.first], before[: backbone.units.first])
    torch.testing.assert_close(units[9], units[3])
    torch.testing.assert_close(units.std(), before[: backbone.text.size].std(), rtol=0.02, atol=0)
    near = torch.corrcoef(torch.stack([torch.cdist(vectors, vectors).flatten(), torch.cdist(units, units).flatten()]))
    assert near[0, 1] > 0.7
    with pytest.raises(OmnikitError, match="64, D"):
        backbone.init_unit_embeddings(vectors[:5], seeded())


def test_learning_text_is_part_of_the_parameters(backbone: HFCausal) -> None:
    again = HFCausal(**backbone.parameters_given)
    assert again.text.encode("the star") == backbone.text.encode("the star")
    again.load_state_dict(backbone.state_dict())
    sequences = example(backbone)
    torch.testing.assert_close(again.eval().loss(sequences).total, backbone.loss(sequences).total)
    assert "lm_head.weight" not in backbone.state_dict()


@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [[]],
        [[Segment(text="")]],
        [[Segment(text="read only")]],
        [[Segment(text="first", train=True)]],
        [[Segment(text="a"), Segment(text="b", units=((1,),), train=True)]],
        [[Segment(text="a"), Segment(frames=torch.zeros(2, 32), train=True)]],
        [[Segment(frames=torch.zeros(2, 31)), Segment(text="a", train=True)]],
        [[Segment(text="a"), Segment(units=((1,) * 80,), train=True)]],
        [[Segment()]],
    ],
)
def test_what_cannot_be_learnt_is_refused(backbone: HFCausal, sequences: list[list[Segment]]) -> None:
    with pytest.raises(OmnikitError):
        backbone.loss(sequences)


def test_positions_are_limited_in_words(backbone: HFCausal) -> None:
    prompt = [Segment(units=(tuple(range(60)),))]
    assert len(backbone.generate([prompt], generator=seeded(), max_new_tokens=4)[0].ids) <= 4
    with pytest.raises(OmnikitError, match="60 positions and 5 new ones exceed the 64"):
        backbone.generate([prompt], generator=seeded(), max_new_tokens=5)


@pytest.mark.parametrize("arguments", [{"temperature": -1.0, "max_new_tokens": 3}, {"max_new_tokens": 0}])
def test_impossible_decoding_is_refused(backbone: HFCausal, arguments: dict) -> None:
    with pytest.raises(OmnikitError, match="temperature >= 0"):
        backbone.generate([[Segment(text="a")]], generator=seeded(), **arguments)


def test_an_unknown_control_names_the_known(backbone: HFCausal) -> None:
    with pytest.raises(UnknownName, match="dialogue"):
        backbone.loss([[Segment(control="dialog"), Segment(text="a", train=True)]])


def test_positions_are_counted_as_they_are_read(backbone: HFCausal) -> None:
    sequence = example(backbone)[0]
    assert backbone.count_tokens(sequence) == len(backbone._rows([sequence]).ids[0])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a Llama of 64 positions, untied, and its tokenizer; weights too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("published")
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["</s>"])
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = LlamaConfig(vocab_size=260, max_position_embeddings=64, tie_word_embeddings=False, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


UNITS = {"codebooks": [64], "unit_rate": 25, "layout": "frame", "vocab_id": "test", "hidden": 32, "max_positions": 64}


def test_a_published_model_keeps_its_weights_and_gains_units(published) -> None:
    from transformers import AutoModelForCausalLM

    backbone = HFCausal(pretrained=str(published), **UNITS).eval()
    before = AutoModelForCausalLM.from_pretrained(published)
    table = backbone.model.get_input_embeddings().weight
    assert len(table) % 128 == 0 and len(table) >= backbone.num_tokens
    torch.testing.assert_close(table[:257], before.get_input_embeddings().weight[:257])
    assert backbone.lm_head.weight.shape == table.shape
    assert backbone.units.first == 257 + len(CONTROLS) - 1 and backbone.text.controls["end"] == (256,)
    written = backbone.generate([[Segment(text="the")]], generator=seeded(), max_new_tokens=20, temperature=5.0)
    assert max(written[0].ids) < backbone.num_tokens
    merges = backbone.parameters_given["text_merges"]
    backbone.fit_text(["a b c"] * 9, 300)
    assert backbone.parameters_given["text_merges"] == merges and len(backbone.text.encode("a b c")) == 5


def test_a_published_model_is_restored_without_its_source(published, tmp_path) -> None:
    backbone = HFCausal(pretrained=str(published), **UNITS).eval()
    backbone.save_extra(tmp_path)
    parameters = HFCausal.restore_parameters(backbone.parameters_given, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    again = HFCausal(**parameters).eval()
    again.load_state_dict(backbone.state_dict())
    sequences = example(backbone)
    torch.testing.assert_close(again.loss(sequences).total, backbone.loss(sequences).total)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"hidden": 48}, "set hidden=32"),
        ({"max_positions": 65}, "reads 64 positions"),
        ({"text_merges": ["a b"]}, "own text vocabulary"),
        ({"pretrained": "./no/such/folder"}, "could not be loaded"),
    ],
)
def test_a_published_model_that_does_not_fit_is_refused(published, parameters: dict, said: str) -> None:
    with pytest.raises(OmnikitError, match=said):
        HFCausal(**{"pretrained": str(published), **UNITS, **parameters})


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(OmnikitError, match="multiple of heads"):
        HFCausal(**{**UNITS, "hidden": 30}, heads=4)


def test_a_random_model_is_restored_from_its_parameters(backbone: HFCausal, tmp_path) -> None:
    assert HFCausal.restore_parameters(backbone.parameters_given, tmp_path) == backbone.parameters_given
    backbone.save_extra(tmp_path)
    assert not list(tmp_path.iterdir())
    assert isinstance(backbone.text, ByteBPE)
