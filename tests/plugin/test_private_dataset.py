"""Fields and runs that the plugin writes survive other events that reload the same dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from fiftyone.core.odm import SampleFieldDocument

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import get_database

from .harness import PanelHarness, execute
from .made_up import write_scores

COUNT = 20
MODELS = ["resnet20", "vgg16"]


@pytest.fixture(autouse=True)
def allowed_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the App read the files of the test."""
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path))


@pytest.fixture
def scored(make_dataset: Callable[..., fo.Dataset], rng: np.random.Generator) -> fo.Dataset:
    """Two networks whose run has stored predictions and more scores than are written."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], list("ab") * (COUNT // 2))
    write_scores(
        dataset,
        {model: rng.random(COUNT) for model in MODELS},
        more={model: {score: rng.random(COUNT) for score in ("hits", "variability")} for model in MODELS},
        predictions={model: rng.dirichlet([0.1, 0.1], COUNT).astype(np.float32) for model in MODELS},
    )
    return dataset


def write_score(dataset: fo.Dataset) -> None:
    panel = PanelHarness(dataset)
    panel.open()
    panel.choose("quantity", "hits")
    assert panel.event("on_write").called("reload_dataset")


def accept(dataset: fo.Dataset) -> None:
    execute("apply_label_fixes", dataset, selected=dataset.values("id"), view_target="SELECTED_SAMPLES")


def import_file(dataset: fo.Dataset, folder: Path) -> None:
    path = folder / "scores.csv"
    path.write_text("\n".join(["id,learnability", *(f"{id},0.5" for id in dataset.values("id"))]))
    execute("import_learnability", dataset, {"path": str(path), "name": "theirs"})


WRITERS: dict[str, Callable[[fo.Dataset, Path], Any]] = {
    "panel": lambda dataset, _: write_score(dataset),
    "scores": lambda dataset, _: execute("write_learnability_scores", dataset, {"models": MODELS, "scores": ["all"]}),
    "consensus": lambda dataset, _: execute("compute_consensus", dataset),
    "import": import_file,
    "suggestions": lambda dataset, _: execute("suggest_label_fixes", dataset),
    "labels": lambda dataset, _: accept(dataset),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_written_fields_and_runs_survive_other_events(
    scored: fo.Dataset, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if writer == "labels":
        fol.suggest_label_fixes(scored)
    before, undisturbed = stored(scored), scored.clone()
    WRITERS[writer](undisturbed, tmp_path)
    expected = stored(undisturbed)
    undisturbed.delete()
    assert expected != before, "nothing is written"

    disturb(scored, monkeypatch)
    WRITERS[writer](scored, tmp_path)
    assert stored(scored) == expected


def test_computed_fields_and_runs_survive_other_events(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturb(digit_dataset, monkeypatch)
    params = {"preset": "custom", "epochs": 1, "batch_size": 32, "device": "cpu", "how": "now", "key": "mine"}
    execute("compute_learnability", digit_dataset, params)
    fields, runs = stored(digit_dataset)
    assert {"learnability_resnet20", "learnability_rank_resnet20"} < set(fields)
    assert runs == {"mine"}


def disturb(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reload the shared dataset in the middle of every new field, as events in other threads do."""
    describe = SampleFieldDocument.from_field

    def reload_and_describe(field: fo.Field) -> SampleFieldDocument:
        # FiftyOne has taken the dataset's document by now, and will add the field to it
        fo.load_dataset(dataset.name, reload=True)
        return describe(field)

    monkeypatch.setattr(SampleFieldDocument, "from_field", reload_and_describe)


def stored(dataset: fo.Dataset) -> tuple[dict[str, Any], set[str]]:
    """The fields with their notes, without the random ids of runs, and the runs, in the database."""
    document = get_database().datasets.find_one({"name": dataset.name})
    infos = {field["name"]: dict((field["info"] or {}).get("learnability", {})) for field in document["sample_fields"]}
    for note in infos.values():
        note.pop("run_id", None)
    return infos, set(document["runs"])
