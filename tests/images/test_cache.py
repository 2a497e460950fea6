"""The cache of decoded images: what is in it is what decoding gives, or is not taken."""

from __future__ import annotations

import errno
import json
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
from fiftyone_learnability.images.decode import DecodedImages, decode_images

SIZE = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which the smallest sets of images are kept too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    # on a busy disk each takes long, and no test pulls the plug
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return image_cache_folder()


def write_images(folder: Path, count: int = 4, mode: str = "RGB", seed: int = 0) -> list[str]:
    """Images of noise, of two sizes."""
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
    """Decodes images and keeps them."""
    entry = CachedImages(paths, size)
    images = decode_images(paths, size)
    assert entry.save(images) is None
    return images


def load(paths: Sequence[str], size: int = SIZE) -> DecodedImages | None:
    """The images of some files as the cache has them now."""
    return CachedImages(paths, size).load()


def is_plain(found: DecodedImages | None, paths: Sequence[str], size: int = SIZE) -> bool:
    """Whether something is what decoding gives."""
    plain = decode_images(paths, size)
    return found is not None and all(
        (
            found.pixels.dtype == np.uint8,
            np.array_equal(found.pixels, plain.pixels),
            np.array_equal(found.readable, plain.readable),
            found.failures == plain.failures == {},
            found.sizes == plain.sizes,
        )
    )


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_what_is_kept_is_what_decoding_gives(tmp_path: Path, mode: str, channels: int) -> None:
    paths = write_images(tmp_path / "images", 5, mode)
    assert load(paths) is None
    keep(paths)
    found = load(paths)
    assert is_plain(found, paths)
    assert found is not None
    assert found.pixels.shape == (5, SIZE, SIZE, channels)


def test_pixels_are_mapped_and_can_be_written_to_without_changing_the_file(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    before = keep(paths).pixels
    found = load(paths)
    assert found is not None
    base: Any = found.pixels
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    # of no class that behaves in another way
    assert type(found.pixels) is np.ndarray
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.as_tensor(found.pixels)
    tensor.fill_(7)
    assert (found.pixels == 7).all()
    assert is_plain(load(paths), paths)
    assert (before == decode_images(paths, SIZE).pixels).all()


def test_nobody_else_can_look_into_the_cache(tmp_path: Path, cache: Path) -> None:
    keep(write_images(tmp_path / "images"))
    assert cache.stat().st_mode & 0o777 == 0o700


# the key


def touch(paths: list[str], index: int) -> list[str]:
    status = os.stat(paths[index])
    os.utime(paths[index], ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    return paths


def rewrite(paths: list[str], index: int) -> list[str]:
    """Another image of the same size in bytes, whose file claims the time of that before it."""
    path = Path(paths[index])
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    # where the clock of the file system stands still, nothing could tell
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
    for name, value in (("DECODING", 10**6), ("_FORMAT", 10**6)):
        with monkeypatch.context() as patch:
            patch.setattr(image_cache, name, value)
            assert load(paths) is None
    with monkeypatch.context() as patch:
        patch.setattr("cv2.__version__", "0")
        assert load(paths) is None
    assert load(paths) is not None


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=1, max_size=3, unique=True))
def test_names_of_any_text_have_keys_of_their_own(names: list[tuple[str, str]]) -> None:
    status = os.stat(__file__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_cache.os, "stat", lambda path: status)
        lists = [[*pair] for pair in names if not any("\0" in one or os.path.isabs(one) for one in pair)]
        keys = {image_cache._key_of(paths, SIZE)[0] for paths in lists}
    assert None not in keys
    assert len(keys) == len(lists)


def test_relative_paths_are_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 1)
        os.utime(tmp_path / name / "0.bmp", ns=(0, 0))
    monkeypatch.chdir(tmp_path / "a")
    keep(["0.bmp"])
    assert is_plain(load(["0.bmp"]), ["0.bmp"])
    monkeypatch.chdir(tmp_path / "b")
    assert load(["0.bmp"]) is None


