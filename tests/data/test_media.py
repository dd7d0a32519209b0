"""Sound and pictures: what is read is what was written, and every bad file is refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omnikit.data import media
from omnikit.errors import MediaError


def tone(seconds: float = 0.5, rate: int = 16_000, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_round_trip_within_16_bits_and_marked(tmp_path: Path, ending: str) -> None:
    path = media.write_audio(tmp_path / f"a{ending}", tone(), 16_000)
    wave, rate = media.read_audio(path)
    assert rate == 16_000
    np.testing.assert_allclose(wave, tone(), atol=1.0 / 32767)
    with soundfile.SoundFile(path) as file:
        assert file.comment == "synthetic speech made by omnikit"
        assert file.subtype == "PCM_16"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_loud_waves_are_clipped_not_wrapped_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    media.write_audio(tmp_path / "full.wav", tone(level=1.0), 16_000)
    assert not caplog.records
    wave, _ = media.read_audio(media.write_audio(tmp_path / "a.wav", 3.0 * tone(), 16_000))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "a.wav") in caplog.text and "peak 1.5" in caplog.text
    assert wave.max() == pytest.approx(1.0, abs=1e-4)
    loud = np.abs(tone()) > 0.01
    np.testing.assert_array_equal(np.sign(wave[loud]), np.sign(tone()[loud]))


@pytest.mark.parametrize(
    ("wave", "name", "words"),
    [
        (np.array([0.1, np.nan], np.float32), "a.wav", "NaN"),
        (np.array([0.1, np.inf], np.float32), "a.wav", "infinite"),
        (np.zeros(0, np.float32), "a.wav", "shape"),
        (np.zeros((2, 8), np.float32), "a.wav", "one channel"),
        (np.ones(8, np.float32), "a.mp4", ".wav, .flac"),
    ],
)
def test_what_may_not_leave(tmp_path: Path, wave: np.ndarray, name: str, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        media.write_audio(tmp_path / name, wave, 16_000)
    assert not list(tmp_path.iterdir())


def test_load_audio_resamples_and_mixes(tmp_path: Path) -> None:
    stereo = np.stack([tone(rate=44_100), tone(rate=44_100)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 44_100, subtype="FLOAT")
    audio = media.load_audio(tmp_path / "a.wav", 16_000)
    assert audio.sample_rate == 16_000
    assert audio.wave.shape == (1, 8000)
    assert audio.lengths.tolist() == [8000]
    np.testing.assert_allclose(audio.wave[0, 400:-400].numpy(), tone()[400:-400], atol=2e-3)


def bad_audio(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "broken":
        path.write_bytes(b"RIFF....this is no sound at all")
    elif kind == "nan":
        soundfile.write(path, np.array([0.1, np.nan, 0.2], np.float32), 16_000, subtype="FLOAT")
    elif kind == "infinite":
        soundfile.write(path, np.array([0.1, np.inf], np.float32), 16_000, subtype="FLOAT")
    elif kind == "no_samples":
        soundfile.write(path, np.zeros(0, np.float32), 16_000)
    elif kind == "silent":
        soundfile.write(path, np.full(1600, 5e-5, np.float32), 16_000, subtype="FLOAT")
    elif kind == "long":
        soundfile.write(path, tone(61.0, rate=1000), 1000)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("empty", "0 bytes"),
        ("broken", "cannot be read"),
        ("nan", "NaN"),
        ("infinite", "infinite"),
        ("no_samples", "no samples"),
        ("silent", "silence"),
        ("long", "61.0 s"),
        ("folder", "folder"),
    ],
)
def test_bad_audio_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = bad_audio(tmp_path, kind)
    with pytest.raises(MediaError, match=words) as caught:
        media.load_audio(path, 16_000)
    assert path.name in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 8


def test_an_hour_of_audio_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "hour.flac", np.zeros(3_600_000, np.int16), 1000)
    monkeypatch.setattr(media.soundfile, "read", lambda *_, **__: pytest.fail("the file was decoded"))
    with pytest.raises(MediaError, match=r"3600\.0 s"):
        media.read_audio(tmp_path / "hour.flac")


def test_every_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    pictures = {
        "rgb.png": red,
        "palette.png": red.convert("P"),
        "cmyk.jpg": red.convert("CMYK"),
        "alpha.png": red.convert("RGBA"),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        pixels = media.load_image(tmp_path / name, 16).pixels
        assert pixels.shape == (1, 3, 16, 16), name
        assert pixels[0].mean((1, 2)).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=0.02), name


def test_deep_grey_and_transparency(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 10), 32768, np.uint16)).save(tmp_path / "deep.png")
    assert media.load_image(tmp_path / "deep.png", 10).pixels.unique().tolist() == pytest.approx([0.5], abs=0.01)
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert media.load_image(tmp_path / "clear.png", 10).pixels.unique().tolist() == [1.0]
    palette = Image.new("P", (10, 10))
    palette.save(tmp_path / "clear.gif", transparency=0)
    assert media.load_image(tmp_path / "clear.gif", 10).pixels.unique().tolist() == [1.0]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 8), "black")
    picture.paste("white", (0, 0, 8, 8))  # white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: left becomes top
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = media.load_image(tmp_path / "turned.png", 8).pixels[0].mean(0)
    assert pixels[:2].min() > 0.9
    assert pixels[-2:].max() < 0.1


@pytest.mark.parametrize(("kind", "words"), [("missing", "exist"), ("empty", "0 bytes"), ("text", "cannot be read")])
def test_bad_pictures_are_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "a.png"
    if kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"hello, I am no picture")
    with pytest.raises(MediaError, match=words):
        media.load_image(path, 16)


def test_truncated_tiny_and_huge_pictures_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = media.write_image(tmp_path / "a.png", noise).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="broken"):
        media.load_image(tmp_path / "cut.png", 16)
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(MediaError, match="1 x 1"):
        media.load_image(tmp_path / "dot.png", 16)
    with pytest.raises(MediaError, match=r"at most 4095"):
        media.load_image(tmp_path / "a.png", 16, max_pixels=4095)
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(bomb + whole[33:])  # a tiny picture that says that it is huge
    with pytest.raises(MediaError, match=r"20000 x 20000|too large"):
        media.load_image(tmp_path / "bomb.png", 16)
    with pytest.raises(MediaError, match="at least 1"):
        media.load_image(tmp_path / "a.png", 0)
