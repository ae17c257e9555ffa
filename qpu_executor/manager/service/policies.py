"""Finds ordering policies by entry point and refuses those that don't fit, by name.

Built-in policies enter by the same door as those of other packages: the entry
point group `qpu_executor.policies`, whose entries are classes (or functions) that
take the site file's settings as keywords and return an `Ordering`. A new policy
is tried on made-up tasks before it is let near the queue.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from itertools import product
from typing import Any, cast

from qpu_executor.errors import ConfigError, PluginRefused
from qpu_executor.model.values import JobClass
from qpu_executor.nearest import did_you_mean
from qpu_executor.plugins import Door, method_mismatch
from qpu_executor.scheduling.fair_share import FairShareRules, UsageLedger
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.state import Bucket, Hints, Requirements, Task

GROUP = "qpu_executor.policies"
_DOOR = Door(GROUP, "policy")

_METHODS: Mapping[str, int] = {
    "task_key": 2,
    "rerank_at": 1,
    "bucket_key": 2,
    "next_change": 1,
}


def known_policies() -> dict[str, EntryPoint]:
    """Every policy that is installed, by name. Imports none of them."""
    return _DOOR.known()


def build_policy(name: str, settings: Mapping[str, Any]) -> Ordering:
    """The policy that a site file names, with its settings.

    Raises ConfigError for settings that it doesn't take, PluginRefused for an unknown
    policy, one that can't be imported, or one that isn't an `Ordering`.
    """
    where = f"policy {name!r}"
    _refuse_settings(_DOOR.load(name, where), settings, where)
    policy = _DOOR.make(name, where, **settings)
    mismatch = interface_mismatch(policy)
    if mismatch is not None:
        raise PluginRefused(
            f"it doesn't fit the interface Ordering: {mismatch}",
            where=where,
            next_step="update the package that brings it",
        )
    return cast("Ordering", policy)


def interface_mismatch(policy: object) -> str | None:
    """What keeps `policy` from being an `Ordering`; None if it is one."""
    for method, arguments in _METHODS.items():
        if mismatch := method_mismatch(policy, method, arguments, coroutine=False):
            return mismatch
    try:
        return _trial(policy)  # type: ignore[arg-type]
    except Exception as error:
        return f"it raised {type(error).__name__} when it was tried: {error}"


def _refuse_settings(factory: Callable[..., object], settings: Mapping[str, Any], w: str) -> None:
    """Unknown keys, and something else than a number where the default is a number."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for key, value in settings.items():
        if key not in parameters:
            if takes_any:
                continue
            raise ConfigError(
                f"it has no setting {key!r}{did_you_mean(key, parameters)}",
                where=w,
                expected=f"one of {', '.join(parameters) or 'none: it has no settings'}",
            )
        default = parameters[key].default
        wants_number = isinstance(default, int | float) and not isinstance(default, bool)
        if wants_number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{key} must be a number, not {value!r}", where=w)


def _trial(policy: Ordering) -> str | None:
    """Order some made-up tasks: keys have to be tuples, comparable, and equal when asked again."""
    tasks = _made_up_tasks()
    now = 10_000_000
    for method in ("task_key", "bucket_key"):
        asked: Callable[..., object] = getattr(policy, method)
        of = tasks if method == "task_key" else [task.bucket for task in tasks]
        keys = [asked(one, now) for one in of]
        if not all(isinstance(key, tuple) for key in keys):
            return f"{method!r} must return a tuple of numbers"
        if keys != [asked(one, now) for one in of]:
            return f"{method!r} must give the same key for the same task at the same moment"
        sorted(keys)  # type: ignore[type-var]
    for instant in (*(policy.rerank_at(task) for task in tasks), policy.next_change(now)):
        if instant is not None and not isinstance(instant, int):
            return "an instant must be whole microseconds, or None"
    return None


def _made_up_tasks() -> list[Task]:
    usage = UsageLedger(FairShareRules())
    tasks = []
    places = product(("production", "development"), ("physics", "chemistry"), (10, 1000))
    for task_id, (job_class, account, shots) in enumerate(places, start=1):
        user = usage.standing(account, "ada")
        usage.charge(user, 100.0 * task_id, task_id)
        priority = 2 if job_class == "production" else 1
        bucket = Bucket(
            JobClass(job_class, priority), account, "ada", Requirements(("alpha",)), user
        )
        tasks.append(
            Task(
                task_id=task_id,
                bucket=bucket,
                shots=shots,
                priority=0,
                submitted_at=task_id,
                work_s=shots / 5.0,
                ready_at=task_id,
                hints=Hints(20_000_000, 500.0) if task_id == 1 else None,
            )
        )
    return tasks
