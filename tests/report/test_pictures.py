"""Figures show what they are given: tones at their frequency, units at their time, gaps where nothing is voiced."""

from __future__ import annotations

import base64
import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from omnikit.report.pictures import f0_overlay, sound_figure, spectrogram_png, training_curve, unit_strip
from omnikit.serving.measure import Sound, listen
from omnikit.serving.swaps import LivePoint

RATE = 16_000


def tone(hz: float, seconds: float = 0.6, rate: int = RATE) -> Sound:
    time = np.arange(int(rate * seconds)) / rate
    return listen(0.3 * np.sin(2 * math.pi * hz * time).astype(np.float32), rate)


def voice(hz: float, seconds: float = 0.6) -> Sound:
    time = np.arange(int(RATE * seconds)) / RATE
    wave = sum(np.sin(2 * math.pi * hz * k * time) / k for k in range(1, 8))
    return listen((0.2 * wave).astype(np.float32), RATE)


@pytest.mark.parametrize(("hz", "rate"), [(1000.0, 16_000), (5000.0, 16_000), (3000.0, 22_050)])
def test_a_tone_is_brightest_at_its_frequency(hz: float, rate: int) -> None:
    picture = Image.open(io.BytesIO(spectrogram_png(tone(hz, rate=rate))))
    assert picture.mode == "P"
    rows = np.asarray(picture.convert("L"), dtype=float).mean(axis=1)
    found = 8000 * (1 - (rows.argmax() + 0.5) / len(rows))
    assert abs(found - hz) < 150


def test_the_sound_figure_is_valid_and_draws_f0_where_it_is() -> None:
    drawing = ElementTree.fromstring(sound_figure(voice(225.0), "a <voice>"))
    assert drawing.get("aria-label") == "a <voice>"
    line = next(path for path in drawing.iter("path") if path.get("class") == "f0-line")
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line.get("d", ""))]
    picture = next(drawing.iter("image"))
    top, height = float(picture.get("y", 0)), float(picture.get("height", 0))
    middle = top + height / 2  # 225 Hz is half way between 50 and 400
    assert heights
    assert all(abs(y - middle) < 2 for y in heights)
    image = base64.b64decode(picture.get("href", "").split(",")[1])
    assert Image.open(io.BytesIO(image)).size[1] == 128


def test_an_unvoiced_sound_has_no_f0_line() -> None:
    noise = listen(0.1 * np.random.default_rng(0).standard_normal(RATE // 2).astype(np.float32), RATE)
    silent = Sound(noise.wave, RATE, np.full(50, np.nan), math.nan)
    assert "f0-line" not in sound_figure(silent, "noise")


def test_units_stand_at_their_time_in_the_colour_of_their_meaning() -> None:
    colours = np.array([[-1.0, 0, 1], [0.5, 0.5, 0.5], [-1.0, 0, 1]])
    drawing = ElementTree.fromstring(unit_strip([7, 9, 7], colours, 25.0, "units"))
    boxes = list(drawing.iter("rect"))
    assert [box[0].text for box in boxes] == ["unit 7 at 0.00 s", "unit 9 at 0.04 s", "unit 7 at 0.08 s"]
    assert boxes[0].get("fill") == boxes[2].get("fill") != boxes[1].get("fill")


@pytest.mark.parametrize("width", [1, 2, 6])
def test_units_of_any_number_of_digits_can_be_drawn(width: int) -> None:
    drawing = ElementTree.fromstring(unit_strip([0, 1], np.array([[-1.0] * width, [0.9] * width]), 12.5, "units"))
    assert len({box.get("fill") for box in drawing.iter("rect")}) == 2


def test_overlaid_curves_lift_the_pen_and_are_named() -> None:
    sound = voice(120.0)
    gap = Sound(sound.wave, RATE, np.array([100.0, 110.0, np.nan, 120.0, 130.0]), 115.0)
    drawing = ElementTree.fromstring(f0_overlay([("sad", gap), ("happy", sound)], "curves"))
    paths = [path.get("d", "") for path in drawing.iter("path") if path.get("class") == "line line-sad"]
    assert paths[0].count("M") == 2
    assert {"sad", "happy"} <= {text.text for text in drawing.iter("text")}


def test_the_training_curve_puts_lower_errors_lower() -> None:
    points = [LivePoint(0.0, 0, 0.9), LivePoint(5.0, 10, 0.5), LivePoint(10.0, 20, 0.1)]
    drawing = ElementTree.fromstring(training_curve(points, 0.12, "falls"))
    dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in drawing.iter("circle")]
    assert dots == sorted(dots)
    reference = next(line for line in drawing.iter("line") if line.get("class") == "reference")
    assert dots[1][1] < float(reference.get("y1", 0)) < dots[2][1]
