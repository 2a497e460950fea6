"""One image file as pixels.

OpenCV, which FiftyOne installs, decodes without holding Python's lock. It reads the common formats, 8-bit JPEG and PNG
in grey or RGB; Pillow reads the rest (CMYK, 16 bits, formats that OpenCV does not know).

A JPEG much larger than the wanted size is decoded at 1/2, 1/4 or 1/8 of its size, which its format allows without
computing the other pixels; :func:`~fiftyone_learnability.images.decode.decode_images` says how little that changes.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .kinds import describe

MAX_PIXELS = 178_956_970
"""The most pixels an image may have: Pillow's limit for decompression bombs."""

MAX_BYTES = 2**30
"""The most bytes a file may have: those of :data:`MAX_PIXELS` pixels in 16-bit colour, uncompressed."""

OVERSAMPLING = 2
"""The factor by which a JPEG decoded at a reduced size still exceeds the wanted size on both sides, as in Pillow's own
thumbnails. With it the result differs from averaging over all pixels by less than another common filter does."""

DECODING = 1
"""Version of the decoding: raise it whenever the same file may give other pixels."""

GREY, COLOUR = 1, 3
"""Numbers of channels of an image."""

# ANYCOLOR keeps grey grey and drops transparency; unlike UNCHANGED it applies the EXIF orientation
_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH

# combined with ANYCOLOR, only the factor of these flags counts
_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
)

_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass
class ReadOutcome:
    """Result of reading several files.

    Attributes:
        failures: the reason why a file could not be read, by its position among the files
        sizes: the distinct (height, width) of the images that could be read
        channels: their distinct numbers of channels, :data:`GREY` or :data:`COLOUR`
    """

    failures: dict[int, str] = field(default_factory=dict)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    channels: set[int] = field(default_factory=set)


def read_files(
    filepaths: Sequence[str], pixels: NDArray[np.uint8], stopped: Callable[[], bool] | None = None
) -> ReadOutcome:
    """Read image files into an array, one after the other.

    Args:
        filepaths: M paths
        pixels: ``(M, S, S, 3)`` uint8, written to; rows of unreadable files keep their values
        stopped (None): called before each file; True skips the remaining files

    Returns:
        what was read and what failed
    """
    outcome = ReadOutcome()
    for index, filepath in enumerate(filepaths):
        if stopped is not None and stopped():
            break
        try:
            height, width, channels = _read_into(pixels[index], filepath)
        # a broken file may make a decoder raise anything
        except Exception as error:  # noqa: BLE001
            outcome.failures[index] = _explain(error)
        else:
            outcome.sizes.add((height, width))
            outcome.channels.add(channels)
    return outcome


def read_image(filepath: str) -> NDArray[np.uint8]:
    """Read one image file.

    Args:
        filepath: the path

    Returns:
        ``(H, W, 1)`` uint8 if the image is grey, else ``(H, W, 3)`` uint8 in RGB, upright

    Raises:
        OSError: if the file cannot be read
        ValueError: if it is not a file, not an image, is truncated, or has more than :data:`MAX_PIXELS` pixels or
            :data:`MAX_BYTES` bytes
    """
    data = _contents(filepath)
    if _opencv_header(data) is not None:
        decoded = _imdecode(data, _FLAGS)
        if decoded is not None:
            return decoded[:, :, None] if decoded.ndim == 2 else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return _read_with_pillow(data)


def _read_into(row: NDArray[np.uint8], filepath: str) -> tuple[int, int, int]:
    """Read one image file into ``(S, S, 3)`` pixels; return height, width and channels of the image in the file."""
    data, size = _contents(filepath), len(row)
    header = _opencv_header(data)
    if header is not None:
        reduced = _decode_reduced(data, header, size)
        decoded = _imdecode(data, _FLAGS) if reduced is None else reduced[0]
        if decoded is not None:
            height, width = decoded.shape[:2] if reduced is None else reduced[1]
            # swap the colours last, when fewest pixels are left, while copying into the row
            if decoded.ndim == 2:
                cv2.cvtColor(_resize(decoded, size), cv2.COLOR_GRAY2RGB, dst=row)
                return height, width, GREY
            cv2.cvtColor(_resize(decoded, size), cv2.COLOR_BGR2RGB, dst=row)
            return height, width, COLOUR
    image = _read_with_pillow(data)
    row[:] = _resize(image, size).reshape(size, size, -1)
    return image.shape[0], image.shape[1], image.shape[2]


