"""The QPUs that this manager drives: opened adapters with what is known of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import DeviceError, OperatorError, QpuExecutorError, RequestRefused
from qpu_executor.manager.service.adapter_answers import sound_description, sound_health
from qpu_executor.manager.service.hand_over import HandOver
from qpu_executor.manager.service.qpu_news import reported_state
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import CalibrationStarter, QpuState
from qpu_executor.model.timing import CalibrationPlan
from qpu_executor.model.values import ChunkId, QpuSpec
from qpu_executor.nearest import did_you_mean
from qpu_executor.qpus.base import Capabilities, DeviceDescription, Health, QpuAdapter
from qpu_executor.qpus.closed import ClosedQpu

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Qpu:
    """One QPU: its adapter, its device, and its health when last seen.

    `rules`: what the site says of it. `overdue`: chunks that it has said nothing about for
    longer than those allow, each with that in words; it is DOWN because of them.
    `hand_over`: the door for chunks.
    """

    name: str
    kind: str
    adapter: QpuAdapter
    description: DeviceDescription = field(default_factory=lambda: DeviceDescription("unknown"))
    health: Health = field(default_factory=lambda: Health(QpuState.DOWN, "not opened yet"))
    rules: SiteRules = field(default_factory=SiteRules)
    overdue: dict[ChunkId, str] = field(default_factory=dict)
    hand_over: HandOver = field(default_factory=HandOver)

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter can do."""
        return self.adapter.capabilities

    @property
    def closed(self) -> bool:
        """It couldn't be opened: another adapter stands in for its own."""
        return isinstance(self.adapter, ClosedQpu)

    def spec(self) -> QpuSpec:
        """The QPU as the scheduling core sees it."""
        can = self.capabilities
        state, reason = reported_state(self.health)
        return QpuSpec(
            name=self.name,
            slots=can.slots,
            min_chunk_shots=can.min_chunk_shots,
            max_chunk_shots=can.max_chunk_shots,
            shot_rate_hz=can.shot_rate_hz,
            state=state,
            reason=reason,
            setup_s=can.setup_s,
            switch_s=can.switch_s,
            layout_s=can.layout_s,
            partial_results=can.partial_results,
            calibration=self.rules.plan or can.calibration,
            group_tasks=self.rules.group_tasks,
            group_s=self.rules.group_s,
            max_linger_s=self.rules.max_linger_s,
            max_run_s=self.rules.max_run_s,
            max_run_idle_s=self.rules.max_run_idle_s,
            emulated=can.emulated,
        )


