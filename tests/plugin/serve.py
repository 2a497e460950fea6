"""Serves the FiftyOne App on a dataset until it is killed: ``python -m tests.plugin.serve DATASET PORT``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    import fiftyone as fo

    name, port = sys.argv[1:]
    session = fo.launch_app(fo.load_dataset(name), remote=True, address="127.0.0.1", port=int(port))
    session.wait(-1)
