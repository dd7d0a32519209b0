"""The kit sees what is broken: for every promise a component that breaks it, and honest ones that keep all."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS
from conformance.test_emitter_kit import BREAKS as EMITTER_BREAKS
from conformance.test_input_style_kit import BREAKS as INPUT_STYLE_BREAKS
from conformance.test_stream_kit import BREAKS as STREAM_BREAKS
from conformance.test_style_kit import BREAKS as STYLE_BREAKS
from torch import nn
from torch.nn import functional as F

import omnikit.testing
from omnikit import registry
from omnikit.contracts import DERIVED, AudioPort, Contract, FramesPort
from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.projector import Projector
from omnikit.slots.speech_encoder import SpeechEncoder
from omnikit.testing import craft
from omnikit.types import Audio, Frames, Images, Losses, Style

Change = Callable[[type], dict[str, Any]]
TOKENIZER, DETOKENIZER, BACKBONE = "tokenizer/spiral_fsq", "detokenizer/uvits", "backbone/hf_causal"
VISION, PROJECTOR, STYLE, FORMAT = "vision_encoder/timm", "projector/mlp", "style/label_centroid", "format/json"
NATIVE = "vision_encoder/qwen2_vit"


def after(name: str, change: Callable[[Any], Any]) -> Change:
    """A class whose method `name` returns something changed."""

    def methods(base: type) -> dict[str, Any]:
        return {name: lambda self, *args, **kwargs: change(getattr(base, name)(self, *args, **kwargs))}

    return methods


def before(name: str, change: Callable[[Any], Any]) -> Change:
    """A class whose method `name` reads something else than its first argument."""

    def methods(base: type) -> dict[str, Any]:
        return {name: lambda self, first, *args, **kwargs: getattr(base, name)(self, change(first), *args, **kwargs)}

    return methods


def made(change: Callable[[Any], Any]) -> Change:
    """A class whose instances are changed once they are made."""

    def methods(base: type) -> dict[str, Any]:
        def train(self: Any, mode: bool = True) -> Any:
            change(self)
            return base.train(self, mode)

        return {"train": train}

    return methods


def with_tensor_in_contract(base: type) -> dict[str, Any]:
    def contract(cls: type, **parameters: Any) -> Contract:
        assert float(torch.zeros(2).sum()) == 0
        return base.contract(**parameters)

    return {"contract": classmethod(contract)}


def of_contract(change: Callable[[Contract], Contract]) -> Change:
    return lambda base: {"contract": classmethod(lambda cls, **parameters: change(base.contract(**parameters)))}


def noisy(value: Any) -> Any:
    random.random()
    torch.rand(1)
    return value


def louder_in_batches(images: Any) -> Any:
    return replace(images, pixels=images.pixels * len(images))


def everything_valid(audio: Audio) -> Audio:
    return replace(audio, lengths=torch.full_like(audio.lengths, audio.wave.shape[1]))


def unlearnable(losses: Losses) -> Losses:
    return replace(losses, total=losses.total.detach())


def other_draws(base: type) -> dict[str, Any]:
    def decode(self: Any, units: Any, style: Style, generator: torch.Generator) -> Audio:
        return base.decode(self, units, style, torch.Generator().manual_seed(int(torch.randint(9999, (1,)))))

    return {"decode": decode}


def with_durations_of_its_own(base: type) -> dict[str, Any]:
    def decode(self: Any, units: Any, style: Style, generator: torch.Generator, durations: Any = None) -> Audio:
        return base.decode(self, units, style, generator)

    return {"decode": decode}


def deaf_to_its_pieces(base: type) -> dict[str, Any]:
    def stream(self: Any, chunks: Iterable[Audio], live: Any = None) -> Iterator[Any]:
        for chunk in chunks:
            yield self.encode(chunk)

    return {"stream": stream}


def waiting_for_the_end(base: type) -> dict[str, Any]:
    def stream(self: Any, chunks: Iterable[Audio], live: Any = None) -> Iterator[Any]:
        wave = torch.cat([chunk.wave for chunk in chunks], 1)
        yield self.encode_live(Audio(wave, torch.tensor([wave.shape[1]]), 16_000), live)

    return {"stream": stream}


def first_prompt_only(base: type) -> dict[str, Any]:
    def generate(self: Any, prompts: Sequence[Any], **options: Any) -> Any:
        longest = max(prompts, key=len) if prompts else prompts
        return base.generate(self, [longest for _ in prompts], **options)

    return {"generate": generate}


def narrow(frames: Frames) -> Frames:
    return replace(frames, features=F.pad(frames.features, (0, 8 - frames.features.shape[-1])))


def resized(images: Images) -> Images:
    return replace(images, pixels=F.interpolate(images.pixels, size=32))


def forgetful(base: type) -> dict[str, Any]:
    def fit_text(self: Any, texts: Sequence[str], vocab_size: int) -> None:
        base.fit_text(self, texts, vocab_size)
        self.parameters_given["text_merges"] = ()

    return {"fit_text": fit_text}


def with_pickle(base: type) -> dict[str, Any]:
    return {"save_extra": lambda self, folder: torch.save({}, folder / "extra.pt")}


def with_any_parameter(base: type) -> dict[str, Any]:
    def __init__(self: Any, no_such_parameter: int = 0, in_dim: int = DERIVED, out_dim: int = DERIVED) -> None:
        base.__init__(self, in_dim, out_dim)

    def contract(cls: type, no_such_parameter: int, in_dim: int, out_dim: int) -> Contract:
        return base.contract(in_dim, out_dim)

    return {"__init__": __init__, "contract": classmethod(contract)}


def with_a_parameter_of_tensors(base: type) -> dict[str, Any]:
    def __init__(self: Any, weights: Any = frozenset((1,)), in_dim: int = DERIVED, out_dim: int = DERIVED) -> None:
        base.__init__(self, in_dim, out_dim)

    def contract(cls: type, weights: Any, in_dim: int, out_dim: int) -> Contract:
        return base.contract(in_dim, out_dim)

    return {"__init__": __init__, "contract": classmethod(contract)}


def counting(base: type) -> dict[str, Any]:
    def project(self: Any, frames: Frames) -> Frames:
        self.get_parameter("0.bias").data.add_(0.1)
        return base.project(self, frames)

    return {"project": project}


def only_evaluating(base: type) -> dict[str, Any]:
    def decode(self: Any, units: Any, style: Style, generator: torch.Generator) -> Audio:
        sound = base.decode(self, units, style, generator)
        return replace(sound, wave=sound.wave * 0.5) if self.training else sound

    return {"decode": decode}


def content_with_any_style(base: type) -> dict[str, Any]:
    def decode(self: Any, units: Any, style: Style, generator: torch.Generator) -> Audio:
        return base.decode(self, units, replace(style, space_id="conformance"), generator)

    return {"decode": decode}


def greedy_only(base: type) -> dict[str, Any]:
    def generate(self: Any, prompts: Sequence[Any], **options: Any) -> Any:
        return base.generate(self, prompts, **{**options, "temperature": 0.0})

    return {"generate": generate}


def with_a_dull_memory(base: type) -> dict[str, Any]:
    def stream(self: Any, prompt: Any, *, memory: Any = None, **how: Any) -> Iterator[str]:
        """Says the same again to whoever has been answered before."""
        if memory is None or memory.kept is None:
            yield from base.stream(self, prompt, memory=memory, **how)

    return {"stream": stream}


def content_with_nothing(base: type) -> dict[str, Any]:
    def generate(self: Any, prompts: Sequence[Any], **options: Any) -> Any:
        return base.generate(self, prompts, **options) if prompts and all(prompts) else []

    return {"generate": generate}


def deaf_adversary(base: type) -> dict[str, Any]:
    def make_discriminator(self: Any) -> nn.Module:
        adversary = base.make_discriminator(self)
        adversary.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach() * 0,))
        return adversary

    return {"make_discriminator": make_discriminator}


def nan_for_silence(audio: Audio) -> Audio:
    return replace(audio, wave=audio.wave / audio.wave.abs().amax(1, keepdim=True))


def without_default(base: type) -> dict[str, Any]:
    def from_labels(self: Any, labels: Sequence[Any], source: Any = "user") -> Style:
        style = base.from_labels(self, labels, source)
        empty = torch.tensor([[0.0 if row else 1.0] for row in labels])
        return replace(style, vector=style.vector + empty)

    return {"from_labels": from_labels}


WIDTHS = {PROJECTOR: {"in_dim": 8, "out_dim": 12}}
BREAKS: list[tuple[str, Change, str]] = [
    (PROJECTOR, with_tensor_in_contract, "contract_is_arithmetic"),
    (PROJECTOR, of_contract(lambda found: replace(found, gives={})), "contract_has_the_ports_of_its_slot"),
    (PROJECTOR, of_contract(lambda found: replace(found, gives={"embeds": FramesPort(13)})), "embeds_are_as_declared"),
    (PROJECTOR, lambda base: {"__doc__": None}, "says_what_it_is"),
    (PROJECTOR, made(lambda self: setattr(self, "scale", torch.ones(2))), "moves_as_a_whole"),
    (PROJECTOR, made(lambda self: self.parameters_given.pop("depth", 0)), "remembers_its_parameters"),
    (PROJECTOR, after("project", noisy), "leaves_global_random_state_alone"),
    (PROJECTOR, after("project", lambda out: replace(out, features=torch.rand(2, 2, 2))), "repeats"),
    (PROJECTOR, after("project", lambda out: replace(out, features=out.features * torch.nan)), "repeats"),
    (PROJECTOR, after("project", lambda out: replace(out, rate=Fraction(7))), "keeps_the_clock"),
    (
        PROJECTOR,
        after("project", lambda out: replace(out, features=out.features - out.features.mean(0))),
        "batch_equals_singles",
    ),
    (
        PROJECTOR,
        after("project", lambda out: replace(out, features=out.features.detach())),
        "gradient_reaches_its_weights",
    ),
    (PROJECTOR, lambda base: {"state_dict": lambda self, *a, **k: {}}, "is_saved_and_loaded_whole"),
    (PROJECTOR, with_pickle, "is_saved_and_loaded_whole"),
    (PROJECTOR, with_any_parameter, "refuses_an_unknown_parameter"),
    (PROJECTOR, with_a_parameter_of_tensors, "parameters_are_plain_data"),
    (PROJECTOR, counting, "inference_changes_nothing"),
    (PROJECTOR, before("project", narrow), "refuses_another_width"),
    (PROJECTOR, after("num_positions", lambda number: number + 1), "positions_are_known_before"),
    (PROJECTOR, lambda base: {"project": abstractmethod(base.project)}, "is_of_its_slot"),
    (VISION, after("num_positions", lambda number: number + 1), "positions_are_known_before"),
    (NATIVE, before("encode", louder_in_batches), "pictures_keep_their_sizes"),
    (VISION, before("encode", louder_in_batches), "batch_equals_singles"),
    (VISION, after("encode", lambda out: replace(out, features=out.features[:, 1:])), "features_are_as_declared"),
    (VISION, after("encode", lambda out: replace(out, features=out.features * 0)), "pictures_differ"),
    (VISION, after("intermediates", lambda out: out[::-1]), "intermediates_come_as_asked"),
    (VISION, before("encode", resized), "refuses_other_pictures"),
    (VISION, after("encode", lambda out: replace(out, features=out.features.detach())), "gradient_reaches_its_weights"),
    (TOKENIZER, before("encode", everything_valid), "batch_equals_singles"),
    (TOKENIZER, before("encode", everything_valid), "padding_is_not_heard"),
    (TOKENIZER, before("read_phones", everything_valid), "batch_equals_singles"),
    (TOKENIZER, deaf_to_its_pieces, "streams_as_declared"),
    (TOKENIZER, waiting_for_the_end, "streams_as_declared"),
    (TOKENIZER, after("encode", lambda units: replace(units, vocab_id="mine")), "units_are_as_declared"),
    (TOKENIZER, after("encode", lambda units: replace(units, codes=units.codes + 20)), "units_are_as_declared"),
    (TOKENIZER, after("encode", lambda units: replace(units, rate=units.rate * 2)), "lasts_as_declared"),
    (TOKENIZER, after("encode", lambda units: replace(units, codes=units.codes * 0)), "layout_is_kept"),
    (TOKENIZER, after("encode", lambda units: replace(units, durations=None)), "layout_is_kept"),
    (TOKENIZER, after("encode", lambda units: replace(units, lengths=units.lengths * 0)), "hears_very_short_sound"),
    (TOKENIZER, before("encode", lambda audio: replace(audio, sample_rate=16_000)), "refuses_bad_sound"),
    (TOKENIZER, before("encode", lambda audio: replace(audio, wave=audio.wave.nan_to_num())), "refuses_bad_sound"),
    (TOKENIZER, before("embed", lambda units: replace(units, vocab_id="untrained")), "embeds_its_units"),
    (TOKENIZER, after("loss", unlearnable), "learns_from_labels"),
    (TOKENIZER, after("read_phones", lambda phones: [row * 99 + [0] * 99 for row in phones]), "reads_what_it_says"),
    (TOKENIZER, before("encode", nan_for_silence), "hears_silence"),
    (DETOKENIZER, only_evaluating, "training_mode_does_not_matter"),
    (DETOKENIZER, after("decode", lambda sound: replace(sound, lengths=sound.lengths * 0)), "speaks_one_unit"),
    (DETOKENIZER, with_durations_of_its_own, "lasts_as_long_as_it_is_told"),
    (DETOKENIZER, content_with_any_style, "refuses_other_styles"),
    (DETOKENIZER, deaf_adversary, "discriminator_judges_its_sound"),
    (DETOKENIZER, other_draws, "same_generator_state_same_sound"),
    (DETOKENIZER, after("decode", lambda sound: replace(sound, wave=sound.wave * 0 + 2)), "sound_is_as_declared"),
    (DETOKENIZER, after("decode", lambda sound: replace(sound, sample_rate=8_000)), "sound_is_as_declared"),
    (DETOKENIZER, before("decode", lambda units: replace(units, vocab_id="conformance")), "refuses_other_units"),
    (
        DETOKENIZER,
        before("decode", lambda units: replace(units, codes=units.codes.clamp(0, 15))),
        "refuses_other_units",
    ),
    (
        DETOKENIZER,
        before("decode", lambda units: replace(units, lengths=0 * units.lengths + units.codes.shape[-1])),
        "batch_equals_singles",
    ),
    (DETOKENIZER, after("style_vectors", lambda found: found[:, :-1]), "style_vectors_are_as_declared"),
    (DETOKENIZER, before("style_vectors", everything_valid), "style_vectors_are_as_declared"),
    (
        DETOKENIZER,
        after("training_forward", lambda out: replace(out, losses=unlearnable(out.losses))),
        "learns_from_recordings",
    ),
    (BACKBONE, greedy_only, "drawing_follows_the_generator"),
    (BACKBONE, content_with_nothing, "refuses_what_is_empty"),
    (BACKBONE, made(lambda self: setattr(self, "vocab_id", "mine")), "is_as_declared"),
    (BACKBONE, first_prompt_only, "greedy_batch_equals_singles"),
    (BACKBONE, lambda base: {"stream": lambda self, prompt, **how: iter(("well", "…"))}, "streams_what_it_generates"),
    (BACKBONE, with_a_dull_memory, "a_memory_changes_nothing"),
    (BACKBONE, after("parse_units", lambda units: units[::-1] + units), "spelling_units_can_be_undone"),
    (BACKBONE, before("parse_units", lambda text: text.strip(" anords")), "refuses_what_spells_no_units"),
    (BACKBONE, after("count_tokens", lambda count: count + 1), "positions_add_up"),
    (BACKBONE, after("count_tokens", lambda count: 1), "typed_marks_are_text"),
    (BACKBONE, after("loss", unlearnable), "learns"),
    (
        BACKBONE,
        after("loss", lambda found: replace(found, total=2 * found.total)),
        "loss_of_a_batch_is_that_of_its_rows",
    ),
    (BACKBONE, lambda base: {"_check_length": lambda self, length, new: None}, "refuses_what_is_too_long"),
    (
        BACKBONE,
        lambda base: {"init_unit_embeddings": lambda self, vectors, generator: None},
        "starts_units_from_vectors",
    ),
    (BACKBONE, forgetful, "fits_its_text"),
    (
        STYLE,
        after("from_labels", lambda style: replace(style, vector=style.vector + 1)),
        "gives_back_what_it_was_fitted_on",
    ),
    (STYLE, after("from_labels", lambda style: replace(style, source="user")), "styles_are_as_declared"),
    (STYLE, before("from_labels", lambda rows: [{} for _ in rows]), "refuses_unknown_labels"),
    (STYLE, lambda base: {"fit": lambda self, vectors, labels, space_id: None}, "refuses_bad_examples"),
    (STYLE, lambda base: {"state_dict": lambda self, *a, **k: {}}, "keeps_what_it_was_fitted_on"),
    (STYLE, without_default, "factors_are_named"),
    (FORMAT, after("parse", lambda turn: replace(turn, parse_ok=True)), "parsing_never_raises"),
    (FORMAT, after("parse", lambda turn: replace(turn, text=turn.text.strip("."))), "what_is_written_is_read_back"),
    (FORMAT, after("target", lambda segments: segments[:-1]), "only_targets_are_trained"),
    (FORMAT, after("prompt", lambda segments: segments[::-1]), "prompts_are_read_in_order"),
    (FORMAT, before("parse", lambda task: "dialogue"), "names_its_tasks"),
]


@pytest.mark.parametrize(
    ("component_id", "change", "promise"), BREAKS, ids=[f"{b[0]}-{b[2]}-{n}" for n, b in enumerate(BREAKS)]
)
def test_a_broken_promise_is_seen(
    monkeypatch: pytest.MonkeyPatch, component_id: str, change: Change, promise: str
) -> None:
    base = registry.resolve(component_id)
    cls = type(base)("Broken", (base,), {"__doc__": "Breaks a promise.", **change(base)})
    broken_id = f"{component_id}_broken"
    monkeypatch.setitem(registry._registered, broken_id, cls)
    (case,) = [case for case in omnikit.testing.cases(component_id.split("/")[0]) if case.name == promise]
    parameters = next(iter(VARIANTS[component_id].values())) | WIDTHS.get(component_id, {})
    result = case.run(omnikit.testing.subject(broken_id, **parameters))
    assert result.failed, str(result)
    assert result.detail
    assert "broken" in str(result)


class ConvSpeech(SpeechEncoder):
    """Contract: 16 kHz mono → features at 50 Hz.
    Ref: none, one convolution."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, dim, 320, 320)

    @classmethod
    def contract(cls, dim: int) -> Contract:
        return Contract(needs={"audio": AudioPort(16_000)}, gives={"frames": FramesPort(dim=dim, rate=Fraction(50))})

    def encode(self, audio: Audio) -> Frames:
        """Features [B, T, D]."""
        valid = torch.arange(audio.wave.shape[1], device=audio.wave.device) < audio.lengths[:, None]
        steps = self.conv((audio.wave * valid)[:, None]).transpose(1, 2)
        return Frames(steps, audio.lengths // 320, Fraction(50))

    def num_steps(self, num_samples: int) -> int:
        """Whole periods."""
        return num_samples // 320


class PairProjector(Projector):
    """Contract: features of width `in_dim` → of `out_dim`, half as many.
    Ref: none, two neighbours become one."""

    def __init__(self, in_dim: int = DERIVED, out_dim: int = DERIVED) -> None:
        super().__init__()
        self.in_dim, self.linear = in_dim, nn.Linear(2 * in_dim, out_dim)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any) -> Contract:
        return Contract(needs={"frames": FramesPort(dim=in_dim)}, gives={"embeds": FramesPort(dim=out_dim)})

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, in_dim] → [B, N / 2, out_dim]."""
        if frames.features.shape[-1] != self.in_dim:
            raise OmnikitError(f"features of width {frames.features.shape[-1]}, accepted: {self.in_dim}.")
        pairs = frames.features.unflatten(1, (-1, 2)).flatten(2)  # [B, N / 2, 2 · in_dim]
        return Frames(self.linear(pairs), frames.lengths // 2, None if frames.rate is None else frames.rate / 2)

    def num_positions(self, num_frames: int) -> int:
        """Every second one."""
        return num_frames // 2


@pytest.mark.parametrize(
    ("component_id", "cls"), [("speech_encoder/conv", ConvSpeech), ("projector/pair", PairProjector)]
)
def test_an_honest_component_passes(monkeypatch: pytest.MonkeyPatch, component_id: str, cls: type) -> None:
    monkeypatch.setitem(registry._registered, component_id, cls)
    results = omnikit.testing.check(component_id)
    assert [str(result) for result in results if result.failed] == []
    passed = {result.case for result in results if result.outcome == "passed"}
    of_a_distribution = {"its_licence_is_declared", "its_package_is_light"}
    assert {result.case for result in results} - passed <= of_a_distribution | {"runs_on_an_accelerator"}


SPEECH_BREAKS: list[tuple[Change, str]] = [
    (before("encode", everything_valid), "batch_equals_singles"),
    (after("encode", lambda frames: replace(frames, rate=Fraction(25))), "features_are_as_declared"),
    (after("num_steps", lambda steps: steps + 1), "steps_are_known_before"),
    (after("encode", lambda frames: None), "gives_nothing_where_it_declares_nothing"),
    (after("encode", lambda frames: replace(frames, features=0 * frames.features)), "gradient_reaches_its_weights"),
]


@pytest.mark.parametrize(("change", "promise"), SPEECH_BREAKS)
def test_a_broken_speech_encoder_is_seen(monkeypatch: pytest.MonkeyPatch, change: Change, promise: str) -> None:
    cls = type(ConvSpeech)("Broken", (ConvSpeech,), {"__doc__": "Breaks a promise.", **change(ConvSpeech)})
    monkeypatch.setitem(registry._registered, "speech_encoder/broken", cls)
    failed = [result.case for result in omnikit.testing.check("speech_encoder/broken") if result.failed]
    assert promise in failed


def test_a_detokenizer_that_pretends_to_a_style_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    base = registry.resolve(DETOKENIZER)
    methods = after("style_vectors", lambda found: torch.zeros(2, 4))(base)
    monkeypatch.setitem(registry._registered, f"{DETOKENIZER}_broken", type(base)("Broken", (base,), methods))
    subject = omnikit.testing.subject(f"{DETOKENIZER}_broken", **VARIANTS[DETOKENIZER]["no_style"])
    (case,) = [case for case in omnikit.testing.cases("detokenizer") if case.name == "speaks_without_style"]
    assert "must be None" in case.run(subject).detail


def test_every_promise_is_broken_above() -> None:
    # where there is a GPU; the test before this one; test_stream_kit.py; testing/test_twelve_ways_to_be_wrong.py
    elsewhere = {"runs_on_an_accelerator", "speaks_without_style", "fits_units_after_training"}
    elsewhere |= {hold.__name__ for hold in craft.CASES}
    every = [*BREAKS, *STREAM_BREAKS, *STYLE_BREAKS, *INPUT_STYLE_BREAKS, *EMITTER_BREAKS]
    broken = {(component_id.split("/")[0], promise) for component_id, _, promise in every}
    broken |= {("speech_encoder", promise) for _, promise in SPEECH_BREAKS}
    common = {case.name for case in omnikit.testing.cases("format")} & {
        case.name for case in omnikit.testing.cases("style")
    }
    for slot in registry.SLOTS:
        for case in omnikit.testing.cases(slot):
            by = {promise for where, promise in broken if where == slot or case.name in common}
            assert case.name in by | elsewhere, f"{slot}: nothing breaks {case.name}"


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(UnknownName, match="slot 'ears'"):
        omnikit.testing.cases("ears")
    with pytest.raises(UnknownName, match="projector/mlp"):
        omnikit.testing.check("projector/mpl")
    with pytest.raises(UnknownName, match="depth"):
        omnikit.testing.subject("projector/mlp", dpeth=2)


def test_every_case_says_its_promise_and_names_are_unique() -> None:
    for slot in registry.SLOTS:
        found = omnikit.testing.cases(slot)
        assert len({case.name for case in found}) == len(found)
        assert all(case.promise.endswith((".", ")")) and len(case.promise) > 20 for case in found)
