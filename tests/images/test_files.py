"""Reading a file, against Pillow as the oracle and against patches of known colour."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.images.files import read_image

from .pictures import GREY_MODES, HEIGHT, WIDTH, deep_png, noise, oracle, png_that_claims, save


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


PLAIN_CASES: list[tuple[str, str, dict[str, Any]]] = [
    *(("JPEG", "RGB", {"quality": q, "subsampling": s}) for q in (40, 75, 95) for s in (0, 1, 2)),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"keep_rgb": True}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "L", {}),
    ("PNG", "1", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "LA", {}),
    ("PNG", "P", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "P", {"transparency": bytes(range(64))}),
    ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    ("PNG", "L", {"transparency": 7}),
    ("GIF", "P", {}),
    ("GIF", "L", {}),
    ("BMP", "RGB", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "1", {}),
]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(("format", "mode", "options"), PLAIN_CASES)
def test_pixels_equal_those_of_pillow(tmp_path: Path, format: str, mode: str, options: dict[str, Any]) -> None:
    path = save(noise(mode), tmp_path / "image", format, **options)
    image = read_image(path)
    assert image.dtype == np.uint8
    # a grey GIF has a palette
    assert image.shape == (HEIGHT, WIDTH, 1 if mode in GREY_MODES and format != "GIF" else 3)
    np.testing.assert_array_equal(image, oracle(path))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(("format", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("TIFF", "RGB")])
def test_orientation_equals_that_of_pillow(tmp_path: Path, format: str, mode: str, number: int) -> None:
    path = save(noise(mode), tmp_path / "image", format, exif=orientation(number))
    image = read_image(path)
    assert image.shape[:2] == ((WIDTH, HEIGHT) if number >= 5 else (HEIGHT, WIDTH))
    np.testing.assert_array_equal(image, oracle(path))


TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_turns_the_stored_pixels(tmp_path: Path, number: int) -> None:
    # the EXIF standard itself as the oracle, for a lossless file
    stored = noise("L")
    path = save(stored, tmp_path / "image.png", "PNG", exif=orientation(number))
    np.testing.assert_array_equal(read_image(path)[:, :, 0], TURNS[number](np.asarray(stored)))


LOSSLESS = [("GIF", "P"), ("WEBP", "RGB"), ("WEBP", "RGBA"), *product(("PNG", "TIFF"), ("RGB", "RGBA", "P"))]


@pytest.mark.parametrize(("format", "mode"), LOSSLESS)
def test_lossless_colours_are_in_the_order_rgb(tmp_path: Path, format: str, mode: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 100, 10)).convert(mode)
    path = save(image, tmp_path / "image", format, **({"lossless": True} if format == "WEBP" else {}))
    colour = read_image(path)[3, 3].tolist()
    # a palette made by Pillow is coarse
    assert np.allclose(colour, (200, 100, 10), atol=26 if mode == "P" else 0)


def test_cmyk_colours_are_not_inverted(tmp_path: Path) -> None:
    # no ink on the left, cyan on the right
    image = Image.new("CMYK", (32, 16), (0, 0, 0, 0))
    image.paste((255, 0, 0, 0), (16, 0, 32, 16))
    pixels = read_image(save(image, tmp_path / "image.jpg", "JPEG", quality=95)).astype(int)
    assert (pixels[:, :14] > 245).all()
    assert (pixels[:, 18:, 0] < 10).all()
    assert (pixels[:, 18:, 1:] > 245).all()


@pytest.mark.parametrize(("format", "big_endian"), [("PNG", False), ("TIFF", False), ("TIFF", True)])
def test_16_bits_are_scaled_over_their_full_range(tmp_path: Path, format: str, big_endian: bool) -> None:
    values = np.asarray(noise("I;16")).copy()
    values[0, :4] = 0, 128, 129, 65535
    image = Image.fromarray(values)
    if big_endian:
        image = Image.frombytes("I;16B", image.size, values.astype(">u2").tobytes())
    pixels = read_image(save(image, tmp_path / "image", format))
    assert pixels.shape == (HEIGHT, WIDTH, 1)
    assert pixels[0, :4, 0].tolist() == [0, 0, 1, 255]
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257).astype(np.uint8))


def test_16_bit_colour_png_keeps_its_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    values[0, 0] = 0, 128, 65535
    path = tmp_path / "image.png"
    path.write_bytes(deep_png(values))
    np.testing.assert_array_equal(read_image(str(path)), np.rint(values / 257).astype(np.uint8))


def test_an_animation_with_a_still_image_shows_the_still_image(tmp_path: Path) -> None:
    still, *frames = (noise(seed=seed) for seed in range(3))
    options = {"save_all": True, "append_images": frames, "default_image": True}
    path = save(still, tmp_path / "image.png", "PNG", **options)
    np.testing.assert_array_equal(read_image(path), np.asarray(still))


def test_1_bit_images_are_black_and_white(tmp_path: Path) -> None:
    image = read_image(save(noise("1"), tmp_path / "image.png", "PNG"))
    assert set(np.unique(image)) == {0, 255}


def write_broken(folder: Path, kind: str) -> str:
    """Write a file that cannot be read."""
    path = folder / f"{kind}.jpg"
    buffer = io.BytesIO()
    noise(size=(64, 64)).save(buffer, "PNG" if "png" in kind else "JPEG")
    data = buffer.getvalue()
    if kind == "missing":
        return str(path)
    if kind == "directory":
        path.mkdir()
        return str(path)
    if kind == "jpeg behind a thumbnail":
        # the end of the thumbnail must not make the file look complete
        small = io.BytesIO()
        noise(size=(8, 8)).save(small, "JPEG", quality=10)
        segment = b"Exif\0\0" + small.getvalue()
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
        data = data[: len(segment) + 1200]
    contents = {
        "empty": b"",
        "text": b"this is not an image\n" * 20,
        "half a jpeg": data[: len(data) // 2],
        "half a png": data[: len(data) // 2],
        "jpeg without its end": data[:-2],
        "start of a jpeg": data[:12],
        "start of a png": data[:20],
        "damaged png": data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :],
        "jpeg behind a thumbnail": data,
        "bomb png": png_that_claims(60_000, 60_000),
        "small bomb png": png_that_claims(15_000, 15_000),
        # large enough for Pillow's warning
        "unfinished png": png_that_claims(12_000, 12_000),
    }
    path.write_bytes(contents[kind])
    return str(path)


BROKEN = {
    "missing": "no such file",
    "directory": "is a directory",
    "empty": "the file is empty",
    "text": "not an image",
    "half a jpeg": "truncated",
    "half a png": "truncated",
    "jpeg without its end": "truncated",
    "start of a jpeg": "truncated",
    "start of a png": "truncated",
    "damaged png": "broken data stream",
    "jpeg behind a thumbnail": "truncated",
    "bomb png": "3,600 megapixels, more than the 179 that are read",
    "small bomb png": "225 megapixels, more than the 179 that are read",
    "unfinished png": "truncated",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_reported_with_the_reason(tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    path = write_broken(tmp_path, kind)
    good = save(noise(), tmp_path / "good.png", "PNG")
    decoded = decode_images([good, path, good], 16)
    assert list(decoded.failures) == [path]
    assert BROKEN[kind].lower() in decoded.failures[path].lower()
    assert "0x" not in decoded.failures[path], "an address in memory is of no use"
    assert not recwarn.list, "once is enough"
    assert decoded.readable.tolist() == [True, False, True]
    assert decoded.pixels.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(decoded.pixels[0], decoded.pixels[1])


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_large_image_below_the_limit_is_read(tmp_path: Path) -> None:
    image = read_image(save(Image.new("L", (4000, 3000), 7), tmp_path / "image.png", "PNG"))
    assert image.shape == (3000, 4000, 1)
    assert (image == 7).all()


def test_shrinking_averages_over_areas(tmp_path: Path) -> None:
    path = save(noise(size=(64, 64)), tmp_path / "image.png", "PNG")
    pixels = decode_images([path], 32).pixels[0]
    means = oracle(path).astype(float).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(pixels - means).max() <= 0.5


def test_enlarging_keeps_left_and_right(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (4, 0, 8, 8))
    pixels = decode_images([save(image, tmp_path / "image.png", "PNG")], 32).pixels[0, :, :, 0]
    assert (pixels[:, :12] == 0).all()
    assert (pixels[:, -12:] == 255).all()


def test_images_are_turned_before_they_are_resized(tmp_path: Path) -> None:
    image = Image.new("L", (64, 32), 0)
    image.paste(255, (0, 0, 32, 32))
    # 6: the left side is up
    path = save(image, tmp_path / "image.png", "PNG", exif=orientation(6))
    pixels = decode_images([path], 32).pixels[0, :, :, 0]
    assert (pixels[:15] == 255).all()
    assert (pixels[17:] == 0).all()


# JPEGs decoded at a reduced size against JPEGs decoded in full


def plain(path: str, size: int) -> NDArray[np.uint8]:
    """Decode every pixel, then average over areas if the image shrinks."""
    image = read_image(path)
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    shrinks = height > size or width > size
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized.reshape(size, size, -1)


def reductions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the factor by which each image is reduced from now on, 1 for an image decoded in full."""
    factors = {cv2.IMREAD_REDUCED_GRAYSCALE_8: 8, cv2.IMREAD_REDUCED_GRAYSCALE_4: 4, cv2.IMREAD_REDUCED_GRAYSCALE_2: 2}
    found: list[int] = []
    imdecode = cv2.imdecode

    def spy(data: NDArray[np.uint8], flags: int) -> NDArray[np.uint8] | None:
        found.append(factors.get(flags & ~(cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH), 1))
        return imdecode(data, flags)

    monkeypatch.setattr(cv2, "imdecode", spy)
    return found


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Two real photographs, and an image with detail at every scale as they have: amplitudes fall as 1/frequency."""
    real = [Image.fromarray(np.ascontiguousarray(image[:375, :500])) for image in load_sample_images().images]
    frequency = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None])
    frequency[0, 0] = 1
    detail = np.random.default_rng(0).standard_normal((375, 500, 3))
    detail = np.fft.irfft2(np.fft.rfft2(detail, axes=(0, 1)) / frequency[:, :, None], s=(375, 500), axes=(0, 1))
    detail = (detail - detail.mean(axis=(0, 1))) / detail.std(axis=(0, 1))
    values = 128 + 50 * detail[:, :, :1] + 15 * detail
    return [*real, Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))]


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize(("size", "factor"), [(16, 8), (32, 4), (46, 4), (64, 2), (93, 2)])
def test_reduced_decoding_changes_no_more_than_another_filter_would(
    tmp_path: Path,
    photographs: list[Image.Image],
    size: int,
    factor: int,
    subsampling: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = reductions(monkeypatch)
    for image in photographs:
        path = save(image, tmp_path / "image.jpg", "JPEG", quality=90, subsampling=subsampling)
        found.clear()
        pixels = decode_images([path], size).pixels[0].astype(int)
        assert found == [factor]
        difference = np.abs(pixels - plain(path, size))
        with Image.open(path) as opened:
            bilinear = np.asarray(opened.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        common = np.abs(bilinear - plain(path, size))
        assert 0 < difference.mean() < min(4, 1.3 * common.mean())
        # the mean brightness stays
        assert abs((pixels - plain(path, size)).mean()) < 0.5


def test_an_image_is_reduced_only_if_it_stays_twice_as_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reductions(monkeypatch)
    for side, factor in ((127, 1), (128, 2), (255, 2), (256, 4), (511, 4), (512, 8), (2000, 8)):
        for size in ((side, 600), (600, side)) if side < 600 else ((side, side),):
            path = save(Image.new("L", size, 7), tmp_path / "image.jpg", "JPEG")
            found.clear()
            assert (decode_images([path], 32).pixels == 7).all()
            assert found == [factor], size


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]),
    st.sampled_from(["L", "RGB"]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(8, 80),
    st.integers(1, 8),
)
def test_an_image_that_is_not_reduced_is_exact(
    tmp_path_factory: pytest.TempPathFactory, format: str, mode: str, width: int, height: int, size: int, turned: int
) -> None:
    options = {"exif": orientation(turned)} if format in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    path = save(noise(mode, size=(width, height)), tmp_path_factory.mktemp("any") / "image", format, **options)
    decoded, expected = decode_images([path], size), plain(path, size)
    assert decoded.sizes == {read_image(path).shape[:2]}
    assert decoded.pixels.shape[1:] == expected.shape
    if format != "JPEG" or min(width, height) < 2 * 2 * size:
        np.testing.assert_array_equal(decoded.pixels[0], expected)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(200, 130), (133, 200), (131, 132), (132, 129), (160, 160)])
def test_reduced_images_are_turned_and_report_their_true_size(
    tmp_path: Path, mode: str, number: int, size: tuple[int, int]
) -> None:
    # corners differ in brightness and colour
    image = Image.new("RGB", size, (250, 250, 250))
    width, height = size
    image.paste((200, 60, 20), (0, 0, width // 2, height // 2))
    image.paste((20, 20, 120), (width // 2, 0, width, height // 2))
    image.paste((10, 160, 10), (0, height // 2, width // 2, height))
    path = save(image.convert(mode), tmp_path / "image.jpg", "JPEG", exif=orientation(number), quality=95)
    decoded = decode_images([path], 16)
    assert decoded.sizes == {oracle(path).shape[:2]}
    assert decoded.pixels.shape == (1, 16, 16, 1 if mode == "L" else 3)
    expected = plain(path, 16).astype(int)
    # away from where the corners meet
    away = np.abs(np.arange(16) - 7.5) > 1
    assert np.abs(decoded.pixels[0] - expected)[away][:, away].max() <= 6


def test_sides_that_reduce_to_the_same_length_are_decoded_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reductions(monkeypatch)
    path = save(noise(size=(131, 132)), tmp_path / "image.jpg", "JPEG", exif=orientation(6))
    decoded = decode_images([path], 16)
    assert found == [4, 1]
    assert decoded.sizes == {(131, 132)}
    np.testing.assert_array_equal(decoded.pixels[0], plain(path, 16))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_photograph_is_unreadable(
    tmp_path: Path, photographs: list[Image.Image], progressive: bool
) -> None:
    path = tmp_path / "image.jpg"
    whole = Path(save(photographs[0], path, "JPEG", quality=90, progressive=progressive)).read_bytes()
    assert decode_images([str(path)], 32).readable.all()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in decode_images([str(path)], 32).failures[str(path)]


def test_a_file_that_arrives_in_parts_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(noise(), tmp_path / "image.png", "PNG")
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: read(descriptor, min(count, 100)))
    np.testing.assert_array_equal(read_image(path), oracle(path))
