"""Properties that hold for inputs drawn at random."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo import UpdateOne

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import check_identifier
from fiftyone_learnability.dataset.samples import read_samples
from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.scores.checks import LONGEST_NAME, shorten

from ..dataset.helpers import learn, state
from ..plugin.harness import form, make_context, plugin_module
from .playing import check_error
from .world import SAMPLES, World, image_bytes

# no deadline: the time of an example depends on the load
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
FEW = settings(QUICK, max_examples=12)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
LONG_TEXT = st.one_of(
    TEXT, TEXT.map(lambda text: text * 500), st.sampled_from(["a.b", "$set", "a\0b", "None", "\n", ""])
)
NAMES = st.one_of(TEXT, st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,12}", fullmatch=True), LONG_TEXT)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.integers(2**70, 2**2000)),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(TEXT, part, max_size=3)),
    max_leaves=5,
)
FILE_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name.strip(".") != ""
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("files"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield made
    made.clear()


@pytest.fixture(scope="module")
def images(place: World) -> fo.Dataset:
    return place.of()


@pytest.fixture(scope="module")
def scored(place: World) -> fo.Dataset:
    return place.scored(suggestions=True)


def set_labels(dataset: fo.Dataset, labels: list[str]) -> None:
    """Set the labels directly in the database, past FiftyOne's checks."""
    ids = [document["_id"] for document in dataset._sample_collection.find({}, {"_id": 1})]
    updates = [
        UpdateOne({"_id": id}, {"$set": {"ground_truth.label": label}}) for id, label in zip(ids, labels, strict=True)
    ]
    dataset._sample_collection.bulk_write(updates)
    dataset.reload()


# labels


@QUICK
@given(st.lists(LONG_TEXT, min_size=SAMPLES, max_size=SAMPLES))
def test_labels_of_any_text_are_read(images: fo.Dataset, labels: list[str]) -> None:
    set_labels(images, labels)
    if len(set(labels)) < 2:
        with pytest.raises(ValueError, match="only one class") as error:
            read_samples(images, "ground_truth")
        check_error(error.value, ["ground_truth"])
        return
    found = read_samples(images, "ground_truth")
    assert found.classes == tuple(sorted(set(labels)))
    assert [found.classes[number] for number in found.labels] == labels


@settings(FEW, max_examples=6)
@given(st.lists(LONG_TEXT, min_size=SAMPLES, max_size=SAMPLES).filter(lambda labels: len(set(labels)) > 1))
def test_labels_of_any_text_are_learned_and_kept(images: fo.Dataset, labels: list[str]) -> None:
    set_labels(images, labels)
    learn(images, epochs=1, overwrite=True)
    result = fol.load_results(images, fol.list_runs(images)[0])["tiny"]
    assert result.classes == tuple(sorted(set(labels)))
    assert images.values("ground_truth.label") == labels
    assert images.count("learnability_tiny") == SAMPLES


# files


@QUICK
@given(FILE_NAMES, st.booleans())
def test_files_of_any_name(place: World, name: str, whole: bool) -> None:
    folder = place.folder / "named"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(image_bytes() if whole else b"noise")
    try:
        found = decode_images([str(path)], 8)
    finally:
        path.unlink()
    assert found.readable.tolist() == [whole]
    assert list(found.failures) == ([] if whole else [str(path)])


@FEW
@given(FILE_NAMES)
@example("two\nlines")
@example("\u202egnp.txt")
def test_a_broken_file_of_any_name_is_named_on_one_line(place: World, images: fo.Dataset, name: str) -> None:
    set_labels(images, list("ab") * (SAMPLES // 2))
    folder = place.folder / "broken"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"noise")
    sample = images.first()
    before = sample.filepath
    images._sample_collection.update_one({"_id": sample._id}, {"$set": {"filepath": str(path)}})
    images.reload()
    was = state(images)
    try:
        with pytest.raises(ValueError, match="1 of 8 images cannot be read") as error:
            learn(images, overwrite=True)
        check_error(error.value, [shorten(str(path), 300), "not an image"])
        assert state(images) == was
    finally:
        path.unlink()
        images._sample_collection.update_one({"_id": sample._id}, {"$set": {"filepath": before}})
        images.reload()


WHOLE = {
    form: image_bytes((24, 16), form, seed=3) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO")
}


def decode(place: World, content: bytes) -> None:
    """Decode bytes as an image: they are readable, or a reason is given."""
    path = place.file("any.png", content)
    found = decode_images([path], 8, num_workers=1)
    assert found.readable.tolist() == [path not in found.failures]
    assert found.pixels.shape[:3] == (int(found.readable[0]), 8, 8)
    assert all(reason for reason in found.failures.values())


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_as_an_image(place: World, content: bytes) -> None:
    decode(place, content)


@settings(QUICK, max_examples=150)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_images(place: World, form: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[form])
    # damage is worst in headers
    position = st.one_of(st.integers(0, min(64, len(content) - 1)), st.integers(0, len(content) - 1))
    for at, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), max_size=6)):
        content[at] = value
    decode(place, bytes(content[: data.draw(st.integers(0, len(content)))]))


