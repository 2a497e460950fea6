"""One image file as pixels.

OpenCV, which FiftyOne installs, decodes without holding Python's lock. It reads the common formats, 8-bit JPEG and PNG;
Pillow reads the rest (CMYK, 16 bits, formats that OpenCV does not know).

Transparent images are drawn on white. The App draws them on its own background, nearly white in the light theme and
nearly black in the dark one, where black icons cannot be seen; browsers and image viewers use white.

A JPEG much larger than the wanted size is decoded at 1/2, 1/4 or 1/8 of its size, which its format allows without
computing the other pixels; :func:`~fiftyone_learnability.images.decode.decode_images` says how little that changes.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .conversions import DEEP, MORE_FRAMES, OTHER_COLOURS, DeepImages, draw_on_white, scale
from .kinds import describe

MAX_PIXELS = 178_956_970
"""The most pixels an image may have: Pillow's limit for decompression bombs."""

MAX_BYTES = 2**30
"""The most bytes a file may have: those of :data:`MAX_PIXELS` pixels in 16-bit colour, uncompressed."""

OVERSAMPLING = 2
"""The factor by which a JPEG decoded at a reduced size still exceeds the wanted size on both sides, as in Pillow's own
thumbnails. With it the result differs from averaging over all pixels by less than another common filter does."""

DECODING = 2
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

_RGBA = 6
"""The colour type of a PNG with red, green, blue and alpha."""

_BITS_PER_SAMPLE = 258
"""The tag of a TIFF."""

_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass
class ReadOutcome:
    """Result of reading several files.

    Attributes:
        failures: the reason why a file could not be read, by its position among the files
        sizes: the distinct (height, width) of the images that could be read
        channels: their distinct numbers of channels, :data:`GREY` or :data:`COLOUR`
        conversions: how many of them were changed, by the names in :mod:`fiftyone_learnability.images.conversions`
        deep: the images of more than 8 bits, which are not yet among the pixels
    """

    failures: dict[int, str] = field(default_factory=dict)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    channels: set[int] = field(default_factory=set)
    conversions: Counter[str] = field(default_factory=Counter)
    deep: DeepImages = field(default_factory=DeepImages)


class _Read(NamedTuple):
    """What was read of a file.

    Attributes:
        height: the height of the image in the file, in pixels
        width: its width
        channels: its number of channels
        conversions: what was changed
        deep: the resized values, the smallest and the largest value, if these have more than 8 bits
    """

    height: int
    width: int
    channels: int
    conversions: tuple[str, ...] = ()
    deep: tuple[NDArray[Any], float, float] | None = None


def read_files(
    filepaths: Sequence[str], pixels: NDArray[np.uint8], stopped: Callable[[], bool] | None = None
) -> ReadOutcome:
    """Read image files into an array, one after the other.

    Args:
        filepaths: M paths
        pixels: ``(M, S, S, 3)`` uint8, written to; rows of unreadable files and of images of more than 8 bits keep
            their values
        stopped (None): called before each file; True skips the remaining files

    Returns:
        what was read and what failed
    """
    outcome = ReadOutcome()
    for index, filepath in enumerate(filepaths):
        if stopped is not None and stopped():
            break
        try:
            read = _read_into(pixels[index], filepath)
        # a broken file may make a decoder raise anything
        except Exception as error:  # noqa: BLE001
            outcome.failures[index] = _explain(error)
        else:
            outcome.sizes.add((read.height, read.width))
            outcome.channels.add(read.channels)
            if read.conversions:
                outcome.conversions.update(read.conversions)
            if read.deep is not None:
                outcome.deep.add(index, *read.deep)
    return outcome


