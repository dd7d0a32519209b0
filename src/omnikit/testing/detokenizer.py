"""Promises of the slot `detokenizer`.

Letters: B batch, K codebooks, T units, G style width, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from omnikit.contracts import AudioPort, StylePort, UnitsPort
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch
from omnikit.testing.kit import (
    NotApplicable,
    Subject,
    Suite,
    expect,
    expect_gradient,
    expect_same,
    refused,
)
from omnikit.testing.material import draws, on, row, sounds, style_for, units
from omnikit.types import Audio, Style, Units

_LENGTHS = (7, 3, 5)
_FRAMES_PER_UNIT = 4
_ALIKE = 1e-4


class _NoNoise(TorchFunctionMode):
    """Every normal draw is 0 and every uniform one a half, so that a batch and its rows draw the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        drawn = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("randn", "randn_like", "normal", "normal_"):
            return drawn.zero_()
        return drawn.fill_(0.5) if name in ("rand", "rand_like", "uniform_") else drawn


def _units(subject: Subject, lengths: tuple[int, ...] = _LENGTHS) -> Units:
    return units(subject.contract.needs["units"], lengths)  # type: ignore[arg-type]


def _style(subject: Subject, num_rows: int, seed: int = 0) -> Style:
    return style_for(subject.contract, num_rows, seed)


def _takes_vector(subject: Subject) -> bool:
    return _style(subject, 1).vector is not None


def _recordings(subject: Subject, num_samples: tuple[int, ...] = (9_000, 7_000)) -> Audio:
    return sounds(num_samples, subject.component.sample_rate)


def _batch(subject: Subject) -> VoiceBatch:
    """Units with recordings of their length; durations count the detokenizer's frames where it has a `hop_size`."""
    spoken = _units(subject, (12, 9))
    hop = getattr(subject.component, "hop_size", None)
    samples_per_unit = round(subject.component.sample_rate / spoken.rate) if hop is None else hop * _FRAMES_PER_UNIT
    audio = sounds([int(length) * samples_per_unit for length in spoken.lengths], subject.component.sample_rate)
    if hop is None:
        return VoiceBatch(spoken, audio)
    valid = torch.arange(spoken.codes.shape[-1]) < spoken.lengths[:, None]  # [B, T]
    return VoiceBatch(spoken, audio, _FRAMES_PER_UNIT * valid.long())


def outputs(subject: Subject, detokenizer: Detokenizer) -> Any:
    """Sound of three rows of units, and reference vectors."""
    spoken, style = on(_units(subject), detokenizer.device), on(_style(subject, len(_LENGTHS)), detokenizer.device)
    recordings = on(_recordings(subject), detokenizer.device)
    return detokenizer.decode(spoken, style, draws()), detokenizer.style_vectors(recordings)


def sound_is_as_declared(subject: Subject) -> None:
    """Sound is float32 in [-1, 1] at the contract's rate, as long as its lengths, and silent beyond them."""
    sound = subject.component.decode(_units(subject), _style(subject, len(_LENGTHS)), draws())
    said = subject.contract.gives["audio"].sample_rate  # type: ignore[attr-defined]
    expect(
        sound.sample_rate == said == subject.component.sample_rate, f"{sound.sample_rate} Hz, declared are {said} Hz."
    )
    expect(sound.wave.dim() == 2 and sound.wave.dtype == torch.float32, "the wave must be [B, S] float32.")
    expect(sound.wave.shape[0] == len(sound.lengths) == len(_LENGTHS), "rows are missing.")
    expect(bool((sound.lengths >= 1).all()), f"lengths {sound.lengths.tolist()}; every row must sound.")
    expect(int(sound.lengths.max()) == sound.wave.shape[1], "the longest row does not fill the tensor.")
    expect(bool(sound.wave.isfinite().all()) and float(sound.wave.abs().max()) <= 1, "samples leave [-1, 1].")
    beyond = torch.arange(sound.wave.shape[1]) >= sound.lengths[:, None]
    expect(not bool(sound.wave[beyond].any()), "a row goes on sounding beyond its length.")
    expect(not sound.wave.requires_grad, "decoded sound carries a graph.")


