"""The cache of decoded images: it gives what decoding gives, or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections import namedtuple
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from fiftyone_learnability.images import cache as image_cache
from fiftyone_learnability.images.cache import CachedImages, clean_image_caches, find_image_caches, image_cache_folder
from fiftyone_learnability.images.conversions import DEEP, OTHER_COLOURS, TRANSPARENT
from fiftyone_learnability.images.decode import DecodedImages, decode_images

SIZE = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that also keeps the smallest sets of images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    # slow on a busy disk, and no test cuts the power
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return image_cache_folder()


def write_images(folder: Path, count: int = 4, mode: str = "RGB", seed: int = 0) -> list[str]:
    """Write images of noise, of two sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        shape = (SIZE, SIZE + number % 2, 3)
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).convert(mode)
        paths.append(str(folder / f"{number}.bmp"))
        image.save(paths[-1])
    return paths


def keep(paths: Sequence[str], size: int = SIZE) -> DecodedImages:
    """Decode images and save them to the cache."""
    entry = CachedImages(paths, size)
    images = decode_images(paths, size)
    assert entry.save(images) is None
    return images


def load(paths: Sequence[str], size: int = SIZE) -> DecodedImages | None:
    """Load the images of some files from the cache."""
    return CachedImages(paths, size).load()


def is_plain(found: DecodedImages | None, paths: Sequence[str], size: int = SIZE) -> bool:
    """Return True if images equal what decoding gives."""
    plain = decode_images(paths, size)
    return found is not None and all(
        (
            found.pixels.dtype == np.uint8,
            np.array_equal(found.pixels, plain.pixels),
            np.array_equal(found.readable, plain.readable),
            found.failures == plain.failures == {},
            found.sizes == plain.sizes,
            found.conversions == plain.conversions,
            found.value_range == plain.value_range,
        )
    )


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_cached_images_equal_decoded_ones(tmp_path: Path, mode: str, channels: int) -> None:
    paths = write_images(tmp_path / "images", 5, mode)
    assert load(paths) is None
    keep(paths)
    found = load(paths)
    assert is_plain(found, paths)
    assert found is not None
    assert found.pixels.shape == (5, SIZE, SIZE, channels)


def test_what_was_changed_in_the_images_is_cached_with_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / name) for name in ("transparent.png", "deep.png", "more.png", "cmyk.jpg")]
    Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8), "RGBA").save(paths[0])
    Image.fromarray(np.linspace(7, 4000, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)).save(paths[1])
    Image.fromarray(np.full((SIZE, SIZE), 20, np.uint16)).save(paths[2])
    Image.new("CMYK", (SIZE, SIZE)).save(paths[3])
    keep(paths)
    found = load(paths)
    assert is_plain(found, paths)
    assert found is not None
    assert found.conversions == {TRANSPARENT: 1, DEEP: 2, OTHER_COLOURS: 1}
    assert found.value_range == (7, 4000)


