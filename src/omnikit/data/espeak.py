"""espeak-ng in this process: text → waveform and phone times, the same bytes for the same call whatever came before.

The library and its data come from the wheel `espeakng-loader`. It carries state from one call to the next (flutter,
roughness, random numbers). A private copy of its English data (about 1 MB) holds the voices with these effects
at zero, and without echo, which would blur a phone into the next. The random seed is set before every call.

Letters: S samples.
"""

from __future__ import annotations

import ctypes
import functools
import math
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from omnikit.data.phones import phones_of
from omnikit.data.prosody import Prosody
from omnikit.data.voices import CANONICAL_VOICE, VOICES, voice_named
from omnikit.errors import DataError, OmnikitError, unknown_name

SAMPLE_RATE = 16_000
ESPEAK_RATE = 22_050
LEVEL_RMS = 0.06
"""Root mean square of an utterance at gain 1."""
_PEAK = 0.97
_MEAN_TONE = 57.0
_ENGLISH_FILES = ("en_dict", "phondata", "phonindex", "phontab", "intonations")
_STEADY = ("flutter 0", "roughness 0", "echo 0 0")
_DEFAULT_PITCH = (82, 118)
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_PHONEME_EVENT = 7
_INIT_FLAGS = 0x8001  # phoneme events; report errors instead of leaving the process
_RETRIEVAL = 2
_UTF8 = 1
_BETWEEN_MNEMONICS = "_"
_ANOTHER_LANGUAGE = re.compile(r"\([a-z-]+\)")
_QUIET_VOLUME = 30  # far from espeak-ng's own clipping; the level is set afterwards


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Speech:
    """One utterance: `wave` [S] float32 at `sample_rate` Hz, and `phones` as (symbol, start_s, end_s) in order."""

    wave: np.ndarray
    sample_rate: int
    phones: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class _Library:
    lib: ctypes.CDLL
    source: Path
    folder: tempfile.TemporaryDirectory[str]
    pitches: dict[str, tuple[int, int]]
    lock: threading.Lock


def _steady_variant(name: str, source: Path) -> tuple[str, tuple[int, int]]:
    """A voice variant with the effects above at zero (of equal settings the last counts), and its pitch in Hz."""
    text = f"language variant\nname {name}\n"
    if name != CANONICAL_VOICE:
        text = source.joinpath("voices", "!v", name).read_text(encoding="latin-1")
    words = [line.split() for line in text.splitlines()]
    pitches = [(int(line[1]), int(line[2])) for line in words if line and line[0] == "pitch"]
    steady = "\n".join([*map(" ".join, words), *_STEADY]) + "\n"
    return steady, pitches[-1] if pitches else _DEFAULT_PITCH


