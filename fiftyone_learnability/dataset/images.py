"""Image files into one uint8 array, decoded once for all networks and runs.

OpenCV, which FiftyOne brings, decodes without holding Python's lock, so that threads help; it reads what most data sets
consist of: 8-bit JPEG and PNG, grey or RGB. Pillow reads the rest (CMYK, 16 bits, formats OpenCV does not know).
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

DEFAULT_IMAGE_SIZE = 32
"""Height and width in pixels that the CIFAR networks are made for."""

MAX_PIXELS = 178_956_970
"""The most pixels an image may have: Pillow's limit for decompression bombs."""

MAX_BYTES = 2**30
"""The most bytes a file may have: those of an image of :data:`MAX_PIXELS` pixels in 16-bit colour, not packed."""

_GREY, _COLOUR = 1, 3


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of M files, those that could be read.

    Attributes:
        pixels: ``(N, S, S, C)`` uint8, RGB; C is 1 if all images are grey
        readable: ``(M,)`` whether each file could be read; N of them are true
        failures: what was wrong with each of the other files, by its path
        sizes: the distinct (height, width) of the images in their files
    """

    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    failures: dict[str, str]
    sizes: frozenset[tuple[int, int]]


def decode_images(
    filepaths: Sequence[str],
    image_size: int = DEFAULT_IMAGE_SIZE,
    advance: Callable[[int], None] | None = None,
    num_threads: int | None = None,
) -> DecodedImages:
    """Reads image files into one array.

    EXIF orientation is applied, transparency is dropped, 16-bit values are scaled to 8 bits over their full range, and
    images of another size are resized to a square, by averaging over areas where they shrink; the aspect ratio is not
    kept.

    Args:
        filepaths: M paths
        image_size (32): S, the height and width of the result in pixels
        advance (None): called with the number of files read, from one thread
        num_threads (None): the threads that decode; by default one for each processor

    Returns:
        the images, without those that could not be read
    """
    count = len(filepaths)
    pixels = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    readable = np.ones(count, dtype=np.bool_)
    failures: dict[str, str] = {}
    sizes: set[tuple[int, int]] = set()
    grey_only = True

    def decode(index: int) -> tuple[int, int, int] | str:
        try:
            image = read_image(filepaths[index])
        # whatever a broken file makes a decoder raise is a fact about the file
        except Exception as error:  # noqa: BLE001
            return _explain(error)
        height, width = image.shape[:2]
        pixels[index] = _resize(image, image_size)
        return height, width, image.shape[2]

    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool, warnings.catch_warnings():
        # what is wrong with a file is told once, by its name, which Pillow's warnings lack
        warnings.filterwarnings("ignore", module="PIL")
        for index, outcome in enumerate(pool.map(decode, range(count), chunksize=1)):
            if isinstance(outcome, str):
                readable[index] = False
                failures[filepaths[index]] = outcome
            else:
                sizes.add(outcome[:2])
                grey_only &= outcome[2] == _GREY
            if advance is not None:
                advance(1)
    if failures:
        pixels = pixels[readable]
    if grey_only and len(pixels):
        pixels = np.ascontiguousarray(pixels[..., :1])
    return DecodedImages(pixels, readable, failures, frozenset(sizes))


def read_image(filepath: str) -> NDArray[np.uint8]:
    """Reads one image file.

    Args:
        filepath: the path

    Returns:
        ``(H, W, 1)`` uint8 if the image is grey, else ``(H, W, 3)`` uint8 in RGB, upright

    Raises:
        OSError: if the file cannot be read
        ValueError: if it is not a file, not an image, is truncated, or has more than :data:`MAX_PIXELS` pixels or
            :data:`MAX_BYTES` bytes
    """
    found = os.stat(filepath)
    # a pipe would be waited for, perhaps for ever, and a device may have no end
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file")
    if found.st_size > MAX_BYTES:
        raise ValueError(f"the file has {found.st_size} bytes, more than {MAX_BYTES}")
    with open(filepath, "rb") as file:
        data = file.read()
    if not data:
        raise ValueError("the file is empty")
    if _opencv_reads(data):
        # ANYCOLOR keeps grey grey and drops transparency; unlike UNCHANGED it applies the EXIF orientation
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
        if decoded is not None and decoded.dtype == np.uint8:
            if decoded.ndim == 2:
                return decoded[:, :, None]
            return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return _read_with_pillow(data)


def _opencv_reads(data: bytes) -> bool:
    """Whether the bytes are of a kind that OpenCV decodes just as Pillow does, and are there to the end."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        # width, height, bit depth and colour type stand at fixed places in the first chunk
        width, height, depth = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24:25]
        # OpenCV fills what a truncated file lacks with zeros and says nothing
        complete = b"IEND" in data[-16:]
        # it makes grey with transparency coloured, and prefers the first frame of an animation to its still image
        plain = data[25:26] != b"\x04" and b"eXIf" not in data and b"acTL" not in data
        return depth == b"\x08" and width * height <= MAX_PIXELS and complete and plain
    if data.startswith(b"\xff\xd8"):
        header = _jpeg_header(data)
        if header is None:
            return False
        height, width, components = header
        complete = data.rfind(b"\xff\xd9", -1024) > 0
        return components in (_GREY, _COLOUR) and width * height <= MAX_PIXELS and complete
    return False


def _jpeg_header(data: bytes) -> tuple[int, int, int] | None:
    """(height, width, components) from the frame header of a JPEG, None where there is none."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        # the frame headers are C0..CF, but for three of them that are tables
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision = data[position + 4]
            if precision != 8:
                return None
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            return height, width, data[position + 9]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _read_with_pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"the image has {opened.width}x{opened.height} pixels, more than {MAX_PIXELS}")
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # 16 bits, or their 32-bit form; Pillow's own conversion would cut off what is above 255
            values = np.asarray(image, dtype=np.float64)
            scaled = np.rint(np.clip(values, 0, 65535) / 257)
            return scaled.astype(np.uint8)[:, :, None]
        if image.mode == "F":
            raise ValueError("the image holds floating-point values, whose range is unknown: convert it")
        if image.mode in ("1", "L", "LA", "La"):
            return np.asarray(image.convert("L"))[:, :, None]
        return np.asarray(image.convert("RGB"))


def _resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    interpolation = cv2.INTER_AREA if height > size or width > size else cv2.INTER_LINEAR
    resized = cv2.resize(image, (size, size), interpolation=interpolation)
    return resized.reshape(size, size, -1)


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if "cannot identify image file" in str(error):
        return "not an image"
    return str(error) or type(error).__name__