@settings(QUICK, max_examples=30)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 0.9))
def test_a_truncated_image_is_never_read_as_if_it_were_whole(place: World, form: str, share: float) -> None:
    path = place.file("cut.png", WHOLE[form][: int(share * len(WHOLE[form]))])
    assert decode_images([path], 8, num_workers=1).readable.tolist() == [False]


# operators

COMPUTE = {
    **{
        name: (name,)
        for name in ("epochs", "runs", "batch_size", "seed", "image_size", "lr", "device", "how", "preset")
    },
    **{name: (name,) for name in ("overwrite", "skip_failures", "horizontal_flip", "key", "label_field")},
    **{name: (name,) for name in ("measure", "measure_every", "stop_when_stable")},
    "models": ("models", "network"),
    "scores": ("score",),
}
"""The params of compute_learnability, and the words for them in messages."""


@settings(QUICK, max_examples=200)
@given(st.sampled_from(sorted(COMPUTE)), JSON)
@example("lr", 10**400)
@example("epochs", float("nan"))
def test_params_of_compute_are_accepted_or_refused_by_name(place: World, name: str, value: Any) -> None:
    request = plugin_module("operators.compute").Request
    try:
        found = request.from_params({name: value})
    except ValueError as error:
        message = str(error)
        check_error(error, [word for word in COMPUTE[name] if word in message] or COMPUTE[name])
        return
    settings = found.settings
    assert isinstance(settings.epochs, int)
    assert 1 <= settings.epochs <= 10_000
    assert isinstance(settings.runs, int)
    assert isinstance(settings.label_field, str)
    # the stored config of the run has to be JSON
    json.dumps(settings.stored())


TOOLS = [
    *(("compute_learnability", name) for name in (*COMPUTE, "advanced")),
    *(("sort_by_learnability", name) for name in ("model", "first")),
    *(("tag_by_difficulty", name) for name in ("model", "which", "unit", "count", "percent", "per_class", "tag")),
    *(("show_disagreement", name) for name in ("easy_for", "hard_for", "limit")),
    *(("manage_learnability_runs", name) for name in ("key", "action", "new_key", "confirmed")),
    *(("import_learnability", name) for name in ("path", "name", "advanced", "learnability", "overwrite")),
    *(("export_learnability", name) for name in ("path", "overwrite")),
    *(("write_learnability_scores", name) for name in ("models", "scores")),
    *(("compute_consensus", name) for name in ("models", "overwrite")),
    *(("suggest_label_fixes", name) for name in ("models", "threshold", "overwrite", "advanced")),
    *(("apply_label_fixes", name) for name in ("into", "in_place")),
]
"""The operators and the params that they read."""


@settings(QUICK, max_examples=120)
@given(st.sampled_from(TOOLS), JSON)
def test_every_form_survives_any_param(scored: fo.Dataset, tool: tuple[str, str], value: Any) -> None:
    operator, name = tool
    # the context is JSON, which has no NaN
    given_value = json.loads(
        json.dumps(value).replace("NaN", "null").replace("-Infinity", "-1").replace("Infinity", "1")
    )
    chosen = {"selected": scored.values("id")[:2], "view_target": "SELECTED_SAMPLES"}
    before = state(scored)
    shown = form(operator, scored, {"advanced": True, name: given_value}, **chosen)
    assert shown.schema
    # a form changes nothing
    assert state(scored) == before


REFUSING = [tool for tool in TOOLS if tool[0] not in ("compute_learnability", "export_learnability")]