def test_files_that_change_while_they_are_read_are_not_kept(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    entry = CachedImages(paths, SIZE)
    images = decode_images(paths, SIZE)
    grow(paths, 2)
    assert entry.save(images) is None
    assert not cache.exists()


def test_files_written_a_moment_ago_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images", 1)
    written, slept = os.stat(paths[0]).st_ctime_ns, []
    monkeypatch.setattr(time, "sleep", slept.append)
    # until they could no longer be written again with the same time
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**6)
    CachedImages(paths, SIZE)
    assert slept
    assert 0.015 < sum(slept) < 0.05
    slept.clear()
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**9)
    CachedImages(paths, SIZE)
    assert slept == []


def test_images_that_cannot_be_read_are_tried_again(tmp_path: Path, cache: Path) -> None:
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


def test_what_is_decoded_in_no_time_is_not_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 60.0)
    keep(write_images(tmp_path / "images"))
    assert not cache.exists()


# damage and malice


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["npy", "json"]), st.sampled_from(["cut", "flip", "append", "bytes"]), st.data())
def test_what_is_damaged_is_decoded_anew(tmp_path: Path, ending: str, damage: str, data: st.DataObject) -> None:
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
    # a letter of what is for people only may be another
    assert found is None or (ending == "json" and np.array_equal(found.pixels, decode_images(paths, SIZE).pixels))
    if ending == "npy":
        assert found is None
    keep(paths)
    assert is_plain(load(paths), paths)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["format", "shape", "sizes", "folder", "digest", "all"]), JSON)
def test_whatever_an_entry_says_nothing_breaks(tmp_path: Path, name: str, value: Any) -> None:
    clean_image_caches()
    paths = sorted(map(str, (tmp_path / "images").glob("*"))) or write_images(tmp_path / "images")
    keep(paths)
    (file,) = image_cache_folder().glob("*.json")
    said = json.loads(file.read_text())
    file.write_text(json.dumps(value if name == "all" else {**said, name: value}))
    found = load(paths)
    assert found is None or name in ("folder", "sizes") or value == said.get(name)
    (listed,) = find_image_caches()
    assert listed.about.isprintable()
    assert len(listed.about) < 300


