"""Promises of the slot `tokenizer`.

Letters: B batch, K codebooks, T units, N phones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import torch

from omnikit.contracts import AudioPort, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.slots.tokenizer import LabelKind, SpeechTokenizer
from omnikit.slots.unit_stream import frames_of
from omnikit.testing.kit import NotApplicable, Subject, Suite, expect, expect_gradient, expect_same, first_of, refused
from omnikit.testing.material import draws, on, row, sounds
from omnikit.types import Audio, Units

_SECONDS = (0.62, 0.3, 0.9)
_MINUTE_S = 60.0
_SLACK_FRAMES = 2
_FEATURE_GAP = 1e-4


def _audio(subject: Subject, seconds: tuple[float, ...] = _SECONDS) -> Audio:
    rate = first_of(subject.contract.needs["audio"].sample_rate) or 16_000  # type: ignore[attr-defined]
    return sounds([max(1, round(item * rate)) for item in seconds], rate)


def _valid(units: Units) -> torch.Tensor:
    return torch.arange(units.codes.shape[-1], device=units.lengths.device) < units.lengths[:, None]  # [B, T]


def _read(tokenizer: SpeechTokenizer, audio: Audio) -> list[list[int]]:
    """What its head reads; nothing for every row where it has none."""
    if tokenizer.labels == "nothing":
        return [[] for _ in audio.lengths]
    return tokenizer.read_phones(audio) if tokenizer.labels == "phones" else tokenizer.read_labels(audio)


def outputs(subject: Subject, tokenizer: SpeechTokenizer) -> Any:
    """Units, their vectors, and labels read back."""
    audio = on(_audio(subject), tokenizer.device)
    units = tokenizer.encode(audio)
    return units, tokenizer.embed(units), _read(tokenizer, audio)


def units_are_as_declared(subject: Subject) -> None:
    """Units have the contract's codebooks, rate, layout and vocabulary; ids lie within the codebooks, padding is 0."""
    port, units = subject.contract.gives["units"], subject.component.encode(_audio(subject))
    said = dict(port.facts())
    expect(units.codes.dim() == 3 and units.codes.dtype == torch.int64, "codes must be [B, K, T] int64.")
    expect(
        tuple(units.sizes) == tuple(said["codebooks"]), f"sizes {units.sizes}, the contract says {said['codebooks']}."
    )
    expect(units.codes.shape[1] == len(units.sizes), f"{units.codes.shape[1]} codebooks for sizes {units.sizes}.")
    for fact in ("rate", "layout", "vocab_id"):
        expect(getattr(units, fact) == said[fact], f"{fact} {getattr(units, fact)}, the contract says {said[fact]}.")
    limits = torch.tensor(units.sizes)[:, None]  # [K, 1]
    expect(bool(((units.codes >= 0) & (units.codes < limits)).all()), f"ids outside 0..size-1 of {units.sizes}.")
    expect(int(units.lengths.max()) == units.codes.shape[-1], "the longest row does not fill the tensor.")
    expect(not bool(units.codes.masked_select(~_valid(units)[:, None]).any()), "padding is not 0.")


def batch_equals_singles(subject: Subject) -> None:
    """A padded batch gives exactly the units, and the labels read back, of its recordings alone."""
    audio, tokenizer = _audio(subject), subject.component
    together, heard = tokenizer.encode(audio), _read(tokenizer, audio)
    for index, length in enumerate(audio.lengths.tolist()):
        single = row(audio, index, length)
        alone = tokenizer.encode(single)
        expect_same(row(together, index, int(together.lengths[index])), alone, f"row {index} differs in a batch")
        expect(_read(tokenizer, single)[0] == heard[index], f"labels of row {index} differ in a batch.")


def padding_is_not_heard(subject: Subject) -> None:
    """Samples beyond a row's length change nothing."""
    audio = _audio(subject)
    noisy = audio.wave.clone()
    for index, length in enumerate(audio.lengths.tolist()):
        noisy[index, length:] = 0.5
    tokenizer = subject.component
    one, other = tokenizer.encode(audio), tokenizer.encode(replace(audio, wave=noisy))
    expect_same(one, other, "what stands in the padding changes the units")


def lasts_as_declared(subject: Subject) -> None:
    """A recording of n seconds has n times the rate frames, give or take two; reduced units count them in durations."""
    for seconds in (0.5, 1.0, 1.7):
        units = subject.component.encode(_audio(subject, (seconds,)))
        frames = int(units.lengths[0] if units.durations is None else units.durations.sum())
        wanted = seconds * float(units.rate)
        expect(abs(frames - wanted) <= _SLACK_FRAMES, f"{seconds} s give {frames} frames, {wanted:g} are declared.")


