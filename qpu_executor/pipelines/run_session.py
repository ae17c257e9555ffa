"""The manager's session of a run: opened with what the pipeline file says of its work."""

from __future__ import annotations

import logging
from dataclasses import replace

from qpu_executor.client import Client, SessionTerms
from qpu_executor.client.session_terms import within_allocation
from qpu_executor.errors import RequestRefused
from qpu_executor.pipelines.document import SessionWishes

logger = logging.getLogger(__name__)


def open_run_session(client: Client, name: str, key: str, wishes: SessionWishes | None) -> str:
    """Open the session; its id. Within a Slurm allocation it ends when that does.

    The client renews its lease: the tasks of a run whose process is gone pause, and go on
    when the run is resumed.

    A site that keeps no QPU warm for it runs the pipeline all the same. Raises ConfigError
    for an allocation that is over, and what the manager refuses.
    """
    terms = SessionTerms()
    if wishes is not None:
        terms = SessionTerms(
            shape=wishes.shape, expected_tasks=wishes.expected_tasks, think_s=wishes.think_s
        )
    leased = replace(within_allocation(terms), leased=True)
    session = client.open_session(name, key=key, terms=leased)
    asked = None if wishes is None else wishes.keep_warm
    if asked is not None:
        try:
            client.keep_warm(session.id, linger_s=asked.linger_s, run_s=asked.run_s, qpu=asked.qpu)
        except RequestRefused as refusal:
            logger.warning("no QPU is kept warm for the run: %s", refusal)
    return session.id