def test_shapes_that_other_types_are_equal_to_are_refused(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images", 3, "L")
    keep(paths)
    (file,) = cache.glob("*.json")
    said = json.loads(file.read_text())
    assert said["shape"] == [3, SIZE, SIZE, 1]
    for shape in ([3, SIZE, SIZE, True], [3.0, SIZE, SIZE, 1], [3, SIZE, SIZE], [3, SIZE, SIZE, 3], [2, SIZE, SIZE, 1]):
        file.write_text(json.dumps({**said, "shape": shape}))
        assert load(paths) is None


HOSTILE: dict[str, Callable[[Path, Path], Any]] = {
    "link": lambda path, other: path.symlink_to(other),
    "link to nothing": lambda path, other: path.symlink_to(other.with_name("nothing")),
    "link to itself": lambda path, other: path.symlink_to(path),
    "pipe": lambda path, other: os.mkfifo(path),
    "folder": lambda path, other: path.mkdir(),
    "empty": lambda path, other: path.write_bytes(b""),
    "nested without end": lambda path, other: path.write_text("[" * 100_000),
    "pickle": lambda path, other: np.save(path.open("wb"), np.array([print], dtype=object), allow_pickle=True),
    "endless": lambda path, other: (path.touch(), os.truncate(path, 2**40)),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("ending", ["npy", "json"])
def test_what_somebody_has_put_there_is_not_taken(tmp_path: Path, cache: Path, ending: str, kind: str) -> None:
    paths = write_images(tmp_path / "images")
    images = keep(paths)
    (path,) = cache.glob(f"*.{ending}")
    other = tmp_path / "other"
    path.rename(other)
    content = other.read_bytes()
    HOSTILE[kind](path, other)
    assert load(paths) is None
    assert [entry.path.suffix for entry in find_image_caches()] == [".npy"]
    # it is replaced, but for a folder, which cannot be; whatever a link leads to stays as it was
    problem = CachedImages(paths, SIZE).save(images)
    assert (problem is not None) == (kind == "folder")
    assert is_plain(load(paths), paths) == (kind != "folder")
    assert other.read_bytes() == content
    clean_image_caches()
    assert other.read_bytes() == content


def test_a_cache_that_is_a_link_is_left_alone(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    images = keep(paths)
    elsewhere = tmp_path / "elsewhere"
    cache.rename(elsewhere)
    cache.symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    assert load(paths) is None
    assert "is a symbolic link" in str(CachedImages(paths, SIZE).save(images))
    assert find_image_caches() == clean_image_caches() == []
    assert sorted(elsewhere.iterdir()) == before


def test_what_is_not_ours_is_neither_listed_nor_deleted(tmp_path: Path, cache: Path) -> None:
    keep(write_images(tmp_path / "images"))
    others = [cache / name for name in ("mine.npy", "a.json", "x" * 32 + ".npy", ".hidden.partial")]
    for other in others:
        other.write_text("not ours")
    (cache / ("0" * 32 + ".npy")).mkdir()
    assert len(find_image_caches()) == 1
    assert len(clean_image_caches()) == 1
    assert sorted(cache.iterdir()) == sorted([*others, cache / ("0" * 32 + ".npy")])


# what the disk does


def test_a_full_disk_costs_the_cache_alone(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    # or it is full only in the midst of it
    real = image_cache._header

    def fill(shape: tuple[int, ...]) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_cache, "_header", fill)
    problem = entry.save(images)
    assert problem is not None
    assert "No space left on device" in problem
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(image_cache, "_header", real)
    assert entry.save(images) is None


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load(paths) is None
    problem = CachedImages(paths, SIZE).save(decode_images(paths, SIZE))
    assert problem is not None
    assert "could not be kept for the next run" in problem
    assert find_image_caches() == clean_image_caches() == []


def test_more_than_the_cache_takes_is_not_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images")
    images = decode_images(paths, SIZE)
    monkeypatch.setattr(image_cache, "MOST_BYTES", images.pixels.nbytes - 1)
    assert "more than the 0 GB of the cache" in str(CachedImages(paths, SIZE).save(images))
    assert not cache.exists()


def age(paths: Sequence[str], seconds: float) -> None:
    """Has an entry seem to have been used last so long ago."""
    entry = CachedImages(paths, SIZE)
    for file in image_cache_folder().glob(f"{entry._key}.*"):
        os.utime(file, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("limit", ["bytes", "entries"])
def test_what_was_not_used_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    sets = [write_images(tmp_path / str(number), seed=number) for number in range(4)]
    for number, paths in enumerate(sets[:3]):
        pixels = keep(paths).pixels
        age(paths, 1000 - 100 * number)
    most = sum(entry.size for entry in find_image_caches()) + pixels.nbytes
    # three fit, not four
    monkeypatch.setattr(image_cache, *(("MOST_BYTES", most - 1) if limit == "bytes" else ("MOST_ENTRIES", 3)))
    # the first was made first, but is used last
    assert load(sets[0]) is not None
    keep(sets[3])
    assert [load(paths) is not None for paths in sets] == [True, False, True, True]


def test_cleaning_takes_what_is_old_or_too_much(tmp_path: Path) -> None:
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
    # who uses them goes on
    assert is_plain(mapped, sets[2])
    assert find_image_caches() == []


def test_what_a_killed_process_has_left_is_found(tmp_path: Path, cache: Path) -> None:
    paths = write_images(tmp_path / "images")
    keep(paths)
    (pixels,) = cache.glob("*.npy")
    partial = cache / f".{pixels.name}.123.partial"
    partial.write_bytes(bytes(1000))
    # and between the two files
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


def test_threads_that_write_the_same_do_not_disturb_each_other(tmp_path: Path, cache: Path) -> None:
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


def test_processes_that_write_the_same_do_not_disturb_each_other(tmp_path: Path, cache: Path) -> None:
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