@functools.cache
def _library() -> _Library:
    """The espeak-ng of this process: loaded, pointed at the private data, initialised."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise OmnikitError(
            "Speech synthesis needs the wheel 'espeakng-loader', which is not installed.\n"
            "Install it: pip install espeakng-loader"
        ) from error
    source = Path(espeakng_loader.get_data_path())
    folder = tempfile.TemporaryDirectory(prefix="omnikit-espeak-", ignore_cleanup_errors=True)
    home = Path(folder.name) / "espeak-ng-data"
    (home / "voices" / "!v").mkdir(parents=True)
    (home / "lang" / "gmw").mkdir(parents=True)
    for name in (*_ENGLISH_FILES, "lang/gmw/en-US"):
        shutil.copy(source / name, home / name)
    pitches = {}
    for name in VOICES:
        text, pitches[name] = _steady_variant(name, source)
        (home / "voices" / "!v" / name).write_text(text, encoding="utf-8")
    lib = ctypes.CDLL(espeakng_loader.get_library_path())
    lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    lib.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate = lib.espeak_Initialize(_RETRIEVAL, 0, str(home).encode(), _INIT_FLAGS)
    if rate != ESPEAK_RATE:
        raise OmnikitError(f"espeak-ng did not start: it reports a rate of {rate} Hz instead of {ESPEAK_RATE} Hz.")
    lib.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
    return _Library(lib, source, folder, pitches, threading.Lock())


def pitch_settings(prosody: Prosody, low_hz: float, high_hz: float) -> tuple[int, int]:
    """espeak-ng's parameters (pitch, range), 0 to 99, that scale F0 of a voice as `prosody` asks.

    With base B and range R of a voice, espeak-ng speaks tone t at B·a − 18·R·(r − 1) + t·R·r/2, where a follows from
    the pitch parameter (an octave up at 100, down at 0) and r = range / 50. We want k·(m + c·(F0 − m)) around the
    mean m = B + t̄·R/2 with t̄ = 57 (measured over sentences), k = 2^(semitones/12), c the range factor: r = k·c.
    """
    scale = 2.0 ** (prosody.semitones / 12.0)
    base = (low_hz - 9.0) * 4096.0
    span = (high_hz - low_hz) * 108.0
    ratio = scale * prosody.range_factor
    mean = base + 0.5 * _MEAN_TONE * span
    wanted_base = scale * (mean - prosody.range_factor * (mean - base)) + 18.0 * span * (ratio - 1.0)
    octaves = math.log2(max(wanted_base / base, 0.25))
    pitch = round(50.0 + 50.0 * octaves)
    return min(max(pitch, 0), 99), min(max(round(50.0 * ratio), 0), 99)


class Espeak:
    """Text to speech in many voices. Instances share the one library of the process; any thread may use them."""

    def __init__(self) -> None:
        self._library = _library()

    def synthesise(self, text: str, voice: str = CANONICAL_VOICE, prosody: Prosody | None = None) -> Speech:
        """Speak English `text`: wave [S] at 16 kHz, level as the prosody asks, and the phones with their times.

        Raises UnknownName for a voice that does not exist, DataError when the text holds nothing to say.
        """
        prosody = prosody or Prosody()
        raw, events = self._speak(text, voice, prosody)
        phones = _timed_phones(events, raw.size)
        if not phones:
            raise DataError(f"There is nothing to say in the text {text!r}.\nGive at least one English word.")
        wave = soxr.resample(raw.astype(np.float32) / 32768.0, ESPEAK_RATE, SAMPLE_RATE)
        rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
        peak = float(np.abs(wave).max())
        gain = min(LEVEL_RMS * prosody.gain / rms, _PEAK / peak)
        return Speech((wave * np.float32(gain)).astype(np.float32), SAMPLE_RATE, phones)

    def phonemise(self, text: str) -> tuple[str, ...]:
        """The phones of `text` as the canonical neutral voice says them; empty for a text with nothing to say."""
        raw, events = self._speak(text, CANONICAL_VOICE, Prosody())
        return tuple(symbol for symbol, _, _ in _timed_phones(events, raw.size))

    def transcribe(self, text: str, language: str) -> tuple[tuple[str, ...], ...]:
        """The mnemonics of every word of `text`, with stress marks and tones, in a language of espeak-ng (`de`, `cmn`).

        Raises UnknownName for a language that it does not have.
        """
        library = self._library
        place = languages()
        if language not in place:
            raise unknown_name("espeak-ng language", language, place)
        home = Path(library.folder.name) / "espeak-ng-data"
        voice = place[language].lower()  # as espeak-ng makes every name that it is asked for
        dictionary = f"{voice_file(language).get('dictionary', language.split('-')[0])}_dict"
        for name, copy in ((place[language], home / voice), (dictionary, home / dictionary)):
            if not copy.exists() and (library.source / name).exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library.source / name, copy)
        mode = ord(_BETWEEN_MNEMONICS) << 8
        words: list[tuple[str, ...]] = []
        rest = ctypes.c_char_p(text.replace("\0", " ").encode("utf-8"))
        with library.lock:
            if library.lib.espeak_SetVoiceByName(voice.removeprefix("lang/").encode()):
                raise OmnikitError(f"espeak-ng could not load the language '{language}'.")
            while rest.value is not None:  # one clause a call
                said = library.lib.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, mode).decode("utf-8", "replace")
                for word in _ANOTHER_LANGUAGE.sub("", said).split():
                    words.append(tuple(filter(None, word.split(_BETWEEN_MNEMONICS))))
        return tuple(filter(None, words))

    def _speak(self, text: str, voice: str, prosody: Prosody) -> tuple[np.ndarray, list[tuple[str, int]]]:
        """int16 samples [S] at 22 050 Hz and the phoneme events (mnemonic, first sample)."""
        voice_named(voice)
        if "\0" in text:
            raise DataError("The text holds a NUL character.\nGive plain English text.")
        chunks: list[bytes] = []
        events: list[tuple[str, int]] = []

        def collect(wave: int | None, num_samples: int, event: ctypes._Pointer[_Event]) -> int:
            if wave and num_samples > 0:
                chunks.append(ctypes.string_at(wave, 2 * num_samples))
            index = 0
            while event[index].type:
                if event[index].type == _PHONEME_EVENT:
                    name = ctypes.string_at(ctypes.addressof(event[index].id), 8).split(b"\0")[0]
                    events.append((name.decode("utf-8", "replace"), event[index].sample))
                index += 1
            return 0

        callback = _Callback(collect)
        lib = self._library.lib
        pitch, pitch_range = pitch_settings(prosody, *self._library.pitches[voice])
        encoded = text.encode("utf-8")
        with self._library.lock:
            lib.espeak_SetSynthCallback(callback)
            if lib.espeak_SetVoiceByName(f"en-us+{voice}".encode()):
                raise OmnikitError(f"espeak-ng could not load the voice '{voice}'.")
            for parameter, value in (
                (_RATE, round(prosody.rate_wpm)),
                (_VOLUME, _QUIET_VOLUME),
                (_PITCH, pitch),
                (_RANGE, pitch_range),
            ):
                lib.espeak_SetParameter(parameter, value, 0)
            lib.espeak_ng_SetRandSeed(1)
            status = lib.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        if status:
            raise OmnikitError(f"espeak-ng failed with status {status} on the text {text!r}.")
        return np.frombuffer(b"".join(chunks), dtype=np.int16), events


def _timed_phones(events: list[tuple[str, int]], num_samples: int) -> tuple[tuple[str, float, float], ...]:
    """Phoneme events → (symbol, start_s, end_s); every event lasts until the next one, pauses are left out."""
    timed = []
    starts = [min(sample, num_samples) for _, sample in events] + [num_samples]
    for index, (mnemonic, _) in enumerate(events):
        symbols = phones_of(mnemonic)
        edges = np.linspace(starts[index], starts[index + 1], len(symbols) + 1) / ESPEAK_RATE if symbols else ()
        for place, symbol in enumerate(symbols):
            timed.append((symbol, round(float(edges[place]), 4), round(float(edges[place + 1]), 4)))
    return tuple(timed)


@functools.cache
def languages() -> dict[str, str]:
    """The files of espeak-ng's languages, under its data folder, by name in lower case."""
    root = _library().source
    found = sorted(path for path in (root / "lang").rglob("*") if path.is_file())
    return {path.name.lower(): path.relative_to(root).as_posix() for path in found}


def voice_file(language: str) -> dict[str, str]:
    """What the file of a language sets: the first word behind each key, of equal keys the first."""
    text = (_library().source / languages()[language]).read_text(encoding="latin-1")
    words = [line.split() for line in reversed(text.splitlines())]
    return {line[0]: line[1] for line in words if len(line) > 1}


def phone_table_file() -> Path:
    """The file that holds the phones of all languages."""
    return _library().source / "phontab"


def espeak_version() -> str:
    """The version of the espeak-ng library, as it reports itself."""
    info = _library().lib.espeak_Info
    info.restype = ctypes.c_char_p
    return info(None).decode()
