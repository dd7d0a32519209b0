"""Sound and pictures in and out of files: bad input is refused with a clear MediaError, all sound leaves by one door.

Letters: B batch (always 1 here), S samples, C channels, H height, W width.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from omnikit.errors import DataError, MediaError, naming_extras
from omnikit.nn.picture_sizes import AnyRes, NativeSize, PictureSize
from omnikit.types import Audio, Images

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger(__name__)

MAX_AUDIO_S = 60.0
SILENCE_PEAK = 1e-4
MIN_IMAGE_SIDE = 8
MAX_IMAGE_PIXELS = 50_000_000
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
AUDIO_COMMENT = "synthetic speech made by omnikit"
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF: values that turn a picture by a quarter
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


class StoredFile(str):
    """A file inside a shard: its name, by which it is known, and its bytes, read where a path could stand."""

    data: bytes

    def __new__(cls, name: str, data: bytes) -> StoredFile:
        """A name with bytes."""
        file = super().__new__(cls, name)
        file.data = data
        return file

    def __getnewargs__(self) -> tuple[str, bytes]:  # type: ignore[override]
        return str(self), self.data


def located(root: Path, name: str) -> str | Path:
    """Where the file of a record is: below `root`, or in the bytes that came with the record."""
    return name if isinstance(name, StoredFile) else root / name


def _opened(path: str | os.PathLike[str], kind: str) -> Path | BytesIO:
    """What a library reads: an existing file that is not empty, or bytes."""
    if not isinstance(path, StoredFile):
        return _existing(path, kind)
    if not path.data:
        raise MediaError(f"The {kind} file {path} is empty (0 bytes).")
    return BytesIO(path.data)


def _existing(path: str | os.PathLike[str], kind: str) -> Path:
    file = Path(path)
    if not file.exists():
        raise MediaError(f"The {kind} file {file} does not exist.")
    if not file.is_file():
        raise MediaError(f"{file} is no {kind} file (a folder or a device).")
    if file.stat().st_size == 0:
        raise MediaError(f"The {kind} file {file} is empty (0 bytes).")
    return file


def check_wave(wave: np.ndarray, name: str = "the wave") -> None:
    """Raise MediaError when `wave` [S] is empty, not finite or silent (peak below 1e-4)."""
    if wave.size == 0:
        raise MediaError(f"There is no sound in {name}: it has no samples.")
    if not np.isfinite(wave).all():
        raise MediaError(f"There are {int((~np.isfinite(wave)).sum())} samples that are NaN or infinite in {name}.")
    peak = float(np.abs(wave).max())
    if peak < SILENCE_PEAK:
        raise MediaError(
            f"There is only silence in {name}: its peak is {peak:.1e}, at least {SILENCE_PEAK:.0e} is needed."
        )


def audio_duration(path: str | os.PathLike[str]) -> tuple[float, int]:
    """(seconds, sample rate in Hz) from the header of an audio file; raises MediaError."""
    file = _opened(path, "audio")
    try:
        info = soundfile.info(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(
            f"The audio file {path} cannot be read: {error}\nGive a WAV, FLAC, OGG or MP3 file."
        ) from error
    return info.frames / info.samplerate, info.samplerate


def read_audio(path: str | os.PathLike[str], max_s: float = MAX_AUDIO_S) -> tuple[np.ndarray, int]:
    """Mono float32 wave [S] and its sample rate in Hz; channels are averaged.

    Raises MediaError for a file that is missing, empty, broken, silent, not finite, or longer than `max_s` seconds
    (found from the header, before anything is decoded).
    """
    seconds, sample_rate = audio_duration(path)
    if seconds > max_s:
        raise MediaError(
            f"The audio file {path} lasts {seconds:.1f} s, at most {max_s:g} s are accepted.\n"
            "Cut it into pieces, or raise max_s."
        )
    try:
        channels, _ = soundfile.read(_opened(path, "audio"), dtype="float32", always_2d=True)  # [S, C]
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(f"The audio file {path} is broken: {error}") from error
    wave = np.ascontiguousarray(channels.mean(axis=1, dtype=np.float32))  # [S]
    check_wave(wave, str(path))
    return wave, sample_rate


def load_audio(path: str | os.PathLike[str], sample_rate: int, max_s: float = MAX_AUDIO_S) -> Audio:
    """One file as Audio: wave [1, S] at `sample_rate` Hz (resampled by soxr when the file has another rate).

    Raises MediaError as `read_audio` does.
    """
    import torch

    wave, rate = read_audio(path, max_s)
    if rate != sample_rate:
        wave = soxr.resample(wave, rate, sample_rate).astype(np.float32)
        check_wave(wave, f"{path} after resampling")
    batch = torch.from_numpy(wave)[None]  # [1, S]
    return Audio(batch, torch.tensor([wave.size]), sample_rate)


def resample(audio: Audio, sample_rate: int) -> Audio:
    """The same sound at `sample_rate` Hz (soxr, high quality); unchanged when the rate is that already."""
    if audio.sample_rate == sample_rate:
        return audio
    import torch

    rows = [
        soxr.resample(row[: int(length)].cpu().numpy(), audio.sample_rate, sample_rate)
        for row, length in zip(audio.wave, audio.lengths, strict=True)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    wave = torch.zeros(len(rows), int(lengths.max()))
    for target, row in zip(wave, rows, strict=True):
        target[: len(row)] = torch.from_numpy(row.astype(np.float32))
    return Audio(wave, lengths, sample_rate)


def write_audio(path: str | os.PathLike[str], wave: np.ndarray, sample_rate: int, comment: str = AUDIO_COMMENT) -> Path:
    """The one door by which sound leaves: 16-bit mono WAV or FLAC by the ending of `path`, marked with `comment`.

    The wave [S] is cut to [-1, 1], and a warning says so; the file appears whole or not at all. Raises MediaError for a
    wave that is empty, not finite or not [S], and for any other ending.
    """
    file = Path(path)
    kind = _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise MediaError(f"Cannot write '{file.name}': the ending must be one of {', '.join(_FORMATS)}.")
    samples = np.asarray(wave, dtype=np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise MediaError(f"Cannot write a wave of shape {list(samples.shape)}: one channel [S] with S > 0 is needed.")
    if not np.isfinite(samples).all():
        raise MediaError(f"Cannot write {file}: the wave holds NaN or infinite samples.")
    peak = float(np.abs(samples).max())
    if peak > 1:
        _log.warning("%s: samples beyond ±1 (peak %.3g) were cut", file, peak)
    levels = np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with soundfile.SoundFile(part, "w", sample_rate, 1, subtype="PCM_16", format=kind) as sink:
        sink.comment = comment
        sink.write(levels)
    part.replace(file)
    return file


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> Path:
    """A picture uint8 [H, W, 3] as PNG; the file appears whole or not at all."""
    with naming_extras(f"Writing {path}"):
        from PIL import Image

    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    Image.fromarray(pixels).save(part, format="PNG")
    part.replace(file)
    return file


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """A picture file as an RGB image of PIL: turned as its EXIF says, alpha laid over white, 16 bits scaled to 8.

    Raises MediaError for a file that is missing, empty, broken, smaller than 8 x 8, or of more than `max_pixels`
    pixels (known from the header, before anything is decoded).
    """
    with naming_extras(f"Reading {path}"):
        from PIL import Image, ImageOps, UnidentifiedImageError

    file = path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(_opened(path, "image"))
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(
            f"The image file {file} cannot be read: it has no known format.\nGive a PNG, JPEG, WebP or BMP file."
        ) from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"The image {file} is too large: {error}") from error
    except Exception as error:  # PIL's plugins raise errors of many classes on broken headers
        raise MediaError(
            f"The image file {file} cannot be read: {error}\nGive a PNG, JPEG, WebP or BMP file."
        ) from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise MediaError(
                f"The image {file} has {width} x {height} pixels, at most {max_pixels} in all are accepted."
            )
        if min(width, height) < MIN_IMAGE_SIDE:
            raise MediaError(
                f"The image {file} is {width} x {height} pixels, both sides need at least {MIN_IMAGE_SIDE}."
            )
        try:
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # as above, on broken pixel data
            raise MediaError(f"The image file {file} is broken: {error}") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        image = Image.fromarray(np.clip(values / top * 255.0, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a picture file as it is seen, from its header alone; raises MediaError."""
    with naming_extras(f"Reading {path}"):
        from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(_opened(path, "image")) as image:
                width, height = image.size
                lies = image.getexif().get(_ORIENTATION, 1) in _LYING
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(f"The image file {path} cannot be read: it has no known format.") from error
    except Exception as error:  # PIL's plugins raise errors of many classes on broken headers
        raise MediaError(f"The image file {path} cannot be read: {error}") from error
    return (width, height) if lies else (height, width)


