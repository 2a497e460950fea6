"""Many files into one array: order, progress, threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fiftyone_learnability.images import decode
from fiftyone_learnability.images.decode import CHUNK, decode_images
from fiftyone_learnability.images.files import ReadOutcome, read_files

from .pictures import noise, oracle, save


def test_images_keep_their_order_and_pixels(tmp_path: Path) -> None:
    paths = [save(noise(seed=seed, size=(32, 32)), tmp_path / f"{seed}.png", "PNG") for seed in range(40)]
    decoded = decode_images(paths, 32, num_workers=8)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    assert decoded.sizes == {(32, 32)}
    assert decoded.readable.all()
    assert not decoded.failures
    np.testing.assert_array_equal(decoded.pixels, np.stack([oracle(path) for path in paths]))


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    paths = [save(noise(seed=seed), tmp_path / f"{seed}.jpg", "JPEG") for seed in range(20)]
    one, many = (decode_images(paths, 32, num_workers=threads).pixels for threads in (1, 8))
    np.testing.assert_array_equal(one, many)


def test_files_are_read_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(noise(), tmp_path / f"{number}.png", "PNG") for number in range(4)]
    # passes only if all four are being read at the same time
    barrier = threading.Barrier(4, timeout=20)

    def read_together(paths: Sequence[str], pixels: NDArray[np.uint8], stopped: Callable[[], bool]) -> ReadOutcome:
        barrier.wait()
        return read_files(paths, pixels, stopped)

    monkeypatch.setattr(decode, "read_files", read_together)
    assert not decode_images(paths, 32, num_workers=4).failures


def test_progress_counts_every_file_from_the_calling_thread(tmp_path: Path) -> None:
    paths = [save(noise(), tmp_path / f"{number}.png", "PNG") for number in range(5)] + [str(tmp_path / "missing")]
    for files in (paths, paths * 50):
        counts: list[int] = []
        threads: list[int] = []

        def advance(count: int, counts: list[int] = counts, threads: list[int] = threads) -> None:
            counts.append(count)
            threads.append(threading.get_ident())

        decode_images(files, 32, advance=advance)
        assert sum(counts) == len(files)
        assert set(threads) == {threading.get_ident()}


def test_an_interrupted_call_does_not_read_the_remaining_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(noise(), tmp_path / "image.png", "PNG")
    read: list[str] = []

    def read_slowly(paths: Sequence[str], pixels: NDArray[np.uint8], stopped: Callable[[], bool]) -> ReadOutcome:
        def stopped_or_next() -> bool:
            time.sleep(0.01)
            read.append(path)
            return stopped()

        return read_files(paths, pixels, stopped_or_next)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "read_files", read_slowly)
    with pytest.raises(KeyboardInterrupt):
        decode_images([path] * 1000, 32, advance=stop, num_workers=2)
    # the first chunk of each thread, and what they had started when the first was done
    assert len(read) <= 3 * CHUNK


def test_grey_images_keep_one_channel(tmp_path: Path) -> None:
    modes = {"1": "PNG", "L": "JPEG", "LA": "PNG", "I;16": "TIFF"}
    paths = [save(noise(mode), tmp_path / mode, format) for mode, format in modes.items()]
    decoded = decode_images(paths, 32)
    assert decoded.pixels.shape == (4, 32, 32, 1)
    assert decoded.pixels.flags.c_contiguous


def test_one_colour_image_makes_all_three_channels(tmp_path: Path) -> None:
    grey = save(noise("L", size=(32, 32)), tmp_path / "grey.png", "PNG")
    colour = save(noise("RGB", size=(32, 32)), tmp_path / "colour.png", "PNG")
    pixels = decode_images([grey, colour], 32).pixels
    assert pixels.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(pixels[0], np.repeat(oracle(grey), 3, axis=2))
    np.testing.assert_array_equal(pixels[1], oracle(colour))


def test_an_unreadable_colour_image_does_not_make_grey_ones_colour(tmp_path: Path) -> None:
    grey = save(noise("L"), tmp_path / "grey.png", "PNG")
    broken = save(noise(), tmp_path / "colour.png", "PNG")
    Path(broken).write_bytes(Path(broken).read_bytes()[:-100])
    assert decode_images([grey, broken], 32).pixels.shape == (1, 32, 32, 1)


def test_mixed_sizes_are_resized_and_reported(tmp_path: Path) -> None:
    sizes = [(32, 32), (16, 16), (100, 60), (20, 90)]
    paths = [save(Image.new("RGB", size, (10, 20, 30)), tmp_path / f"{size}.png", "PNG") for size in sizes]
    decoded = decode_images(paths, 32)
    assert decoded.pixels.shape == (4, 32, 32, 3)
    assert decoded.sizes == {(height, width) for width, height in sizes}
    assert (decoded.pixels == (10, 20, 30)).all()


def test_no_readable_image_at_all(tmp_path: Path) -> None:
    decoded = decode_images([str(tmp_path / "a"), str(tmp_path / "b")], 16)
    assert len(decoded.pixels) == 0
    assert len(decoded.failures) == 2
    assert not decoded.readable.any()


def test_the_digits_are_read_as_they_were_written(digits: tuple[list[str], list[str]]) -> None:
    files = digits[0][:100]
    pixels = decode_images(files, 32).pixels
    assert pixels.shape == (100, 32, 32, 1)
    np.testing.assert_array_equal(pixels, np.stack([oracle(file) for file in files]))


def test_cifar10_is_read_as_pillow_reads_it(cifar10_train: Callable[[int], tuple[list[str], list[str]]]) -> None:
    files = cifar10_train(300)[0]
    decoded = decode_images(files, 32)
    assert decoded.pixels.shape == (300, 32, 32, 3)
    assert decoded.sizes == {(32, 32)}
    np.testing.assert_array_equal(decoded.pixels, np.stack([oracle(file) for file in files]))