def test_pixels_are_mapped_and_can_be_written_to_without_changing_the_file(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    before = keep(paths).pixels
    found = load(paths)
    assert found is not None
    base: Any = found.pixels
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    # a plain array, not a subclass that behaves differently
    assert type(found.pixels) is np.ndarray
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.as_tensor(found.pixels)
    tensor.fill_(7)
    assert (found.pixels == 7).all()
    assert is_plain(load(paths), paths)
    assert (before == decode_images(paths, SIZE).pixels).all()


def test_other_users_cannot_read_the_cache(tmp_path: Path, cache: Path) -> None:
    keep(write_images(tmp_path / "images"))
    assert cache.stat().st_mode & 0o777 == 0o700


# the key


def touch(paths: list[str], index: int) -> list[str]:
    status = os.stat(paths[index])
    os.utime(paths[index], ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    return paths


def rewrite(paths: list[str], index: int) -> list[str]:
    """Write another image of the same size in bytes and keep the modification time."""
    path = Path(paths[index])
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    # within one tick of the file system's clock nothing could tell
    time.sleep(0.011)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return paths


def grow(paths: list[str], index: int) -> list[str]:
    path = Path(paths[index])
    before = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return paths


def remove_file(paths: list[str], index: int) -> list[str]:
    os.unlink(paths[index])
    return paths


def rename(paths: list[str], index: int) -> list[str]:
    os.rename(paths[index], paths[index] + ".bmp")
    return [path + ".bmp" if number == index else path for number, path in enumerate(paths)]


CHANGES: dict[str, Callable[[list[str], int], list[str]]] = {
    "nothing": lambda paths, index: paths,
    "looked at": lambda paths, index: [path for path in paths if Path(path).read_bytes()],
    "touched": touch,
    "rewritten": rewrite,
    "grown": grow,
    "removed": remove_file,
    "renamed": rename,
    "left out": lambda paths, index: paths[:index] + paths[index + 1 :],
    "added": lambda paths, index: [*paths, paths[index]],
    "in another order": lambda paths, index: paths[index:] + paths[:index],
}
SAME = ("nothing", "looked at")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(CHANGES)), st.integers(2, 5), st.data())
def test_the_key_changes_if_and_only_if_something_does(
    tmp_path: Path, change: str, count: int, data: st.DataObject
) -> None:
    folder = tmp_path / "images"
    shutil.rmtree(folder, ignore_errors=True)
    paths = write_images(folder, count, seed=data.draw(st.integers(0, 9)))
    keep(paths)
    index = data.draw(st.integers(0, count - 1))
    changed = CHANGES[change](list(paths), index)
    assume(change in SAME or changed != paths or change in ("touched", "rewritten", "grown", "removed"))
    found = load(changed)
    assert (found is not None) == (change in SAME)
    if change in SAME:
        assert is_plain(found, paths)


def test_another_size_or_decoder_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    keep(paths)
    keep(paths, 2 * SIZE)
    assert is_plain(load(paths), paths)
    assert is_plain(load(paths, 2 * SIZE), paths, 2 * SIZE)
    assert load(paths, 3 * SIZE) is None
    for name, value in (("DECODING", 10**6), ("FORMAT", 10**6)):
        with monkeypatch.context() as patch:
            patch.setattr(image_cache, name, value)
            assert load(paths) is None
    with monkeypatch.context() as patch:
        patch.setattr("cv2.__version__", "0")
        assert load(paths) is None
    assert load(paths) is not None


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=1, max_size=3, unique=True))
def test_different_names_have_different_keys(names: list[tuple[str, str]]) -> None:
    status = os.stat(__file__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_cache.os, "stat", lambda path: status)
        lists = [[*pair] for pair in names if not any("\0" in one or os.path.isabs(one) for one in pair)]
        keys = {CachedImages(paths, SIZE).key for paths in lists}
    assert None not in keys
    assert len(keys) == len(lists)


def test_relative_paths_belong_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 1)
        os.utime(tmp_path / name / "0.bmp", ns=(0, 0))
    monkeypatch.chdir(tmp_path / "a")
    keep(["0.bmp"])
    assert is_plain(load(["0.bmp"]), ["0.bmp"])
    monkeypatch.chdir(tmp_path / "b")
    assert load(["0.bmp"]) is None


def test_files_that_change_while_they_are_read_are_not_cached(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    entry = CachedImages(paths, SIZE)
    images = decode_images(paths, SIZE)
    grow(paths, 2)
    assert entry.save(images) is None
    assert not cache.exists()


def test_a_file_written_a_moment_ago_delays_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images", 1)
    written, slept = os.stat(paths[0]).st_ctime_ns, []
    monkeypatch.setattr(time, "sleep", slept.append)
    # until another write would get another time
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**6)
    CachedImages(paths, SIZE)
    assert slept
    assert 0.015 < sum(slept) < 0.05
    slept.clear()
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**9)
    CachedImages(paths, SIZE)
    assert slept == []


