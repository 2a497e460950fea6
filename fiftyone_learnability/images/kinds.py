"""Names what a file holds that cannot be read as an image, by its first bytes, with advice."""

from __future__ import annotations

import re

_CONVERT = "convert it to JPEG or PNG"
_BEGINNINGS = (
    (b"%PDF", f"a PDF document: {_CONVERT}"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file: fetch it with git lfs pull"),
    (b"\xff\x0a", f"a JPEG XL image, which is not supported: {_CONVERT}"),
    (b"\x00\x00\x00\x0cJXL ", f"a JPEG XL image, which is not supported: {_CONVERT}"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x93NUMPY", f"a NumPy array: {_CONVERT}"),
    (b"\x1a\x45\xdf\xa3", "a video: extract its frames as images"),
)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_HEAD = 2**16
"""The bytes in which a text names its kind: comments of any length may precede it."""


def describe(data: bytes) -> str:
    """Return what a file is that no decoder reads as an image, and what to do about it.

    Args:
        data: the content of the file
    """
    for beginning, description in _BEGINNINGS:
        if data.startswith(beginning):
            return description
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _HEIC:
            return f"a HEIC image, which is not supported: {_CONVERT}"
        if brand.startswith(b"avi"):
            return f"an AVIF image, which this Pillow does not read: {_CONVERT}"
        return "a video: extract its frames as images"
    if data[128:132] == b"DICM":
        return f"a DICOM file, which is not supported: {_CONVERT}"
    # without the zeros of UTF-16
    tag = re.search(rb"<(svg|html|!doctype html)", data[:_HEAD].replace(b"\0", b"").lower())
    if tag is None:
        return "not an image"
    if tag[1] == b"svg":
        return f"an SVG drawing, which has no pixels: {_CONVERT}"
    return "a web page, perhaps of a failed download: download the image again"