def read_image(filepath: str) -> NDArray[np.uint8]:
    """Read one image file.

    Transparency is drawn on white. Values of more than 8 bits are scaled from the range of this image to 0..255.

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
    image = _decode_other(data)[0]
    return image if image.dtype == np.uint8 else scale(image, float(image.min()), float(image.max()))


def _read_into(row: NDArray[np.uint8], filepath: str) -> _Read:
    """Read one image file into ``(S, S, 3)`` pixels, unless it has more than 8 bits."""
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
                return _Read(height, width, GREY)
            cv2.cvtColor(_resize(decoded, size), cv2.COLOR_BGR2RGB, dst=row)
            return _Read(height, width, COLOUR)
    image, conversions = _decode_other(data)
    height, width, channels = image.shape
    resized = _resize(image, size).reshape(size, size, -1)
    if image.dtype == np.uint8:
        row[:] = resized
        return _Read(height, width, channels, conversions)
    return _Read(height, width, channels, conversions, (resized, float(image.min()), float(image.max())))


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
    png = _png_header(data)
    if png is not None:
        height, width, colour_type = png
        opaque = colour_type != _RGBA and b"tRNS" not in data[: data.find(b"IDAT")]
        return (height, width, 0) if opaque else None
    if data.startswith(b"\xff\xd8"):
        header = _jpeg_header(data)
        if header is None:
            return None
        height, width, components = header
        complete = data.rfind(b"\xff\xd9", -1024) > 0
        reads = components in (GREY, COLOUR) and width * height <= MAX_PIXELS and complete
        return header if reads else None
    return None


def _png_header(data: bytes) -> tuple[int, int, int] | None:
    """Return (height, width, colour type) of a complete 8-bit PNG that OpenCV decodes as Pillow does, else None."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 26:
        return None
    # width, height, bit depth and colour type are at fixed offsets in the first chunk
    width, height, depth = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24]
    # OpenCV silently fills the missing rest of a truncated file with zeros
    complete = b"IEND" in data[-16:]
    # OpenCV turns grey with transparency into colour, and takes an animation's first frame for its still image
    plain = data[25] != 4 and b"eXIf" not in data and b"acTL" not in data
    return (height, width, data[25]) if depth == 8 and width * height <= MAX_PIXELS and complete and plain else None


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


def _decode_other(data: bytes) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Decode what :func:`_opencv_header` excludes.

    Returns:
        ``(H, W, 1)`` or ``(H, W, 3)``: uint8, or the values in the file if these have more than 8 bits; and what was
        changed
    """
    png = _png_header(data)
    if png is not None and png[2] == _RGBA:
        decoded = _imdecode(data, cv2.IMREAD_UNCHANGED)
        if decoded is not None:
            return draw_on_white(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGB), decoded[:, :, 3])
    with _open_with_pillow(data) as opened:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        values, conversions = _values(image, _deep_colours(opened, image, data))
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            conversions = (*conversions, OTHER_COLOURS)
        # last: a GIF loses its first frame while it looks for others
        if _has_more_frames(opened):
            conversions = (*conversions, MORE_FRAMES)
        return values, conversions


def _values(image: Image.Image, deep: NDArray[Any] | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the values of an image, drawn on white where it is transparent, and what was changed."""
    if image.mode == "F":
        raise ValueError("the image holds floating-point values, whose range is unknown: convert it")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        # 16 bits may be stored as 32; OpenCV resizes no 32-bit integers
        fits = values.min() >= 0 and values.max() <= 65535
        deep = values.astype(np.uint16 if fits else np.float64)[:, :, None]
    if deep is not None:
        drawn: tuple[str, ...] = ()
        if image.has_transparency_data and deep.dtype == np.uint16:
            if image.mode == "RGBA":
                # the upper 8 of its 16 bits
                alpha = np.asarray(image.getchannel("A")).astype(np.uint16) * np.uint16(257)
            else:
                alpha = (deep != np.asarray(image.info["transparency"])).any(axis=2) * np.uint16(65535)
            deep, drawn = draw_on_white(deep, alpha)
        return deep, (DEEP, *drawn)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        bands = np.asarray(image.convert("LA" if grey else "RGBA"))
        return draw_on_white(bands[:, :, :-1], bands[:, :, -1])
    return (np.asarray(image.convert("L"))[:, :, None] if grey else np.asarray(image.convert("RGB"))), ()


def _deep_colours(opened: Image.Image, image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """Return colours of more than 8 bits, which Pillow cuts to 8; grey with transparency of 16 bits is colour to both.

    Args:
        opened: the image as opened
        image: the upright image
        data: the content of the file

    Returns:
        ``(H, W, 3)`` uint16; None if the file has 8 bits, or if OpenCV does not read it
    """
    if image.mode not in ("RGB", "RGBA"):
        return None
    if opened.format == "PNG":
        deep = data[24] > 8
    elif opened.format == "TIFF":
        deep = max(opened.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8  # type: ignore[attr-defined]
    elif opened.format == "JPEG2000":
        # the precision, less one, of the first component follows 42 bytes after the start of the codestream
        deep = data[data.find(b"\xff\x4f\xff\x51") + 42] & 0x7F > 7
    else:
        deep = opened.format == "PPM"
    # COLOR applies the orientation and drops the transparency
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if deep else None
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != (image.height, image.width):
        return None
    return np.ascontiguousarray(decoded[:, :, ::-1])


def _has_more_frames(opened: Image.Image) -> bool:
    # phones append other versions of a photograph to a JPEG
    if opened.format == "MPO":
        return False
    try:
        return bool(getattr(opened, "is_animated", False))
    # what follows the first frame may be damaged in any way
    except Exception:  # noqa: BLE001
        return True


def _resize(image: NDArray[Any], size: int) -> NDArray[Any]:
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