def same_generator_state_same_sound(subject: Subject) -> None:
    """On the CPU the same generator state gives the same bytes, whatever was decoded before."""
    spoken, style = _units(subject), _style(subject, len(_LENGTHS))
    first = subject.component.decode(spoken, style, draws(1))
    subject.component.decode(_units(subject, (2,)), _style(subject, 1), draws(2))
    expect_same(first, subject.component.decode(spoken, style, draws(1)), "the same generator state sounds otherwise")


def training_mode_does_not_matter(subject: Subject) -> None:
    """Decoding in training mode gives the same sound as in evaluation mode, and leaves the mode alone."""
    spoken, style = _units(subject), _style(subject, len(_LENGTHS))
    component = subject.make().train()
    sound = component.decode(spoken, style, draws())
    expect(component.training, "decoding switches training mode off.")
    expect_same(sound, subject.component.decode(spoken, style, draws()), "dropout or the like is active in decoding")


def batch_equals_singles(subject: Subject) -> None:
    """With its noise at zero, a padded batch gives the sound of every row alone."""
    spoken, style, component = _units(subject), _style(subject, len(_LENGTHS)), subject.component
    with _NoNoise():
        together = component.decode(spoken, style, draws())
        for index, length in enumerate(_LENGTHS):
            alone = component.decode(row(spoken, index, length), row(style, index), draws())
            samples = int(alone.lengths[0])
            found = int(together.lengths[index])
            expect(found == samples, f"row {index} has {found} samples in a batch and {samples} alone.")
            expect_same(together.wave[index, :samples], alone.wave[0], f"row {index} sounds otherwise alone", _ALIKE)


def speaks_one_unit(subject: Subject) -> None:
    """One unit gives sound."""
    sound = subject.component.decode(_units(subject, (1,)), _style(subject, 1), draws())
    expect(int(sound.lengths[0]) >= 1 and bool(sound.wave.isfinite().all()), "one unit gives no sound.")


def lasts_as_long_as_it_is_told(subject: Subject) -> None:
    """Given durations in frames, every row lasts their sum; durations of another number of units are refused."""
    spoken, style = _units(subject), _style(subject, len(_LENGTHS))
    durations = torch.arange(spoken.codes.shape[-1]).expand(len(_LENGTHS), -1) % 3 + 1  # [B, T], also beyond each row
    sound = subject.component.decode(spoken, style, draws(), durations)
    hop = subject.component.hop_size
    told = [hop * int(row[:length].sum()) for row, length in zip(durations, _LENGTHS, strict=True)]
    expect(sound.lengths.tolist() == told, f"{sound.lengths.tolist()} samples where {told} were asked for.")
    with refused("durations of another number of units"):
        subject.component.decode(spoken, style, draws(), durations[:, :-1])


def _in_pieces(spoken: Units, sizes: Sequence[int], taken: list[int] | None = None) -> Iterator[Units]:
    """Row 0 cut into pieces of `sizes`; how many units were taken is kept in `taken`."""
    start = 0
    for size in sizes:
        if taken is not None:
            taken.append(size)
        codes = spoken.codes[:1, :, start : start + size]
        durations = None if spoken.durations is None else spoken.durations[:1, start : start + size]
        yield replace(spoken, codes=codes, lengths=torch.tensor([size]), durations=durations)
        start += size


def _streamed(subject: Subject, spoken: Units | Iterator[Units]) -> Tensor:
    """The joined sound of a stream [1, S]."""
    pieces = list(subject.component.stream(spoken, _style(subject, 1), draws()))
    expect(bool(pieces), "a stream gives no sound.")
    for piece in pieces:
        expect(piece.sample_rate == subject.component.sample_rate, "a piece of a stream has another rate.")
        expect(piece.wave.shape == (1, int(piece.lengths[0])), "a piece of a stream is not one row of its length.")
        expect(not piece.wave.requires_grad, "streamed sound carries a graph.")
    return torch.cat([piece.wave for piece in pieces], 1)


