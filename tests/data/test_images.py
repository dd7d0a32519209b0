"""Pictures brought to the size of an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omnikit.data.images import any_res_slices, fit, native, pad_to_square, square
from omnikit.data.media import load_images, read_image_size
from omnikit.errors import MediaError
from omnikit.nn.picture_sizes import AnyRes, NativeSize, PaddedSquare

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(width: int, height: int) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def test_a_padded_picture_lies_in_the_middle() -> None:
    padded = pad_to_square(halves(40, 20), (0.5, 0.25, 1.0))
    pixels = np.asarray(padded)
    assert padded.size == (40, 40)
    assert pixels[0, 0].tolist() == [127, 63, 255] and pixels[10, 0].tolist() == list(RED)
    assert pixels[29, 39].tolist() == list(BLUE) and pixels[30, 39].tolist() == [127, 63, 255]
    assert pad_to_square(halves(8, 8), (0, 0, 0)).size == (8, 8)


def test_slices_are_the_whole_and_its_tiles() -> None:
    picture = halves(64, 32)
    whole, left, right = any_res_slices(picture, AnyRes(16, ((2, 1),)).plan(32, 64))
    assert {item.size for item in (whole, left, right)} == {(16, 16)}
    assert np.asarray(left)[8, 8].tolist() == list(RED) and np.asarray(right)[8, 8].tolist() == list(BLUE)
    assert np.asarray(whole)[8, 2].tolist() == list(RED) and np.asarray(whole)[8, 13].tolist() == list(BLUE)


def test_the_size_of_a_port_says_how_a_picture_is_fitted() -> None:
    bounds = NativeSize(8, 64, 4096)
    assert fit(halves(60, 21), bounds).size == (64, 24) == native(halves(60, 21), bounds).size
    assert fit(halves(60, 21), 16).size == (16, 16) == square(halves(60, 21), 16).size
    padded = np.asarray(fit(halves(60, 20), PaddedSquare(12, (0.5, 0.25, 1.0))))
    assert padded.shape == (12, 12, 3) and padded[0, 0].tolist() == [127, 63, 255] == padded[11, 11].tolist()
    assert padded[6, 1].tolist() == list(RED) and padded[6, 10].tolist() == list(BLUE)
    with pytest.raises(MediaError, match="at least 1"):
        fit(halves(8, 8), 0)


def test_pictures_of_several_sizes_are_packed(tmp_path: Path) -> None:
    halves(60, 21).save(tmp_path / "wide.png")
    halves(16, 32).save(tmp_path / "high.png")
    paths = [tmp_path / "wide.png", tmp_path / "high.png"]
    images = load_images(paths, NativeSize(8, 64, 4096))
    assert images.sizes == ((24, 64), (32, 16))
    assert images.each()[1][:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert load_images(paths, 16).pixels.shape == (2, 3, 16, 16)
    padded = load_images(paths, PaddedSquare(16, (0.0, 0.0, 0.0))).pixels
    assert padded.shape == (2, 3, 16, 16) and not padded[0, :, 0].any() and padded[1, 0, 0].any()
    empty = load_images([], NativeSize())
    assert len(empty) == 0 and empty.each() == []
    assert len(load_images([], 16)) == len(load_images([], PaddedSquare(16, (0.0, 0.0, 0.0)))) == 0


def test_the_size_is_read_as_the_picture_is_seen(tmp_path: Path) -> None:
    picture = halves(60, 21)
    picture.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image_size(tmp_path / "plain.png") == (21, 60)
    assert read_image_size(tmp_path / "turned.jpg") == (60, 21)
    assert load_images([tmp_path / "turned.jpg"], NativeSize(4, 16, 9999)).sizes == ((60, 20),)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="cannot be read"):
        read_image_size(tmp_path / "broken.png")
    with pytest.raises(MediaError, match="does not exist"):
        read_image_size(tmp_path / "none.png")


def test_pixels_are_between_0_and_1(tmp_path: Path) -> None:
    halves(32, 32).save(tmp_path / "a.png")
    pixels = load_images([tmp_path / "a.png"], NativeSize(8, 64, 4096)).pixels
    assert pixels.dtype == torch.float32 and pixels.min() == 0 and pixels.max() == 1
