"""The run's log file: what we and the engines say goes there, not to the terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

_LEVELS = {
    "qpu_executor": logging.INFO,
    "parsl": logging.WARNING,
    "distributed": logging.WARNING,
    "asyncio": logging.WARNING,
}


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send the loggers of this project and its engines to `path` while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = []
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate, list(logger.handlers)))
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate, handlers in before:
            logger.handlers = handlers
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()
