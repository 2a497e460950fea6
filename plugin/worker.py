"""Runs one queued operation to its end: ``python worker.py OPERATION_ID [LOG]``.

The operation runs in a child that FiftyOne watches: as soon as the operation is set to failed, the child is killed.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

CHECK_INTERVAL_SECONDS = 1
CANCELLED = "Cancelled by user"
"""As in :mod:`jobs`, which this script, being no part of a package, cannot import."""


def main() -> None:
    """Runs the operation named by the first argument; the log named by the second goes unless the operation failed."""
    from bson import ObjectId
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionRunState

    service = DelegatedOperationService()
    operation = service.get(ObjectId(sys.argv[1]))
    service.execute_operation(operation, log=True, monitor=True, check_interval_seconds=CHECK_INTERVAL_SECONDS)
    ended = service.get(operation.id)
    failed = ended.run_state == ExecutionRunState.FAILED and (ended.result is None or ended.result.error != CANCELLED)
    if not failed:
        # what it printed is of no more use; on Windows it cannot be deleted while it is open, and is pruned later
        with suppress(OSError):
            for log in sys.argv[2:]:
                Path(log).unlink(missing_ok=True)


# FiftyOne starts the child by importing this file anew
if __name__ == "__main__":
    main()