def test_unreadable_images_are_tried_again(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    Path(paths[1]).write_text("not an image")
    images = decode_images(paths, SIZE)
    assert CachedImages(paths, SIZE).save(images) is None
    assert load(paths) is None
    missing = [*paths, str(tmp_path / "missing.png"), "a\0b"]
    entry = CachedImages(missing, SIZE)
    assert entry.load() is None
    assert entry.save(decode_images(missing, SIZE)) is None
    assert not cache.exists()


def test_quickly_decoded_images_are_not_cached(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 60.0)
    keep(write_images(tmp_path / "images"))
    assert not cache.exists()


# damage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["npy", "json"]), st.sampled_from(["cut", "flip", "append", "bytes"]), st.data())
def test_damaged_entries_are_decoded_again(tmp_path: Path, ending: str, damage: str, data: st.DataObject) -> None:
    clean_image_caches()
    paths = sorted(map(str, (tmp_path / "images").glob("*"))) or write_images(tmp_path / "images")
    keep(paths)
    (file,) = image_cache_folder().glob(f"*.{ending}")
    content = file.read_bytes()
    if damage == "cut":
        changed = content[: data.draw(st.integers(0, len(content) - 1))]
    elif damage == "flip":
        index = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[index] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "append":
        changed = content + data.draw(st.binary(min_size=1, max_size=20))
    else:
        changed = data.draw(st.binary(max_size=300))
    file.write_bytes(changed)
    found = load(paths)
    # the checksum does not cover what only people read
    assert found is None or (ending == "json" and np.array_equal(found.pixels, decode_images(paths, SIZE).pixels))
    if ending == "npy":
        assert found is None
    keep(paths)
    assert is_plain(load(paths), paths)


@pytest.mark.parametrize("meta", ["null", "[1]", "{}", '{"sizes": 3, "digest": 4, "shape": {}}', "[" * 100])
def test_a_damaged_description_breaks_nothing(tmp_path: Path, cache: Path, meta: str) -> None:
    paths = write_images(tmp_path / "images")
    keep(paths)
    (file,) = cache.glob("*.json")
    file.write_text(meta)
    assert load(paths) is None
    assert [entry.about for entry in find_image_caches()] == ["unfinished or damaged"]


# what the disk does


def test_a_full_disk_costs_only_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    images, entry = decode_images(paths, SIZE), CachedImages(paths, SIZE)
    usage = namedtuple("usage", "total used free")
    free = images.pixels.nbytes + image_cache.FREE_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free - 1))
    problem = entry.save(images)
    assert problem is not None
    assert problem.startswith("the images could not be kept for the next run: they take 0.00 GB, and the disk of ")
    assert "\n" not in problem
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))
    assert entry.save(images) is None
    clean_image_caches()

    # the disk fills up during the writing
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        problem = entry.save(images)
    assert problem is not None
    assert "No space left on device" in problem
    assert list(cache.iterdir()) == []
    assert entry.save(images) is None


def test_an_unwritable_cache_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load(paths) is None
    problem = CachedImages(paths, SIZE).save(decode_images(paths, SIZE))
    assert problem is not None
    assert "could not be kept for the next run" in problem
    assert find_image_caches() == clean_image_caches() == []


