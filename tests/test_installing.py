"""The plugin as users get it: downloaded with FiftyOne's own command, without the package installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import PathFinder
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.plugins as fop
import pytest
import yaml
from fiftyone.operators.executor import ExecutionContext

from fiftyone_learnability import __version__

ROOT = Path(__file__).resolve().parent.parent
NAME = "@fiftyone-learnability/learnability"

USE = f"""
import json, sys
from pathlib import Path
# where the package is installed for development
sys.path = [entry for entry in sys.path if not (Path(entry) / "fiftyone_learnability").is_dir()]
import fiftyone.plugins as fop
downloaded = fop.download_plugin(sys.argv[1])
import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators.executor import ExecutionContext
operators = [operator.name for operator in foo.list_operators() if operator.uri.startswith({NAME!r})]
operator = foo.get_operator({NAME!r} + "/compute_learnability")
context = ExecutionContext(request_params=dict(dataset_name=sys.argv[2], params={{}}), operator_uri=operator.uri)
form = operator.resolve_input(context)
import fiftyone_learnability
fields, package = list(form.type.properties), fiftyone_learnability.__file__
print(json.dumps(dict(downloaded=list(downloaded), operators=operators, fields=fields, package=package)))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    """The URL of an archive of the repository, as a hosting site offers it."""
    folder = tmp_path / "served"
    folder.mkdir()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with zipfile.ZipFile(folder / "plugin.zip", "w") as zipped:
        for name in tracked.splitlines():
            if (ROOT / name).is_file():
                zipped.write(ROOT / name, Path("fiftyone-learnability-main") / name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/plugin.zip"
    server.shutdown()


def test_a_download_works_without_the_package(archive: str, tmp_path: Path, digit_dataset: fo.Dataset) -> None:
    plugins = tmp_path / "plugins"
    done = subprocess.run(
        [sys.executable, "-c", USE, archive, digit_dataset.name],
        cwd=tmp_path,
        env={**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["downloaded"] == [NAME]
    listed = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    assert set(said["operators"]) == {*listed["operators"], *listed["panels"]}
    assert {"label_field", "models", "preset", "how"} <= set(said["fields"])
    # the package came with the plugin
    assert Path(said["package"]).is_relative_to(plugins)


def test_missing_torch_is_reported_by_form_and_operator(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = foo.get_operator(f"{NAME}/compute_learnability")
    request = {"dataset_name": digit_dataset.name, "params": {"how": "now"}}
    context = ExecutionContext(request_params=request, operator_uri=operator.uri)
    assert "unanswered" not in operator.resolve_input(context).type.properties
    found = PathFinder.find_spec
    monkeypatch.setattr(PathFinder, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest))
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    unanswered = operator.resolve_input(context).type.properties["unanswered"]
    assert unanswered.invalid
    assert "pip install torch torchvision" in unanswered.error_message
    with pytest.raises(ValueError, match="Training needs torch: pip install torch torchvision"):
        list(operator.execute(context))


def test_versions_and_files_agree() -> None:
    manifest = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    assert manifest["version"] == __version__
    (definition,) = [plugin for plugin in fop.list_plugins() if plugin.name == NAME]
    assert Path(definition.directory) == ROOT
    assert [skill.name for skill in fop.list_skills(plugin=NAME)] == manifest["skills"]
