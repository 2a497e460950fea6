"""The message about a file that is not an image names its kind and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fiftyone_learnability.images.decode import decode_images

FILES = {
    "heic": (b"\0\0\0\x18ftypheic" + bytes(80), "a HEIC image, which is not supported: convert it to JPEG or PNG"),
    "heif": (b"\0\0\0\x18ftypmif1" + bytes(80), "a HEIC image"),
    "svg": (b'<?xml version="1.0"?>\n<SVG xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing, which has no pixels"),
    "svg after a licence": (b"<!-- " + b"x" * 5000 + b" --><svg/>", "an SVG drawing"),
    "svg in UTF-16": ('<?xml version="1.0"?><svg/>'.encode("utf-16"), "an SVG drawing"),
    "mp4": (b"\0\0\0\x18ftypisom" + bytes(80), "a video: extract its frames"),
    "jxl": (b"\xff\x0a" + bytes(80), "a JPEG XL image"),
    "pdf": (b"%PDF-1.7\n", "a PDF document"),
    "dicom": (bytes(128) + b"DICM" + bytes(80), "a DICOM file"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "fetch it with git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "a web page, perhaps of a failed download"),
    "web page with a drawing": (b"<html><svg></svg>404</html>", "a web page"),
    "zip": (b"PK\x03\x04" + bytes(80), "a zip archive"),
    "text": (b"nothing of these", "not an image"),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_message_names_the_kind_of_a_file_that_is_not_an_image(tmp_path: Path, kind: str) -> None:
    data, said = FILES[kind]
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    (reason,) = decode_images([str(path)], 16).failures.values()
    assert said in reason
    assert "\n" not in reason


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_an_image_of_195_megapixels_is_refused_with_advice(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"large.{format}"
    Image.new("1" if format == "PNG" else "L", (15_000, 13_000)).save(path, format)
    (reason,) = decode_images([str(path)], 16).failures.values()
    assert reason == (
        "the image has 195 megapixels, more than the 179 that are read: save a smaller copy, or cut it into tiles"
    )
