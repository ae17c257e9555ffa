"""What the environment says: which manager, whose token, which Slurm job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from qpu_executor.cli.doctor.finding import Finding, of_error, ok, warning, wrong
from qpu_executor.errors import ConfigError
from qpu_executor.slurm import allocation_left_s

MANAGER = "QPU_MANAGER"
SHORT_S = 300.0
"""An allocation that ends sooner is worth a word."""


def manager_named(option: str | None, environment: Mapping[str, str]) -> Finding:
    """Which manager is going to be asked."""
    named = environment.get(MANAGER, "")
    if option and named and option != named:
        return warning(
            "address", f"--manager {option} goes before {MANAGER}={named}", f"unset {MANAGER}"
        )
    if option or named:
        return ok("address", f"{'--manager' if option else MANAGER} {option or named}")
    return ok("address", "none is named: an embedded manager, which ends with its owner")


def slurm_job(environment: Mapping[str, str], now_s: float) -> Iterable[Finding]:
    """The Slurm job that this shell is in. `now_s`: seconds since 1970."""
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        yield ok("slurm", "not in a Slurm job")
        return
    try:
        left_s = allocation_left_s(environment, now_s)
    except ConfigError as error:
        yield of_error("slurm", error)
        return
    if left_s is None:
        yield warning(
            "slurm",
            f"job {job}: Slurm doesn't say when it ends, so tasks may outlive it",
            "export SLURM_JOB_END_TIME=$(squeue -h -j $SLURM_JOB_ID -o %e | date -f - +%s)",
        )
        return
    ends = datetime.fromtimestamp(now_s + left_s, UTC).astimezone().strftime("%H:%M:%S")
    if left_s < SHORT_S:
        yield warning(
            "slurm", f"job {job} ends at {ends}, in {left_s:.0f} s", "start in a new allocation"
        )
    else:
        yield ok("slurm", f"job {job}, until {ends}")
    if environment.get("SLURM_NNODES", "1") != "1":
        yield from _on_several_nodes(environment)


def _on_several_nodes(environment: Mapping[str, str]) -> Iterable[Finding]:
    named = environment.get(MANAGER, "")
    if not named or named.startswith("unix:") or "127.0.0.1" in named or "localhost" in named:
        yield warning(
            "slurm",
            f"{environment['SLURM_NNODES']} nodes, and the manager is one of this host only",
            "for workers on other nodes: qpu serve with an https:// address, and QPU_MANAGER",
        )


_LISTS = (
    ("QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES"),
    ("SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES"),
)


def qrmi_job(environment: Mapping[str, str]) -> Iterable[Finding]:
    """What QRMI's Slurm plugin said about the job's QPUs, for a manager inside of the job."""
    mark = environment.get("QRMI_LIST_DELIMITER") or ","
    for names, types in _LISTS:
        given = [
            [one for one in environment.get(key, "").split(mark) if one] for key in (names, types)
        ]
        resources, kinds = given
        if not resources and not kinds:
            continue
        if len(resources) != len(kinds):
            yield wrong(
                "qrmi",
                f"{names} has {len(resources)} entries and {types} has {len(kinds)}",
                f"give one type for each resource, or unset {names} {types}",
            )
        else:
            yield from _of_resources(resources, kinds, environment)
        return
    yield ok("qrmi", "no QPU of QRMI in the environment")


def _of_resources(
    resources: list[str], kinds: list[str], environment: Mapping[str, str]
) -> Iterable[Finding]:
    for name, kind in zip(resources, kinds, strict=True):
        if any(key.startswith(f"{name}_QRMI_") for key in environment):
            yield ok("qrmi", f"{name} ({kind})")
        else:
            yield wrong(
                "qrmi",
                f"{name} ({kind}) has no settings: there is no {name}_QRMI_...",
                f"start the job with --qpu={name}, or export the keys of docs/qpus/qrmi.md",
            )
