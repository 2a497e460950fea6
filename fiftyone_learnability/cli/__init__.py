"""The command line: ``fiftyone-learnability``.

FiftyOne takes seconds to import, so nothing of it is imported before the arguments have been parsed.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from .commands import load_dataset
from .parser import build_parser

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_TERMINATED",
    "EXIT_USAGE",
    "build_parser",
    "main",
]

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments (None): the arguments, by default those of the process

    Returns:
        the exit status
    """
    options = build_parser().parse_args(arguments)
    # an unhandled SIGTERM would end the process without a message; only the main thread may handle signals
    in_main_thread = threading.current_thread() is threading.main_thread()
    earlier_handler = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    try:
        if options.of_dataset:
            options.function(load_dataset(options.dataset), options)
        else:
            options.function(options)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, _Terminated)
        text = "terminated" if terminated else "interrupted"
        if options.command == "compute":
            text += f": {stop}" if stop.args else ": nothing was written"
        print(text, file=sys.stderr)
        return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
    # the errors that the package raises for users; any other is a defect and keeps its traceback
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"fiftyone-learnability: {error}", file=sys.stderr)
        return EXIT_FAILED
    except MemoryError:
        print("fiftyone-learnability: there is not enough memory for this", file=sys.stderr)
        return EXIT_FAILED
    except Exception as error:
        if not _is_database_error(error):
            raise
        print(f"fiftyone-learnability: the database: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        if earlier_handler is not None:
            signal.signal(signal.SIGTERM, earlier_handler)
    return EXIT_OK


def _is_database_error(error: Exception) -> bool:
    from pymongo.errors import PyMongoError

    return isinstance(error, PyMongoError)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work like Ctrl-C."""


def _terminate(*_: object) -> None:
    raise _Terminated