def load_image(path: str | os.PathLike[str], size: PictureSize, max_pixels: int = MAX_IMAGE_PIXELS) -> Images:
    """One picture as Images, float32 in [0, 1], at the `size` that an encoder's port names, resized bicubically.

    A side in pixels gives pixels [1, 3, size, size], aspect not kept; a `PaddedSquare` as many, aspect kept; `AnyRes`
    the picture as a whole and its tiles, [slices, 3, side, side], and its grid; a `NativeSize` the picture's own shape,
    packed.
    Raises MediaError as `read_image` does, when `size` is below 1, and for a picture that `NativeSize` cannot fit.
    """
    return load_images([path], size, max_pixels)


def join_images(pictures: Sequence[Images]) -> Images:
    """Several `Images` of one kind as one, in order; at least one."""
    import torch

    grids = [grid for each in pictures for grid in each.grids or ()]
    if pictures[0].sizes is not None:
        return Images.of([picture for each in pictures for picture in each.each()])
    return Images(torch.cat([each.pixels for each in pictures]), grids=tuple(grids) or None)


def load_images(
    paths: Sequence[str | os.PathLike[str]], size: PictureSize, max_pixels: int = MAX_IMAGE_PIXELS
) -> Images:
    """Pictures as Images, in order, for one call of an encoder; see `load_image`. No path gives no picture."""
    import torch

    with naming_extras("Reading pictures"):
        from omnikit.data.images import shown

    pictures, grids = [], []
    for path in paths:
        picture = read_image(path, max_pixels)
        if isinstance(size, AnyRes):
            grids.append(size.plan(picture.height, picture.width).grid)
        for seen in shown(picture, size):
            pixels = np.array(seen, dtype=np.float32) / 255.0  # [H, W, 3]
            pictures.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())  # [3, H, W]
    if isinstance(size, NativeSize):
        return Images.of(pictures) if pictures else Images(torch.zeros(3, 0), ())
    side = size if isinstance(size, int) else size.side
    stacked = torch.stack(pictures) if pictures else torch.zeros(0, 3, side, side)
    return Images(stacked, grids=tuple(grids) if isinstance(size, AnyRes) else None)


def recordings_in(folder: Path) -> list[str]:
    """Paths, relative to `folder`, of all sound files below it. Raises `DataError` where there are none."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    found = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in AUDIO_ENDINGS
    )
    if not found:
        raise DataError(f"{folder} holds no sound file; endings that are read: {', '.join(AUDIO_ENDINGS)}.")
    return found
