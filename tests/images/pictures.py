"""Images that tests write to files, and what Pillow makes of these."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

WIDTH, HEIGHT = 37, 21
GREY_MODES = ("1", "L", "LA")
PNG = b"\x89PNG\r\n\x1a\n"


def noise(mode: str = "RGB", seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """An image in which every pixel differs from its neighbours."""
    rng = np.random.default_rng(seed)
    width, height = size
    colours = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
    if mode == "P":
        return colours.quantize(64)
    if mode in ("RGBA", "LA"):
        image = colours.convert(mode)
        image.putalpha(alpha)
        return image
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    return colours.convert(mode)


def save(image: Image.Image, path: Path, format: str, **options: Any) -> str:
    image.save(path, format, **options)
    return str(path)


def oracle(path: str) -> NDArray[np.uint8]:
    """Return the image as Pillow alone reads it, drawn on white where it is transparent."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        grey = image.mode in GREY_MODES
        if image.has_transparency_data:
            bands = np.asarray(image.convert("LA" if grey else "RGBA"))
            return on_white(bands[:, :, :-1], bands[:, :, -1])
        return np.asarray(image.convert("L"))[:, :, None] if grey else np.asarray(image.convert("RGB"))


def on_white(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw colours on white, in floating point."""
    share = alpha[:, :, None] / 255
    return np.rint(colours * share + 255 * (1 - share)).astype(np.uint8)


def deep_png(values: NDArray[np.uint16], *chunks: bytes) -> bytes:
    """Return a PNG of 16 bits with 1 to 4 channels: grey, grey and alpha, RGB, or RGBA; chunks go before the pixels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    return b"".join((PNG, chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
