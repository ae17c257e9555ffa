"""What was charged before this core began, from what the store says of ended chunks."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.manager.store.records import UsageRow
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.scheduler import Scheduler


def recall(scheduler: Scheduler, table: ChargingTable, rows: Iterable[UsageRow]) -> None:
    """Count it again, oldest first; shots that were discarded later cost what `table` says."""
    for row in rows:
        charged_s = row.charged_s
        if row.discarded:
            charged_s -= table.discarded_s(charged_s)
        if charged_s > 0.0:
            scheduler.recall_usage(row.account, row.owner, row.job_class, charged_s, row.at)