@settings(QUICK, max_examples=60)
@given(st.sampled_from(REFUSING), JSON)
def test_operators_work_or_refuse_with_a_message(scored: fo.Dataset, tool: tuple[str, str], value: Any) -> None:
    operator, name = tool
    ctx, _ = make_context(operator, scored)
    # not through JSON: a caller in the same process may pass NaN
    ctx.params[name] = value
    try:
        foo.get_operator(ctx.operator_uri).execute(ctx)
    # check_error judges the type
    except Exception as error:  # noqa: BLE001
        check_error(error, [])
    assert scored.values("ground_truth.label") == list("ab") * (SAMPLES // 2)
    assert {"first", "second"} <= set(fol.list_runs(scored))


# names


@QUICK
@given(NAMES)
def test_keys(key: str) -> None:
    fits = key.isidentifier() and len(key.encode()) <= LONGEST_NAME
    if fits:
        check_identifier(key)
        return
    with pytest.raises(ValueError, match="run key") as error:
        check_identifier(key)
    check_error(error.value, [])


@FEW
@given(NAMES)
def test_runs_are_renamed_or_unchanged(scored: fo.Dataset, key: str) -> None:
    runs, before = fol.list_runs(scored), state(scored)
    try:
        fol.rename_run(scored, "first", key)
    except ValueError as error:
        check_error(error, [])
        assert state(scored) == before
        return
    assert fol.list_runs(scored) == sorted([*(run for run in runs if run != "first"), key])
    fol.rename_run(scored, key, "first")
    assert state(scored) == before


@FEW
@given(NAMES)
@example("a")
@example("x" * 101)
def test_models_of_any_name(scored: fo.Dataset, name: str) -> None:
    before = state(scored)
    table = {"id": scored.values("id"), "learnability": np.linspace(0, 1, SAMPLES)}
    try:
        report = fol.write_scores(scored, table, name)
    except ValueError as error:
        # the message about a taken name contains it as part of a field
        check_error(error, [shorten(repr(name))[1:-1]])
        assert state(scored) == before
        return
    assert report.fields == [f"learnability_{name}", f"learnability_rank_{name}"]
    fol.delete_run(scored, report.key)
    assert state(scored) == before


# files and tables of scores


def npz_of(dataset: fo.Dataset) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, id=np.array(dataset.values("id")), learnability=np.linspace(0, 1, SAMPLES))
    return buffer.getvalue()


def try_to_import(dataset: fo.Dataset, path: str) -> None:
    """Import a file: it succeeds, or is refused and nothing is written."""
    before = state(dataset)
    try:
        (report,) = fol.import_scores(dataset, path, "drawn")
    except ValueError as error:
        check_error(error, [])
    else:
        fol.delete_run(dataset, report.key)
    assert state(dataset) == before


@QUICK
@given(st.one_of(st.binary(max_size=200), LONG_TEXT.map(lambda text: f"id,learnability\n{text}".encode())))
def test_any_bytes_as_a_table(place: World, scored: fo.Dataset, content: bytes) -> None:
    for ending in ("csv", "npz"):
        try_to_import(scored, place.file(f"drawn.{ending}", content))


@settings(QUICK, max_examples=40)
@given(st.data())
def test_damaged_files_of_arrays(place: World, scored: fo.Dataset, data: st.DataObject) -> None:
    content = bytearray(npz_of(scored))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=3)
    ):
        content[at] = value
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try_to_import(scored, place.file("damaged.npz", bytes(content[:cut])))


@settings(QUICK, max_examples=40)
@given(st.lists(JSON, min_size=SAMPLES, max_size=SAMPLES))
def test_tables_of_anything(scored: fo.Dataset, values: list[Any]) -> None:
    before = state(scored)
    try:
        report = fol.write_scores(scored, {"id": scored.values("id"), "learnability": values}, "drawn")
    except (ValueError, TypeError) as error:
        check_error(error, ["learnability"])
    else:
        # strings of digits are numbers in a table, as in a file
        assert all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
        fol.delete_run(scored, report.key)
    assert state(scored) == before


# messages


@settings(QUICK, max_examples=200)
@given(LONG_TEXT, st.integers(10, 200))
def test_a_shortened_text_is_one_short_line(text: str, most: int) -> None:
    found = shorten(text, most)
    assert found.isprintable()
    assert len(found) <= most + 3
    if text.isprintable() and len(text) <= most:
        assert found == text
