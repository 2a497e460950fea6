"""Runs one queued operation to its end: ``python worker.py OPERATION_ID``.

The operation runs in a child that FiftyOne watches: as soon as the operation is set to failed, the child is killed.
"""

from __future__ import annotations

import sys

CHECK_INTERVAL_SECONDS = 1


def main() -> None:
    """Runs the operation named by the first argument."""
    from bson import ObjectId
    from fiftyone.operators.delegated import DelegatedOperationService

    service = DelegatedOperationService()
    operation = service.get(ObjectId(sys.argv[1]))
    service.execute_operation(operation, log=True, monitor=True, check_interval_seconds=CHECK_INTERVAL_SECONDS)


# FiftyOne starts the child by importing this file anew
if __name__ == "__main__":
    main()