def layout_is_kept(subject: Subject) -> None:
    """Reduced units never repeat and carry durations of 1 or more; frame units carry none."""
    units = subject.component.encode(_audio(subject))
    if units.layout == "frame":
        expect(units.durations is None, "units in layout 'frame' carry durations.")
        return
    expect(units.durations is not None, "reduced units carry no durations.")
    valid = _valid(units)
    expect(units.durations.shape == valid.shape, f"durations {list(units.durations.shape)}, codes {list(valid.shape)}.")
    expect(bool((units.durations[valid] >= 1).all()), "a unit lasts less than one frame.")
    expect(not bool(units.durations[~valid].any()), "durations of padding are not 0.")
    repeated = (units.codes[..., 1:] == units.codes[..., :-1]).all(1) & valid[:, 1:]
    expect(not bool(repeated.any()), "two neighbouring units are the same; their run should be merged.")


def hears_very_short_sound(subject: Subject) -> None:
    """One sample, and 10 ms, give at least one unit; in a batch with longer rows too."""
    rate = _audio(subject).sample_rate
    for lengths in ([1], [rate // 100], [1, rate // 2]):
        units = subject.component.encode(sounds(lengths, rate))
        expect(int(units.lengths.min()) >= 1, f"recordings of {lengths} samples give {units.lengths.tolist()} units.")


def hears_a_minute(subject: Subject) -> None:
    """Sixty seconds give units for all of them, or are refused with a clear error; nothing is cut off unsaid."""
    audio = _audio(subject, (_MINUTE_S,))
    try:
        units = subject.component.encode(audio)
    except OmnikitError:
        return
    frames = int(units.lengths[0] if units.durations is None else units.durations.sum())
    wanted = _MINUTE_S * float(units.rate)
    expect(
        abs(frames - wanted) <= _SLACK_FRAMES, f"60 s give {frames} frames, {wanted:g} are declared; read all of it."
    )


def hears_silence(subject: Subject) -> None:
    """Half a second of digital silence gives units like any other sound (no NaN on the way)."""
    audio = _audio(subject, (0.5, 0.8))
    wave = audio.wave.clone()
    wave[0] = 0.0
    units = subject.component.encode(replace(audio, wave=wave))
    alone = subject.component.encode(row(replace(audio, wave=wave), 0, int(audio.lengths[0])))
    expect(int(alone.lengths[0]) >= 1, "silence gives no unit.")
    expect_same(row(units, 0, int(units.lengths[0])), alone, "silence beside a sound gives other units than alone")
    features = subject.component.embed(units).features
    expect(bool(features.isfinite().all()), "the vectors of silence are not finite.")


def refuses_bad_sound(subject: Subject) -> None:
    """Another sample rate, NaN, and rows without samples are refused with a clear error."""
    audio, tokenizer = _audio(subject), subject.component
    with refused("audio at another sample rate"):
        tokenizer.encode(replace(audio, sample_rate=audio.sample_rate + 1))
    with refused("audio that holds NaN"):
        tokenizer.encode(replace(audio, wave=torch.full_like(audio.wave, torch.nan)))
    with refused("a row of 0 samples"):
        tokenizer.encode(replace(audio, lengths=torch.zeros_like(audio.lengths)))
    with refused("a length beyond the tensor"):
        tokenizer.encode(replace(audio, lengths=audio.lengths + audio.wave.shape[1]))


def streams_as_declared(subject: Subject) -> None:
    """Sound in pieces gives the units of `encode_live` however it was cut, and those in time that the lookahead says.

    The edge of a stream is its last block: what is left when the recording ends is read with the end in sight, so that
    the last units of a recording that fits the window are those of `encode`.
    """
    tokenizer, audio = subject.component, _audio(subject, (2.3,))
    live, rate = tokenizer.encode_live(audio), float(subject.contract.gives["units"].rate)  # type: ignore[attr-defined]
    declared = subject.contract.lookahead_ms
    expect(declared is not None, "the contract declares no lookahead_ms; units come with some delay.")
    expected, whole, num_samples = frames_of(live)[0], frames_of(tokenizer.encode(audio))[0], audio.wave.shape[1]
    for size in (-(-num_samples // 230), -(-num_samples // 115), -(-num_samples // 33), num_samples):
        arrived: list[float] = []
        chunks = _arriving(audio, size, arrived)
        pieces = [(arrived[-1], units) for units in tokenizer.stream(chunks)]
        found = torch.cat([frames_of(units)[0] for _, units in pieces], 1)
        otherwise = f"pieces of {size} samples stream other units than encode_live; how sound is cut must not matter"
        expect_same(found, expected, otherwise)
        known, delay = 0, declared / 1000 + size / audio.sample_rate
        for seconds, units in pieces:
            run = 0 if units.durations is None else int(units.durations[0, 0])  # known when the next one begins
            expect(seconds <= (known + run + 1) / rate + delay, f"frame {known} is known only after {seconds:.2f} s.")
            known += frames_of(units)[0].shape[1]
    expect(found.shape == whole.shape, f"{found.shape[1]} units come of a stream, {whole.shape[1]} of encode.")
    expect_same(found[:, -1:], whole[:, -1:], "the last unit is not that of encode")


def _arriving(audio: Audio, size: int, arrived: list[float]) -> Iterator[Audio]:
    """Pieces of `size` samples; the seconds heard so far are noted in `arrived`."""
    for start in range(0, audio.wave.shape[1], size):
        wave = audio.wave[:, start : start + size]
        arrived.append((start + wave.shape[1]) / audio.sample_rate)
        yield Audio(wave, torch.tensor([wave.shape[1]]), audio.sample_rate)


def embeds_its_units(subject: Subject) -> None:
    """`embed` gives features [B, T, D] of its units, the same vector for the same unit; other units are refused."""
    tokenizer = subject.component
    units = tokenizer.encode(_audio(subject))
    frames = tokenizer.embed(units)
    shape = (units.codes.shape[0], units.codes.shape[-1])
    expect(
        frames.features.dim() == 3 and frames.features.shape[:2] == shape, f"features {list(frames.features.shape)}."
    )
    expect(torch.equal(frames.lengths, units.lengths), "lengths of the features are not those of the units.")
    backwards = tokenizer.embed(replace(units, codes=units.codes.flip(-1))).features
    expect_same(backwards.flip(1), frames.features, "the vector of a unit depends on its place")
    with refused("units of another vocabulary"):
        tokenizer.embed(replace(units, vocab_id=f"{units.vocab_id}-other"))
    with refused("an id beyond the codebook"):
        tokenizer.embed(replace(units, codes=units.codes + max(units.sizes)))


def shows_frames_before_the_bottleneck(subject: Subject) -> None:
    """Features, where there are any, are finite frames [B, T, D], and a row's own whatever it is batched with."""
    audio, tokenizer = _audio(subject), subject.component
    frames = tokenizer.features(audio)
    if frames is None:
        raise NotApplicable("it shows no features")
    expect(frames.features.dim() == 3, f"features {list(frames.features.shape)}, not [B, T, D].")
    expect(not frames.features.requires_grad, "features carry gradients; they are for looking at.")
    for index, length in enumerate(frames.lengths.tolist()):
        alone = tokenizer.features(row(audio, index, int(audio.lengths[index]))).features[0, :length]
        expect(bool(alone.isfinite().all()), f"features of row {index} are not finite.")
        gap = float((frames.features[index, :length] - alone).abs().max() / (1 + alone.abs().max()))
        expect(gap < _FEATURE_GAP, f"features of row {index} differ in a batch by {gap:.1e} of their size.")


def learns_from_labels(subject: Subject) -> None:
    """The loss is finite and its gradient reaches every trainable part."""
    tokenizer = subject.make().train()
    labels, lengths = torch.tensor([[0, 1, 2], [2, 1, 0], [1, 0, 1]]), torch.tensor([3, 1, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = tokenizer.loss(_audio(subject, (0.9, 0.5, 0.7)), labels, lengths)
    expect(all(not part.requires_grad for part in losses.parts.values()), "parts of the loss must be detached.")
    expect_gradient(tokenizer, losses.total)


def reads_what_it_says(subject: Subject) -> None:
    """Labels read back are one list of ints a row, no longer than the row has frames; other labels are refused."""
    audio, tokenizer = _audio(subject), subject.component
    kinds = get_args(LabelKind)
    expect(tokenizer.labels in kinds, f"labels are '{tokenizer.labels}'; a head reads one of {', '.join(kinds)}.")
    if tokenizer.labels != "phones":
        with refused("reading phones that no head reads"):
            tokenizer.read_phones(audio)
    if tokenizer.labels == "nothing":
        with refused("reading labels where no head reads"):
            tokenizer.read_labels(audio)
        return
    labels = tokenizer.read_labels(audio)
    expect(labels == _read(tokenizer, audio), "read_labels and read_phones read different phones.")
    expect(len(labels) == len(audio.lengths), f"{len(labels)} lists for {len(audio.lengths)} recordings.")
    rate = float(subject.contract.gives["units"].rate)  # type: ignore[attr-defined]
    for index, (found, seconds) in enumerate(zip(labels, audio.seconds, strict=True)):
        expect(all(type(label) is int and label >= 0 for label in found), f"row {index} holds no label indices.")
        expect(len(found) <= seconds * rate + _SLACK_FRAMES, f"row {index} has more labels than frames.")


def fits_units_after_training(subject: Subject) -> None:
    """Units that are found after training follow the recordings and the generator alone."""
    if not subject.component.is_fitted_afterwards:
        raise NotApplicable("its units are learnt during training")
    audio, codes = _audio(subject), []
    for _ in range(2):
        tokenizer = subject.make()
        tokenizer.fit_units([audio, audio], draws())
        codes.append(tokenizer.encode(audio))
    expect_same(codes[0], codes[1], "the same recordings and generator give other units")
    expect(len(codes[0].codes.unique()) > 1, "every frame of three recordings is the same unit after the fit.")


SUITE = Suite(
    base=SpeechTokenizer,
    needs={"audio": AudioPort},
    gives={"units": UnitsPort},
    outputs=outputs,
    cases=(
        units_are_as_declared,
        batch_equals_singles,
        padding_is_not_heard,
        lasts_as_declared,
        layout_is_kept,
        hears_very_short_sound,
        hears_a_minute,
        hears_silence,
        refuses_bad_sound,
        streams_as_declared,
        embeds_its_units,
        shows_frames_before_the_bottleneck,
        learns_from_labels,
        reads_what_it_says,
        fits_units_after_training,
    ),
)