class Fleet:
    """All QPUs by name, in the order of the site file.

    `open_s`, `close_s`: real seconds that an adapter may take to open and to close.
    """

    def __init__(
        self, qpus: Iterable[Qpu], *, open_s: float = 300.0, close_s: float = 60.0
    ) -> None:
        self._open_s = open_s
        self._close_s = close_s
        self._qpus = {qpu.name: qpu for qpu in qpus}
        self._opened_with: tuple[Clock, Path] | None = None

    async def open(self, clock: Clock, directory: Path) -> None:
        """Open every adapter. One that can't be opened is a QPU that is down, with the reason.

        `clock`: the manager's; `directory`: for the adapters' own small files. Raises
        OperatorError for a plan that a QPU can't follow, and what the first one raised
        where no QPU at all can be opened.
        """
        self._opened_with = (clock, directory)
        failed: list[QpuExecutorError] = []
        for qpu in self._qpus.values():
            error = await self._open(qpu, qpu.adapter)
            if error is None:
                _refuse_impossible_plan(qpu, qpu.rules.plan)
            else:
                failed.append(error)
                log.error("QPU %s: %s", qpu.name, error)
        if failed and len(failed) == len(self._qpus):
            raise failed[0]

    async def open_again(self, qpu: Qpu) -> QpuExecutorError | None:
        """Open a QPU that isn't open, or anew; why it can't be. Its health is known afterwards."""
        adapter = qpu.adapter
        if isinstance(adapter, ClosedQpu):
            adapter = adapter.adapter
        else:
            await self._close(qpu)
        error = await self._open(qpu, adapter)
        if error is None:
            try:
                _refuse_impossible_plan(qpu, qpu.rules.plan)
            except OperatorError as impossible:
                error = await self._shut(qpu, adapter, impossible)
                qpu.health = await self._first_health(qpu)
        return error

    async def _open(self, qpu: Qpu, adapter: QpuAdapter) -> QpuExecutorError | None:
        """Open an adapter for this QPU; where that fails, it is closed, and another stands in."""
        assert self._opened_with is not None
        clock, directory = self._opened_with
        error: QpuExecutorError | None = None
        try:
            async with asyncio.timeout(self._open_s):
                with only_own_cancellation():
                    await adapter.open(clock, directory)
                    description = sound_description(await adapter.describe())
        except QpuExecutorError as refused:
            error = await self._shut(qpu, adapter, refused)
        except TimeoutError:
            error = await self._shut(qpu, adapter, self._too_slow(qpu))
        except Exception as failure:
            error = await self._shut(qpu, adapter, _broken(qpu, failure))
        except asyncio.CancelledError:
            await self._shut(qpu, adapter, self._too_slow(qpu))
            raise
        else:
            qpu.adapter, qpu.description = adapter, description
        qpu.health = await self._first_health(qpu)
        return error

    async def _shut(
        self, qpu: Qpu, adapter: QpuAdapter, error: QpuExecutorError
    ) -> QpuExecutorError:
        qpu.adapter = adapter
        await self._close(qpu)
        qpu.adapter = ClosedQpu(adapter, error)
        return error

    async def close(self) -> None:
        """Close every adapter, also after a failed `open`; one that doesn't end is left."""
        for qpu in self._qpus.values():
            await self._close(qpu)

    async def _close(self, qpu: Qpu) -> None:
        try:
            async with asyncio.timeout(self._close_s):
                with only_own_cancellation():
                    await qpu.adapter.close()
        except TimeoutError:
            log.error("QPU %s: its adapter hasn't closed for %g s", qpu.name, self._close_s)
        except Exception:
            log.exception("QPU %s: its adapter can't close", qpu.name)

    async def _first_health(self, qpu: Qpu) -> Health:
        try:
            async with asyncio.timeout(self._open_s):
                with only_own_cancellation():
                    return sound_health(await qpu.adapter.health())
        except TimeoutError:
            return Health(QpuState.DOWN, f"it hasn't said how it is for {self._open_s:g} s")
        except Exception as failure:
            return Health(QpuState.DOWN, _broken(qpu, failure).message)

    def _too_slow(self, qpu: Qpu) -> DeviceError:
        return DeviceError(
            f"its adapter hasn't opened for {self._open_s:g} s",
            where=f"QPU {qpu.name}",
            next_step="check the QPU, or take it out of the site file to start without it",
        )

    def change_rules(self, rules: Mapping[str, SiteRules]) -> None:
        """The site says this of its QPUs from now on; one that isn't named stays as it was."""
        for name, some in rules.items():
            if name in self._qpus:
                self._qpus[name].rules = some

    def refuse_impossible(self, rules: Mapping[str, SiteRules]) -> None:
        """Raises OperatorError for a calibration plan that a QPU here can't follow."""
        for name, some in rules.items():
            if name in self._qpus:
                _refuse_impossible_plan(self._qpus[name], some.plan)

    def __iter__(self) -> Iterator[Qpu]:
        return iter(self._qpus.values())

    def find(self, name: str) -> Qpu | None:
        """The QPU of this name, if there is one."""
        return self._qpus.get(name)

    def get(self, name: str) -> Qpu:
        """The QPU of this name. Raises RequestRefused with the nearest name."""
        qpu = self._qpus.get(name)
        if qpu is None:
            raise RequestRefused(
                f"there is no QPU {name!r}{did_you_mean(name, self._qpus)}",
                where="qpu",
                expected=f"one of {', '.join(self._qpus)}",
                next_step="see `qpu info`",
            )
        return qpu


def _broken(qpu: Qpu, failure: Exception) -> DeviceError:
    """An adapter has raised what no adapter may: one QPU is down, the manager isn't."""
    log.error("QPU %s: its adapter broke its contract", qpu.name, exc_info=failure)
    return DeviceError(
        f"its adapter failed: {failure!r}",
        where=f"QPU {qpu.name}",
        next_step="tell who wrote the adapter; the trace is in the manager's log",
    )


def _refuse_impossible_plan(qpu: Qpu, plan: CalibrationPlan | None) -> None:
    """A plan whose calibrations nobody could start would only pause the QPU."""
    by_manager = plan is not None and plan.starter is CalibrationStarter.MANAGER
    if by_manager and not qpu.capabilities.can_calibrate:
        raise OperatorError(
            f"a QPU of kind {qpu.kind} can't be asked for a calibration",
            where=f"qpus.{qpu.name}.calibration_plan.starter",
            expected="operator or device",
        )