def _contents(filepath: str) -> bytes:
    status = os.stat(filepath)
    # reading a pipe or a device might never end
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    size = status.st_size
    if size > MAX_BYTES:
        raise ValueError(f"the file has {size / 1e9:,.1f} GB, more than the {MAX_BYTES / 1e9:,.1f} that are read")
    # making a file object takes as long as reading a small file
    descriptor = os.open(filepath, _READ_ONLY)
    try:
        data = os.read(descriptor, size)
        # a network file system may return fewer bytes than asked for
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if not data:
        raise ValueError("the file is empty")
    return data


def _imdecode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    """Decode to ``(H, W)`` or ``(H, W, 3)`` uint8 in BGR; None if OpenCV cannot decode the data, or not to uint8."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return decoded if decoded is not None and decoded.dtype == np.uint8 else None


def _decode_reduced(
    data: bytes, header: tuple[int, int, int], size: int
) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Decode a JPEG at the smallest sufficient size.

    Args:
        data: the content of the file
        header: its height, width and components as stored; 0 components mean another format
        size: S, the wanted height and width

    Returns:
        the pixels, and the height and width of the upright image in the file; None if it must be decoded in full
    """
    height, width, components = header
    if not components:
        return None
    for factor, flag in _REDUCTIONS:
        if min(height, width) < OVERSAMPLING * size * factor:
            continue
        decoded = _imdecode(data, _FLAGS | flag)
        if decoded is None:
            return None
        stored = -(-height // factor), -(-width // factor)
        # EXIF may have rotated the image; the shape shows it unless the sides are nearly equal
        if decoded.shape[:2] == stored and (stored[0] != stored[1] or height == width):
            return decoded, (height, width)
        if decoded.shape[:2] == stored[::-1] and stored[0] != stored[1]:
            return decoded, (width, height)
        return None
    return None


def _opencv_header(data: bytes) -> tuple[int, int, int] | None:
    """Return (height, width, components) of a complete file that OpenCV decodes exactly as Pillow does, else None.

    The components are those of a JPEG, 0 for a PNG.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        # width, height, bit depth and colour type are at fixed offsets in the first chunk
        width, height, depth = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24:25]
        # OpenCV silently fills the missing rest of a truncated file with zeros
        complete = b"IEND" in data[-16:]
        # OpenCV turns grey with transparency into colour, and takes an animation's first frame for its still image
        plain = data[25:26] != b"\x04" and b"eXIf" not in data and b"acTL" not in data
        reads = depth == b"\x08" and width * height <= MAX_PIXELS and complete and plain
        return (height, width, 0) if reads else None
    if data.startswith(b"\xff\xd8"):
        header = _jpeg_header(data)
        if header is None:
            return None
        height, width, components = header
        complete = data.rfind(b"\xff\xd9", -1024) > 0
        reads = components in (GREY, COLOUR) and width * height <= MAX_PIXELS and complete
        return header if reads else None
    return None


def _jpeg_header(data: bytes) -> tuple[int, int, int] | None:
    """Return (height, width, components) from the frame header of an 8-bit JPEG, None if there is none."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        # frame headers are C0..CF, except three markers that are tables
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision = data[position + 4]
            if precision != 8:
                return None
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            return height, width, data[position + 9]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _open_with_pillow(data: bytes) -> Image.Image:
    """Open an image of an allowed size.

    Raises:
        ValueError: if the data is no image, or of too many pixels
    """
    try:
        opened = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ValueError(describe(data)) from error
    except Image.DecompressionBombError as error:
        # Pillow's own limit, which is the same unless the user has set another one
        size = re.search(r"\d+", str(error))
        raise ValueError(_too_large(int(size[0]) if size else MAX_PIXELS)) from error
    if opened.width * opened.height > MAX_PIXELS:
        raise ValueError(_too_large(opened.width * opened.height))
    return opened


def _too_large(pixels: int) -> str:
    most = min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS))
    return (
        f"the image has {pixels / 1e6:,.0f} megapixels, more than the {most / 1e6:,.0f} that are read: save a smaller "
        "copy, or cut it into tiles"
    )


def _read_with_pillow(data: bytes) -> NDArray[np.uint8]:
    with _open_with_pillow(data) as opened:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # 16 bits, stored as 16 or 32; Pillow's own conversion would clip values above 255
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
    # OpenCV drops the axis of a single channel
    return cv2.resize(image, (size, size), interpolation=interpolation)


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