def streams_what_it_decodes(subject: Subject) -> None:
    """The pieces of a stream of known units, joined, are what the same generator state decodes."""
    for length in (1, 40):
        spoken = _units(subject, (length,))
        whole = subject.component.decode(spoken, _style(subject, 1), draws()).wave
        expect_same(_streamed(subject, spoken), whole, f"streaming {length} units sounds otherwise", _ALIKE)


def units_may_arrive_in_any_pieces(subject: Subject) -> None:
    """Units that arrive one by one, in lumps or all at once give the same sound; none or several rows are refused."""
    spoken, style = _units(subject, (24,)), _style(subject, 1)
    whole = _streamed(subject, _in_pieces(spoken, [24]))
    for sizes in ([1] * 24, [5, 1, 11, 7]):
        sound = _streamed(subject, _in_pieces(spoken, sizes))
        expect_same(sound, whole, f"units that arrive in pieces of {sizes} sound otherwise", _ALIKE)
    with refused("a stream without units"):
        list(subject.component.stream(iter(()), style, draws()))
    with refused("a stream of several rows"):
        list(subject.component.stream(iter([_units(subject, (3, 2))]), style, draws()))
    with refused("a stream of units of another vocabulary"):
        other = replace(spoken, vocab_id=f"{spoken.vocab_id}-other")
        list(subject.component.stream(_in_pieces(other, [24]), style, draws()))


def speaks_before_the_last_unit(subject: Subject) -> None:
    """Where its contract declares a lookahead, sound begins long before a row of several lookaheads has arrived."""
    lookahead_ms = subject.contract.lookahead_ms
    if lookahead_ms is None:
        raise NotApplicable("it declares no lookahead: a stream waits for all units")
    rate = float(_units(subject, (1,)).rate)
    length = 20 + round(4 * lookahead_ms / 1000 * rate)
    taken: list[int] = []
    pieces = _in_pieces(_units(subject, (length,)), [1] * length, taken)
    next(iter(subject.component.stream(pieces, _style(subject, 1), draws())))
    expect(len(taken) < length / 2, f"{len(taken)} of {length} units were taken before the first sound.")


def refuses_other_units(subject: Subject) -> None:
    """Units of another vocabulary, codebook or layout, out of range, or none at all are refused with a clear error."""
    spoken, style = _units(subject), _style(subject, len(_LENGTHS))
    other_layout = "reduced" if spoken.layout == "frame" else "frame"
    port_layout = subject.contract.needs["units"].layout  # type: ignore[attr-defined]
    wrong = {
        "units of another vocabulary": replace(spoken, vocab_id=f"{spoken.vocab_id}-other"),
        "units of a larger codebook": replace(spoken, sizes=tuple(size + 1 for size in spoken.sizes)),
        "a unit beyond the codebook": replace(spoken, codes=spoken.codes + max(spoken.sizes)),
        "a negative unit": replace(spoken, codes=spoken.codes - max(spoken.sizes)),
        "a row of 0 units": replace(spoken, lengths=torch.tensor([7, 0, 5])),
    }
    if isinstance(port_layout, str):
        wrong[f"units in layout '{other_layout}'"] = replace(spoken, layout=other_layout)
    for what, units_given in wrong.items():
        with refused(what):
            subject.component.decode(units_given, style, draws())


def refuses_other_styles(subject: Subject) -> None:
    """Where it takes a vector: none, one of another space, and one of another width are refused with a clear error."""
    if not _takes_vector(subject):
        raise NotApplicable("it takes no style vector")
    spoken, style = _units(subject), _style(subject, len(_LENGTHS))
    assert style.vector is not None
    wrong = {
        "a style without vector": Style(),
        "a style that is no number": replace(style, vector=style.vector * float("nan")),
        "a style of another space": replace(style, space_id=f"{style.space_id}-other"),
        "a style vector of another width": replace(style, vector=style.vector[:, :-1]),
        "style vectors of another number of rows": replace(style, vector=style.vector[:2]),
    }
    for what, given in wrong.items():
        with refused(what):
            subject.component.decode(spoken, given, draws())


