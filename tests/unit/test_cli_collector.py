"""The collector visits a long queue once, and everything again when the queue is short."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from qpu_executor.cli.collector import MANY, sparing_the_queue


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_lasts_beside_a_long_queue_is_frozen_until_the_queue_is_short() -> None:
    live = 0
    with sparing_the_queue(lambda: live):
        at_start = gc.get_freeze_count()
        assert at_start > 0
        kept = [[one] for one in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() <= at_start, "a short queue is no reason"
        live = MANY
        gc.collect()
        assert gc.get_freeze_count() >= at_start + len(kept)
        live = MANY - 1
        gc.collect()
        assert gc.get_freeze_count() == 0
    assert gc.get_freeze_count() == 0


def test_afterwards_collections_freeze_nothing() -> None:
    gc.collect()
    at_rest = gc.get_freeze_count()  # Python 3.12 itself spares some
    with sparing_the_queue(lambda: MANY):
        pass
    gc.collect()
    assert gc.get_freeze_count() == at_rest
