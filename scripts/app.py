"""Open the FiftyOne App with the plugin on the results of the demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .database import use_own_database
from .demo import DATASET


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the demo")
    parser.add_argument("--port", type=int, default=5151)
    options = parser.parse_args()
    if not (options.out / "db").is_dir():
        sys.exit("there are no results yet: run `make demo` first")
    use_own_database(options.out / "db")
    import fiftyone as fo

    import fiftyone_learnability as fol
    from fiftyone_learnability.dataset.appearance import WORKSPACE

    if not fo.dataset_exists(DATASET):
        sys.exit("the demo did not finish: run `make demo` again")
    dataset = fo.load_dataset(DATASET)
    models = fol.find_models(dataset)
    view = dataset.sort_by(f"learnability_{models[0]}") if models else dataset.view()
    workspace = dataset.load_workspace(WORKSPACE) if dataset.has_workspace(WORKSPACE) else None
    session = fo.launch_app(view, spaces=workspace, port=options.port)
    order = f", hardest images for {models[0]} first" if models else ""
    print(f"The App is at {session.url}{order}. Ctrl-C ends it.")
    session.wait(-1)


if __name__ == "__main__":
    main()