def test_too_many_bytes_are_not_cached(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    images = decode_images(paths, SIZE)
    monkeypatch.setattr(image_cache, "MOST_BYTES", images.pixels.nbytes - 1)
    assert "more than the 0 GB of the cache" in str(CachedImages(paths, SIZE).save(images))
    assert not cache.exists()


def age(paths: Sequence[str], seconds: float) -> None:
    """Make an entry look as if it was last used so many seconds ago."""
    for file in image_cache_folder().glob(f"{CachedImages(paths, SIZE).key}.*"):
        os.utime(file, (time.time() - seconds,) * 2)


def test_the_longest_unused_entry_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [write_images(tmp_path / str(number), seed=number) for number in range(4)]
    for number, paths in enumerate(sets[:3]):
        pixels = keep(paths).pixels
        age(paths, 1000 - 100 * number)
    # three fit, not four
    most = sum(entry.size for entry in find_image_caches()) + pixels.nbytes
    monkeypatch.setattr(image_cache, "MOST_BYTES", most - 1)
    # the oldest is used last
    assert load(sets[0]) is not None
    keep(sets[3])
    assert [load(paths) is not None for paths in sets] == [True, False, True, True]


def test_cleaning_deletes_old_entries_and_excess(tmp_path: Path) -> None:
    sets = [write_images(tmp_path / str(number), seed=number) for number in range(3)]
    for number, paths in enumerate(sets):
        keep(paths)
        age(paths, (3 - number) * 1000)
    size = find_image_caches()[0].size
    assert [round(entry.seconds, -2) for entry in find_image_caches()] == [3000, 2000, 1000]
    assert find_image_caches()[0].about == f"4 images of 8x8 pixels from {tmp_path / '0'}"
    assert clean_image_caches(older_than=4000) == clean_image_caches(max_size=3.5 * size) == []
    assert [round(entry.seconds, -2) for entry in clean_image_caches(older_than=2500)] == [3000]
    assert [round(entry.seconds, -2) for entry in clean_image_caches(max_size=1.5 * size)] == [2000]
    mapped = load(sets[2])
    assert mapped is not None
    assert len(clean_image_caches()) == 1
    # a run that uses them continues
    assert is_plain(mapped, sets[2])
    assert find_image_caches() == []


def test_the_files_of_a_killed_process_are_found(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    keep(paths)
    (pixels,) = cache.glob("*.npy")
    partial = cache / f".{pixels.name}.123.partial"
    partial.write_bytes(bytes(1000))
    # killed between the two files
    orphan = cache / ("0" * 32 + ".npy")
    orphan.write_bytes(bytes(500))
    for path, seconds in ((partial, 2000), (orphan, 1000)):
        os.utime(path, (time.time() - seconds,) * 2)
    found = find_image_caches()
    assert [entry.path for entry in found] == [partial, orphan, pixels]
    assert [entry.size for entry in found[:2]] == [1000, 500]
    assert [entry.about for entry in found[:2]] == ["unfinished or damaged"] * 2
    assert len(clean_image_caches(older_than=500)) == 2
    assert is_plain(load(paths), paths)


# at the same time


def test_threads_can_write_the_same_entry(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images", 40)
    images = decode_images(paths, SIZE)
    start = threading.Barrier(8)

    def work(number: int) -> list[bool]:
        start.wait(20)
        taken = []
        for _ in range(10):
            if number % 2:
                assert CachedImages(paths, SIZE).save(images) is None
            elif (found := load(paths)) is not None:
                taken.append(is_plain(found, paths))
        return taken

    with ThreadPoolExecutor(8) as pool:
        assert all(all(taken) for taken in pool.map(work, range(8)))
    assert is_plain(load(paths), paths)
    assert len(list(cache.iterdir())) == 2


WRITER = """
import os, sys
from fiftyone_learnability.images import cache as image_cache
from fiftyone_learnability.images.decode import decode_images
image_cache.LEAST_SECONDS, os.fsync = 0.0, lambda descriptor: None
paths = sys.stdin.read().split()
images = decode_images(paths, 8)
print("ready", flush=True)
for _ in range(100):
    assert image_cache.CachedImages(paths, 8).save(images) is None
"""


def test_processes_can_write_the_same_entry(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images", 40)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n".join(paths))
        writer.stdin.close()
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    plain, looked, taken = decode_images(paths, SIZE).pixels, 0, 0
    while any(writer.poll() is None for writer in writers):
        looked += 1
        if (found := load(paths)) is not None:
            taken += 1
            np.testing.assert_array_equal(found.pixels, plain)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert taken > 0, looked
    assert is_plain(load(paths), paths)
    assert len(list(cache.iterdir())) == 2
