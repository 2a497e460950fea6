"""Short fingerprints of views, in place of the views themselves, which may name a million samples."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_PLAIN = {str, int, bool, type(None)}


def fingerprint(stages: Any) -> str:
    """A short fingerprint of serialized stages, whatever FiftyOne and the browser make of them on the way."""
    return hashlib.blake2b(json.dumps(_bare(stages), sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(part) for name, part in value.items() if name != "_uuid"}
    if isinstance(value, (list, tuple)):
        # the ids of a million samples are not looked at one by one
        return value if set(map(type, value)) <= _PLAIN else [_bare(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        # the browser sends 1.0 back as 1
        return int(value)
    return value
