"""Which resource of QRMI a QPU is, of what type, and with which environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qpu_executor.errors import ConfigError
from qpu_executor.qpus.qrmi_settings import TYPES, QrmiSettings, from_environment
from qpu_executor.qpus.secret_files import read_secret


@dataclass(frozen=True, slots=True)
class FoundResource:
    """`type`: a key of `TYPES`. `environment`: keys without the resource's name, no secrets
    of files among them (see `secrets`).
    """

    id: str
    type: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def member(self) -> str:
        """Of `qrmi.ResourceType`."""
        return TYPES[self.type]


def find_resource(name: str, where: str, settings: QrmiSettings, qrmi: Any) -> FoundResource:
    """What the site file says, else QRMI's configuration file, else the environment.

    `name`: of the QPU; `qrmi`: the wheel's module. Raises ConfigError.
    """
    if settings.config_file is not None:
        return _in_config_file(settings.config_file, name, where, settings, qrmi)
    named = {} if settings.type is not None else from_environment(where)
    resource = settings.resource
    if resource is None:
        resource = name if name in named or len(named) != 1 else next(iter(named))
    type_name = settings.type or named.get(resource)
    if type_name is None or type_name not in TYPES:
        raise _of_no_type(where, resource, type_name, named)
    return FoundResource(resource, type_name, {**_environment_of(resource), **settings.environment})


def secrets(where: str, settings: QrmiSettings) -> dict[str, str]:
    """What the files of `secret_files` hold now. Raises ConfigError."""
    return {
        key: read_secret(path, f"{where}: secret_files.{key}")
        for key, path in settings.secret_files.items()
    }


def _in_config_file(
    path: str, name: str, where: str, settings: QrmiSettings, qrmi: Any
) -> FoundResource:
    resource = settings.resource or name
    try:
        known = qrmi.Config.load(path).resource_map
    except Exception as error:  # whatever the wheel makes of a file
        raise ConfigError(
            f"QRMI can't read {path}: {error}", where=f"{where}: config_file"
        ) from None
    found = known.get(resource)
    if found is None:
        raise ConfigError(
            f"{path} has no resource {resource!r}",
            where=f"{where}: resource",
            expected=f"one of {', '.join(sorted(known)) or 'none: it is empty'}",
        )
    member = str(found.resource_type).rpartition(".")[2]
    type_name = next((key for key, one in TYPES.items() if one == member), None)
    if type_name is None:
        raise _of_no_type(where, resource, member, {})
    return FoundResource(resource, type_name, {**found.environment, **settings.environment})


def _of_no_type(
    where: str, resource: str, type_name: str | None, named: Mapping[str, str]
) -> ConfigError:
    said = ", ".join(named) or "none"
    return ConfigError(
        f"nothing says of what type QRMI's resource {resource!r} is"
        if type_name is None
        else f"{type_name!r} is no type of resource that is known here",
        where=where,
        expected=f"resource and type in the site file (types: {', '.join(TYPES)}), or "
        f"QRMI_JOB_QPU_RESOURCES and QRMI_JOB_QPU_TYPES (resources there now: {said})",
    )


def _environment_of(resource: str) -> dict[str, str]:
    """The resource's keys in this process's environment, without its name before them."""
    prefix = f"{resource}_"
    found = {
        key.removeprefix(prefix): value
        for key, value in os.environ.items()
        if key.startswith(prefix)
    }
    # What belongs to the job, and not to one resource.
    for key in ("QRMI_JOB_UID", "QRMI_JOB_ID"):
        if key in os.environ:
            found.setdefault(key, os.environ[key])
    return found
