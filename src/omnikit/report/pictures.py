"""Figures of sound, units and training as inline SVG; only spectrograms are bitmaps (8-bit palette PNG inside the SVG).

Colours of lines come from the page's style sheet, so that figures follow light and dark mode.
Letters: S samples, F frequency bins, T frames, d dimensions of a unit.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from omnikit.metrics.prosody import STEP_S
from omnikit.serving.measure import Sound
from omnikit.serving.swaps import LivePoint

WIDTH = 640
LEFT, RIGHT = 44, 44
TOP_HZ = 8000
F0_LOW, F0_HIGH = 50.0, 400.0
_WAVE_HEIGHT, _SPECTRUM_HEIGHT, _AXIS = 40, 128, 26
_RANGE_DB = 65.0


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as a `data:` address, e.g. of kind `image/png`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file_uri(path: Path) -> str:
    """A PNG file as a `data:` address."""
    return data_uri("image/png", path.read_bytes())


def spectrum_db(sound: Sound) -> np.ndarray:
    """Power in dB [F, T] up to 8 kHz (25 ms Hann windows every 10 ms)."""
    rate = sound.sample_rate
    window, hop, size = round(0.025 * rate), round(0.010 * rate), 512 if rate <= 20_000 else 1024
    wave = np.pad(sound.wave.astype(np.float64), (window // 2, window))
    starts = np.arange(0, len(wave) - window, hop)
    frames = wave[starts[:, None] + np.arange(window)] * np.hanning(window)  # [T, window]
    power = np.abs(np.fft.rfft(frames, size)).T ** 2  # [F, T]
    power = power[: int(TOP_HZ * size / rate) + 1]
    return 10 * np.log10(power + 1e-12)


def spectrogram_png(sound: Sound) -> bytes:
    """`spectrum_db` as a palette PNG, low frequencies below."""
    from matplotlib import colormaps

    level = spectrum_db(sound)
    shades = np.clip((level - level.max() + _RANGE_DB) / _RANGE_DB, 0, 1)
    image = Image.fromarray((shades[::-1] * 255).astype(np.uint8))
    image = image.resize((min(image.width, 420), 128), Image.Resampling.BILINEAR).quantize(64, dither=Image.Dither.NONE)
    grey = np.asarray(image.getpalette(), dtype=np.uint8).reshape(-1, 3)[:, 0]
    image.putpalette((colormaps["magma"](grey / 255.0)[:, :3] * 255).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def sound_figure(sound: Sound, about: str) -> str:
    """Waveform above spectrogram with the F0 curve, over one time axis; `about` is its text alternative."""
    length, inner = max(sound.duration_s, 1e-3), WIDTH - LEFT - RIGHT
    top, bottom = _WAVE_HEIGHT + 6, _WAVE_HEIGHT + 6 + _SPECTRUM_HEIGHT
    parts = [
        f'<path class="wave" d="{_envelope(sound.wave, inner)}"/>',
        f'<image x="{LEFT}" y="{top}" width="{inner}" height="{_SPECTRUM_HEIGHT}" preserveAspectRatio="none" '
        f'href="{data_uri("image/png", spectrogram_png(sound))}"/>',
    ]
    path = _curve(
        [(LEFT + inner * i * STEP_S / length, _f0_y(f, top, bottom)) for i, f in enumerate(sound.f0_hz.tolist())]
    )
    if path:
        parts += [f'<path class="f0-halo" d="{path}"/>', f'<path class="f0-line" d="{path}"/>']
    for khz in (0, 2, 4, 6, 8):
        y = bottom - _SPECTRUM_HEIGHT * khz * 1000 / TOP_HZ
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{khz}</text>')
    for hz in (100, 200, 300, 400):
        parts.append(
            f'<text class="tick f0-text" x="{WIDTH - RIGHT + 6}" y="{_f0_y(hz, top, bottom) + 4:.1f}">{hz}</text>'
        )
    parts.append(_turned(10, (top + bottom) / 2, "kHz"))
    parts.append(_turned(WIDTH - 4, (top + bottom) / 2, "F0, Hz", "f0-text"))
    parts += _time_axis(length, LEFT, inner, bottom)
    parts.append(f'<line class="playhead" x1="{LEFT}" x2="{LEFT}" y1="0" y2="{bottom}"/>')
    return _svg(WIDTH, bottom + _AXIS, parts, about, f'class="sound" data-left="{LEFT}" data-width="{inner}"')


def unit_strip(ids: Sequence[int], colours: np.ndarray, rate: float, about: str) -> str:
    """A strip of units in time, each in the colour of what it stands for: its first digits as red, green and blue."""
    inner, height = WIDTH - LEFT - RIGHT, 24
    each = inner / max(1, len(ids))
    low, high = colours.min(initial=-1.0), colours.max(initial=1.0)
    shades = np.clip((colours - low) / max(high - low, 1e-6), 0, 1)
    if shades.shape[1] < 3:
        shades = np.concatenate([shades, np.full((len(shades), 3 - shades.shape[1]), 0.5)], axis=1)
    levels = (50 + 180 * shades[:, :3]).astype(int)
    parts = [
        f'<rect x="{LEFT + each * i:.2f}" y="0" width="{each + 0.15:.2f}" height="{height}" '
        f'fill="rgb({r},{g},{b})"><title>unit {unit} at {i / rate:.2f} s</title></rect>'
        for i, (unit, (r, g, b)) in enumerate(zip(ids, levels.tolist(), strict=True))
    ]
    parts += _time_axis(len(ids) / rate, LEFT, inner, height)
    return _svg(WIDTH, height + _AXIS, parts, about, 'class="strip"')


def f0_overlay(sounds: Sequence[tuple[str, Sound]], about: str) -> str:
    """F0 curves of several sounds over one time axis, with a legend; each is of the class `line-NAME`."""
    inner, top, height = WIDTH - LEFT - RIGHT, 26, 220
    length = max((sound.duration_s for _, sound in sounds), default=1.0)
    voiced = [f for _, sound in sounds for f in sound.f0_hz.tolist() if not math.isnan(f)]
    low = 50 * math.floor(min(voiced, default=100) / 50)
    high = max(50 * math.ceil(max(voiced, default=300) / 50), low + 100)
    parts = []
    for hz in range(low, high + 1, 50 if high - low <= 250 else 100):
        y = _f0_y(hz, top, height, low, high)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{hz}</text>')
    parts.append(_turned(10, (top + height) / 2, "F0, Hz"))
    for index, (name, sound) in enumerate(sounds):
        points = [
            (LEFT + inner * i * STEP_S / length, _f0_y(f, top, height, low, high))
            for i, f in enumerate(sound.f0_hz.tolist())
        ]
        kind, x = f"line line-{html.escape(name)}", LEFT + index * 110
        parts.append(f'<path class="{kind}" d="{_curve(points)}"><title>{html.escape(name)}</title></path>')
        parts.append(
            f'<path class="{kind}" d="M{x} 8H{x + 22}"/>'
            f'<text class="tick" x="{x + 30}" y="12">{html.escape(name)}</text>'
        )
    parts += _time_axis(length, LEFT, inner, height)
    return _svg(WIDTH, height + _AXIS, parts, about, 'class="overlay"')


def training_curve(points: Sequence[LivePoint], shipped: float, about: str) -> str:
    """Phones misread (%) against seconds of training, with the shipped tokenizer as a dashed line."""
    inner, height = WIDTH - LEFT - RIGHT, 170
    length = max(points[-1].seconds, 1e-3)
    highest = max(0.05, *(p.phone_error for p in points), shipped)
    ceiling = math.ceil(5 * highest) / 5
    parts = []

    def y_of(value: float) -> float:
        return height - (height - 6) * value / ceiling

    for step in range(5):
        value = ceiling * step / 4
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}"/>'
        )
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y_of(value) + 4:.1f}">{100 * value:.3g}</text>')
    parts.append(_turned(10, height / 2, "phones misread, %"))
    parts.append(
        f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(shipped):.1f}" y2="{y_of(shipped):.1f}"/>'
    )
    places = [(LEFT + inner * p.seconds / length, y_of(p.phone_error)) for p in points]
    parts.append(f'<path class="line line-live" d="{_curve(places)}"/>')
    for (x, y), point in zip(places, points, strict=True):
        said = f"step {point.step}, {point.seconds:.0f} s: {100 * point.phone_error:.1f} %"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{said}</title></circle>')
    parts += _time_axis(length, LEFT, inner, height)
    return _svg(WIDTH, height + _AXIS, parts, about, 'class="curve"')


def _svg(width: float, height: float, parts: Sequence[str], about: str, attributes: str) -> str:
    inside = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(about)}" {attributes}>'
        f"{inside}</svg>"
    )


def _envelope(wave: np.ndarray, inner: int) -> str:
    """The outline of a wave [S] as a path: highest and lowest sample of every second pixel."""
    columns = np.array_split(wave, max(1, min(inner // 2, len(wave))))
    loudest = max(float(np.abs(wave).max(initial=0.0)), 1e-6)
    middle, half = _WAVE_HEIGHT / 2, _WAVE_HEIGHT / 2 - 1
    width = inner / len(columns)
    upper = [(LEFT + width * i, middle - half * float(c.max()) / loudest) for i, c in enumerate(columns)]
    lower = [(LEFT + width * i, middle - half * float(c.min()) / loudest) for i, c in enumerate(columns)]
    return "M" + "L".join(f"{x:.0f} {y:.1f}" for x, y in [*upper, *reversed(lower)]) + "Z"


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A path through the points; NaN lifts the pen."""
    path, down = [], False
    for x, y in points:
        if math.isnan(y):
            down = False
            continue
        path.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        if not down:
            path.append(f"L{x + 0.1:.1f} {y:.1f}")
        down = True
    return "".join(path)


def _f0_y(hz: float, top: float, bottom: float, low: float = F0_LOW, high: float = F0_HIGH) -> float:
    """Height of a frequency between `low` at the bottom and `high` at the top; NaN stays NaN."""
    return math.nan if math.isnan(hz) else bottom - (bottom - top) * (min(max(hz, low), high) - low) / (high - low)


def _time_axis(length_s: float, left: float, inner: float, y: float) -> list[str]:
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60) if length_s / s <= 9), 120)
    parts = [f'<line class="axis" x1="{left}" x2="{left + inner}" y1="{y}" y2="{y}"/>']
    for index in range(int(length_s / step + 1e-6) + 1):
        x = left + inner * index * step / length_s
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>')
        unit = " s" if index == 0 else ""
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{y + 18}">{index * step:.3g}{unit}</text>')
    return parts


def _turned(x: float, y: float, text: str, extra: str = "") -> str:
    return f'<text class="tick middle {extra}" x="{x:g}" y="{y:g}" transform="rotate(-90 {x:g} {y:g})">{text}</text>'
