"""What decoding changes besides the size, against closed forms: transparency, bit depth, colour spaces, frames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from fiftyone_learnability.images.conversions import (
    BLANK,
    DEEP,
    MORE_FRAMES,
    OTHER_COLOURS,
    TRANSPARENT,
    describe_conversions,
    draw_on_white,
    scale,
)
from fiftyone_learnability.images.decode import CHUNK, decode_images
from fiftyone_learnability.images.files import read_image

from .pictures import chunk, deep_png, noise, on_white, oracle, save

SIZE = 16


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


# transparency


def translucent(mode: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Image.Image]:
    """Return every grey, or a colour of it, with every alpha: colours ``(256, 256, C)``, alpha and the image."""
    grey, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    channels = [grey] if mode == "LA" else [grey, 255 - grey, grey // 2]
    colours = np.stack(channels, axis=2)
    return colours, alpha, Image.fromarray(np.dstack([colours, alpha]), mode)


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("RGBA", "TIFF", {}),
        ("LA", "TIFF", {}),
        # keeps the colours of invisible pixels
        ("RGBA", "WEBP", {"lossless": True, "exact": True}),
        ("RGBA", "ICO", {"sizes": [(256, 256)]}),
    ],
)
def test_every_alpha_is_drawn_on_white(tmp_path: Path, mode: str, format: str, options: dict[str, Any]) -> None:
    colours, alpha, image = translucent(mode)
    path = save(image, tmp_path / "image", format, **options)
    np.testing.assert_array_equal(read_image(path), on_white(colours, alpha))
    decoded = decode_images([path], 256)
    np.testing.assert_array_equal(decoded.pixels[0], on_white(colours, alpha))
    assert decoded.conversions == {TRANSPARENT: 1}


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_becomes_white(tmp_path: Path, format: str) -> None:
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([200, 0, 0, 0, 0, 0, 10, 20, 30])
    image.paste(1, (0, 0, SIZE, 4))
    image.paste(2, (0, 4, SIZE, 8))
    decoded = decode_images([save(image, tmp_path / "image", format, transparency=1)], SIZE)
    expected = np.full((SIZE, SIZE, 3), (200, 0, 0), np.uint8)
    expected[:4], expected[4:8] = 255, (10, 20, 30)
    np.testing.assert_array_equal(decoded.pixels[0], expected)
    assert decoded.conversions == {TRANSPARENT: 1}


def test_each_colour_of_a_palette_has_its_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16), "P")
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    image.putpalette(palette.tobytes())
    path = save(image, tmp_path / "image.png", "PNG", transparency=bytes(range(256)))
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_images([path], 16).pixels[0], on_white(palette.reshape(16, 16, 3), alpha))


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("1", 0), ("RGB", (1, 2, 3))])
def test_the_one_transparent_colour_becomes_white(tmp_path: Path, mode: str, colour: Any) -> None:
    image = Image.new("RGB", (SIZE, SIZE), (255, 255, 255)).convert(mode)
    image.paste(colour, (0, 0, SIZE, 4))
    image.paste(tuple(2 * value for value in colour) if mode == "RGB" else 2 * colour, (0, 4, SIZE, 8))
    decoded = decode_images([save(image, tmp_path / "image.png", "PNG", transparency=colour)], SIZE)
    expected = np.asarray(image.convert("L" if mode == "1" else mode)).reshape(SIZE, SIZE, -1).copy()
    expected[:4] = 255
    if mode == "1":
        expected[4:8] = 255
    np.testing.assert_array_equal(decoded.pixels[0], expected)
    assert TRANSPARENT in decoded.conversions


def test_shapes_in_the_alpha_channel_stay_visible(tmp_path: Path) -> None:
    # black icons, in which alpha alone holds the shape
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[4:12, 4:12, 3] = 255
    decoded = decode_images([save(Image.fromarray(pixels, "RGBA"), tmp_path / "icon.png", "PNG")], SIZE)
    expected = np.full((SIZE, SIZE, 3), 255, np.uint8)
    expected[4:12, 4:12] = 0
    np.testing.assert_array_equal(decoded.pixels[0], expected)


def test_transparent_pixels_are_drawn_before_the_image_is_resized(tmp_path: Path) -> None:
    # the colour below invisible pixels must not shine through
    pixels = np.zeros((2 * SIZE, 2 * SIZE, 4), np.uint8)
    pixels[:, ::2] = (0, 200, 0, 255)
    pixels[:, 1::2] = (255, 0, 255, 0)
    decoded = decode_images([save(Image.fromarray(pixels, "RGBA"), tmp_path / "image.png", "PNG")], SIZE)
    assert np.abs(decoded.pixels[0].astype(float) - (127.5, 227.5, 127.5)).max() <= 0.5


def test_opaque_images_with_an_alpha_channel_stay_as_they_are(tmp_path: Path) -> None:
    colours = noise(size=(SIZE, SIZE))
    image = colours.convert("RGBA")
    paths = [
        save(image, tmp_path / "a.png", "PNG"),
        save(image, tmp_path / "b.tif", "TIFF"),
        save(colours, tmp_path / "c.png", "PNG", transparency=(0, 0, 0)),
    ]
    decoded = decode_images(paths, SIZE)
    for pixels in decoded.pixels:
        np.testing.assert_array_equal(pixels, np.asarray(colours))
    assert decoded.conversions == {}
    assert decoded.value_range is None


def test_images_that_vanish_on_white_are_counted(tmp_path: Path) -> None:
    white = np.full((SIZE, SIZE, 4), 255, np.uint8)
    white[4:12, 4:12, 3] = 0
    decoded = decode_images([save(Image.fromarray(white, "RGBA"), tmp_path / "a.png", "PNG")], SIZE)
    assert decoded.conversions == {TRANSPARENT: 1, BLANK: 1}
    assert "they are drawn on white; of these, 1 are then of a single colour" in describe(decoded.conversions)[0]


@given(st.sampled_from([np.uint8, np.uint16]), st.data())
def test_drawing_on_white_is_the_weighted_mean(dtype: type, data: st.DataObject) -> None:
    height, width, channels = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))
    colours = data.draw(arrays(dtype, (height, width, channels)))
    alpha = data.draw(arrays(dtype, (height, width)))
    before = colours.copy()
    drawn, done = draw_on_white(colours, alpha)
    most = int(np.iinfo(dtype).max)
    exact = [
        [
            [round((c * int(a) + most * (most - int(a))) / most) for c in map(int, pixel)]
            for pixel, a in zip(*rows, strict=True)
        ]
        for rows in zip(colours, alpha, strict=True)
    ]
    np.testing.assert_array_equal(drawn, exact)
    np.testing.assert_array_equal(colours, before)
    assert (TRANSPARENT in done) == bool((alpha < most).any())


def test_large_images_are_drawn_whole() -> None:
    # more than one block of rows
    colours, alpha, _ = translucent("RGBA")
    colours, alpha = np.tile(colours, (3, 4, 1)), np.tile(alpha, (3, 4))
    np.testing.assert_array_equal(draw_on_white(colours, alpha)[0], on_white(colours, alpha))


# more than 8 bits


def grey16(path: Path, values: NDArray[np.uint16]) -> str:
    return save(Image.fromarray(values), path, "PNG")


@pytest.mark.parametrize("top", [65535, 4095, 1000, 200])
def test_values_keep_their_levels_whatever_their_range(tmp_path: Path, top: int) -> None:
    ramp = np.tile(np.linspace(0, top, 64).astype(np.uint16), (64, 1))
    decoded = decode_images([grey16(tmp_path / "image.png", ramp)], 64)
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], np.rint(ramp / top * 255))
    assert decoded.value_range == (0, top)
    assert decoded.conversions == {DEEP: 1}


def test_one_range_serves_all_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # more than one task of a thread
    count = 3 * CHUNK
    values = rng.integers(100, 4096, (count, SIZE, SIZE), dtype=np.uint16)
    values[0, 0, 0], values[-1, 0, 0] = 50, 4095
    # darker images stay darker
    values[1] = 60
    paths = [grey16(tmp_path / f"{index}.png", image) for index, image in enumerate(values)]
    plain = save(noise("L", size=(SIZE, SIZE)), tmp_path / "plain.png", "PNG")
    paths.insert(7, plain)
    one, many = (decode_images(paths, SIZE, num_workers=workers) for workers in (1, 4))
    assert one.value_range == many.value_range == (50, 4095)
    assert one.conversions == many.conversions == {DEEP: count}
    np.testing.assert_array_equal(one.pixels, many.pixels)
    expected = np.rint((values - 50.0) / (4095 - 50) * 255)
    np.testing.assert_array_equal(np.delete(one.pixels, 7, axis=0)[..., 0], expected)
    np.testing.assert_array_equal(one.pixels[7], oracle(plain))


def test_the_range_is_that_of_the_original_values(tmp_path: Path) -> None:
    # a single bright pixel that resizing averages away
    values = np.full((2 * SIZE, 2 * SIZE), 1000, np.uint16)
    values[0, 0] = 5000
    values[-1, -1] = 0
    decoded = decode_images([grey16(tmp_path / "image.png", values)], SIZE)
    assert decoded.value_range == (0, 5000)
    means = values.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], np.rint(means * 255 / 5000))


def test_values_that_are_all_equal_become_0(tmp_path: Path) -> None:
    decoded = decode_images([grey16(tmp_path / "image.png", np.full((SIZE, SIZE), 777, np.uint16))], SIZE)
    assert (decoded.pixels == 0).all()
    assert decoded.value_range == (777, 777)


@given(
    st.sampled_from([np.uint16, np.int16, np.int32]).flatmap(lambda dtype: arrays(dtype, array_shapes(max_dims=3))),
    st.integers(0, 1000),
)
def test_scaling_is_linear_and_rounds_to_the_nearest_level(values: NDArray[Any], margin: int) -> None:
    low, high = int(values.min()) - margin, int(values.max()) + margin
    scaled = scale(values, low, high)
    assert scaled.dtype == np.uint8
    if low == high:
        assert not scaled.any()
        return
    exact = (values.astype(np.float64) - low) / (high - low) * 255
    assert np.abs(scaled - exact).max() <= 0.5 + 1e-9
    order = np.argsort(values, axis=None, kind="stable")
    assert (np.diff(scaled.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_negative_and_large_values_are_not_clipped(tmp_path: Path, dtype: type) -> None:
    # computed tomography counts from -1024; 32 bits hold more than 65535
    ramp = np.linspace(-1024, 3071 if dtype is np.int16 else 200_000, SIZE * SIZE)
    values: NDArray[Any] = ramp.astype(dtype).reshape(SIZE, SIZE)
    path = str(tmp_path / "image.tif")
    assert cv2.imwrite(path, values)
    decoded = decode_images([path], SIZE)
    low, high = float(values.min()), float(values.max())
    assert decoded.value_range == (low, high)
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], np.rint((values - low) * 255 / (high - low)))


def colours16(shape: tuple[int, ...] = (SIZE, SIZE, 3)) -> NDArray[np.uint16]:
    values = np.random.default_rng(0).integers(0, 4096, shape, dtype=np.uint16)
    values[0, 0, :2] = 0, 4095
    return values


@pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
def test_colours_of_12_bits_keep_their_levels(tmp_path: Path, ending: str) -> None:
    values = colours16()
    path = str(tmp_path / f"image.{ending}")
    assert cv2.imwrite(path, np.ascontiguousarray(values[:, :, ::-1]))
    decoded = decode_images([path], SIZE)
    np.testing.assert_array_equal(decoded.pixels[0], np.rint(values * 255.0 / 4095))
    assert decoded.value_range == (0, 4095)


def test_jpeg_2000_of_12_bits_keeps_its_levels(tmp_path: Path) -> None:
    values = colours16((128, 128, 3))
    path = str(tmp_path / "image.jp2")
    # 1000: lossless
    assert cv2.imwrite(path, np.ascontiguousarray(values[:, :, ::-1]), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    np.testing.assert_array_equal(decode_images([path], 128).pixels[0], np.rint(values * 255.0 / 4095))
    plain = noise(size=(128, 128))
    path = save(plain, tmp_path / "plain.jp2", "JPEG2000")
    decoded = decode_images([path], 128)
    np.testing.assert_array_equal(decoded.pixels[0], np.asarray(plain))
    assert decoded.conversions == {}


@pytest.mark.parametrize("number", range(1, 9))
def test_colours_of_16_bits_are_turned_as_pillow_turns_them(tmp_path: Path, number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    values = np.random.default_rng(0).integers(0, 65536, (10, 14, 3), dtype=np.uint16)
    values[0, 0, :2] = 0, 65535
    path = write(tmp_path / "image.png", deep_png(values, chunk(b"eXIf", exif.tobytes()[6:])))
    # Pillow keeps the upper 8 bits
    upper = oracle(path).astype(int)
    assert upper.shape[:2] == ((14, 10) if number >= 5 else (10, 14))
    assert np.abs(read_image(path) - upper).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bits_with_transparency_are_drawn_on_white(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE, channels), dtype=np.uint16)
    values[:8, :, -1], values[8:, :, -1] = 0, 65535
    values[8, 0] = 0
    values[8, 0, -1] = 65535
    expected = values[:, :, :-1].copy()
    expected[:8] = 65535
    decoded = decode_images([write(tmp_path / "image.png", deep_png(values))], SIZE)
    # grey becomes colour
    np.testing.assert_array_equal(decoded.pixels[0], np.rint(np.broadcast_to(expected, (SIZE, SIZE, 3)) / 257))
    assert decoded.conversions == {DEEP: 1, TRANSPARENT: 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_one_transparent_value_of_16_bits_becomes_white(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (SIZE, SIZE, channels), dtype=np.uint16)
    values[:8] = 300
    values[8, 0] = 0
    key = chunk(b"tRNS", np.full(channels, 300, ">u2").tobytes())
    decoded = decode_images([write(tmp_path / "image.png", deep_png(values, key))], SIZE)
    expected = np.where((values == 300).all(axis=2, keepdims=True), 65535, values)
    np.testing.assert_array_equal(decoded.pixels[0], np.rint(expected / 257))
    assert decoded.conversions == {DEEP: 1, TRANSPARENT: 1}


# colour spaces and frames


@pytest.mark.parametrize(("mode", "format"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF")])
def test_other_colour_spaces_are_counted(tmp_path: Path, mode: str, format: str) -> None:
    image = Image.new(mode, (SIZE, SIZE)) if mode == "LAB" else noise(mode, size=(SIZE, SIZE))
    decoded = decode_images([save(image, tmp_path / "image", format)], SIZE)
    assert decoded.conversions == {OTHER_COLOURS: 1}


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_used_and_counted(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    path = save(frames[0], tmp_path / "image", format, save_all=True, append_images=frames[1:], **options)
    still = save(frames[0], tmp_path / "still", format, **options)
    decoded = decode_images([path, still], SIZE)
    assert (decoded.pixels == (255, 0, 0)).all()
    assert decoded.conversions == {MORE_FRAMES: 1}


def test_a_damaged_second_frame_does_not_harm_the_first(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    frames = [noise("P", seed=seed, size=(SIZE, SIZE)) for seed in range(2)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    data = buffer.getvalue()
    whole = read_image(write(tmp_path / "whole.gif", data))
    # within the second frame
    cut = write(tmp_path / "cut.gif", data[: len(data) - 60])
    np.testing.assert_array_equal(read_image(cut), whole)


# what a run says


def describe(conversions: Mapping[str, int], value_range: tuple[float, float] | None = None) -> list[str]:
    sentences = describe_conversions(conversions, value_range)
    assert all("\n" not in sentence and sentence for sentence in sentences)
    return sentences


def test_each_conversion_is_said_once_with_its_count() -> None:
    assert describe({}) == []
    counts = {TRANSPARENT: 4, DEEP: 12, OTHER_COLOURS: 3, MORE_FRAMES: 2}
    assert describe(counts, (-1024.0, 3071.0)) == [
        "images with transparency: 4; they are drawn on white",
        "images of more than 8 bits: 12; their values from -1024 to 3071, the smallest and the largest of all, are "
        "scaled to 0 to 255",
        "images in CMYK or another colour space: 3; they are converted to RGB without their colour profile",
        "images of several frames or pages: 2; only the first is used",
    ]