def speaks_without_style(subject: Subject) -> None:
    """Where it takes no vector, a style without one is enough, and it has no reference embeddings."""
    if _takes_vector(subject):
        raise NotApplicable("it takes a style vector")
    sound = subject.component.decode(_units(subject, (4,)), Style(), draws())
    expect(int(sound.lengths[0]) >= 1, "no sound without a style.")
    expect(subject.component.style_vectors(_recordings(subject)) is None, "style_vectors must be None: none is taken.")


def style_vectors_are_as_declared(subject: Subject) -> None:
    """Reference embeddings are [B, style dim], those of each recording alone, and `decode` accepts them."""
    if not _takes_vector(subject):
        raise NotApplicable("it takes no style vector")
    port: Any = subject.contract.needs["style"]
    audio = _recordings(subject)
    vectors = subject.component.style_vectors(audio)
    expect(vectors is not None, "it takes style vectors and makes none.")
    shape = [len(audio.lengths), port.dim]
    expect(list(vectors.shape) == shape, f"style_vectors has shape {list(vectors.shape)}, declared is {shape}.")
    for index, length in enumerate(audio.lengths.tolist()):
        alone = subject.component.style_vectors(row(audio, index, length))
        expect_same(vectors[index : index + 1], alone, f"recording {index} has another vector in a batch", _ALIKE)
    given = Style(vector=vectors, space_id=port.space_id)
    subject.component.decode(_units(subject, (3, 2)), given, draws())
    with refused("a recording of one sample as reference"):
        subject.component.style_vectors(_recordings(subject, (1,)))
    with refused("a recording at another rate as reference"):
        subject.component.style_vectors(replace(audio, sample_rate=audio.sample_rate + 1))


def learns_from_recordings(subject: Subject) -> None:
    """The training forward gives finite losses and segments, its gradient reaches every part, and it repeats."""
    component = subject.make().train()
    batch = _batch(subject)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = component.training_forward(batch, draws())
        expect(output.real.shape == output.fake.shape, "real and fake segments differ in shape.")
        expect(
            output.real.dim() == 3 and output.real.shape[1] == 1, f"segments {list(output.real.shape)}, not [B, 1, S]."
        )
        expect(
            all(not part.requires_grad for part in output.losses.parts.values()), "parts of the loss must be detached."
        )
        torch.manual_seed(0)
        again = subject.make().train().training_forward(batch, draws())
    expect_same(output.losses.total.detach(), again.losses.total.detach(), "the same generator gives another loss")
    expect_gradient(component, output.losses.total)


def discriminator_judges_its_sound(subject: Subject) -> None:
    """The adversary maps [B, 1, S] to scores and feature maps, differentiably; None where there is none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adversary = subject.component.make_discriminator()
    if adversary is None:
        raise NotApplicable("it learns without an adversary")
    expect(isinstance(adversary, nn.Module), f"make_discriminator gives a {type(adversary).__name__}, not a module.")
    wave = torch.randn(2, 1, 2048, generator=draws()).requires_grad_()
    scores, features = adversary(wave)
    expect(len(scores) >= 1 and len(features) == len(scores), "scores and feature maps do not belong together.")
    sum(score.float().mean() for score in scores).backward()
    expect(wave.grad is not None and bool(wave.grad.any()), "no gradient comes back to the sound.")


SUITE = Suite(
    base=Detokenizer,
    needs={"units": UnitsPort, "style": StylePort},
    gives={"audio": AudioPort},
    outputs=outputs,
    cases=(
        sound_is_as_declared,
        same_generator_state_same_sound,
        training_mode_does_not_matter,
        batch_equals_singles,
        speaks_one_unit,
        lasts_as_long_as_it_is_told,
        streams_what_it_decodes,
        units_may_arrive_in_any_pieces,
        speaks_before_the_last_unit,
        refuses_other_units,
        refuses_other_styles,
        speaks_without_style,
        style_vectors_are_as_declared,
        learns_from_recordings,
        discriminator_judges_its_sound,
    ),
)
