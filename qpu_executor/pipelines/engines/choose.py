"""An engine by its name; its library is imported only when it is chosen."""

from __future__ import annotations

import importlib.util

from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.engines.base import Engine, EngineSettings

_LIBRARIES = {"parsl": "parsl", "dask": "distributed"}


def check_installed(name: str) -> None:
    """Raise ConfigError if the engine's library isn't installed."""
    if importlib.util.find_spec(_LIBRARIES[name]) is None:
        other = next(engine for engine in _LIBRARIES if engine != name)
        raise ConfigError(
            f"the engine '{name}' isn't installed",
            next_step=f"pip install 'qpu-executor[{name}]', or use --engine {other}",
        )


def make_engine(name: str, settings: EngineSettings) -> Engine:
    """The engine, not started yet. Raises ConfigError if its library isn't installed."""
    check_installed(name)
    if name == "dask":
        from qpu_executor.pipelines.engines.dask_engine import DaskEngine

        return DaskEngine(settings)
    from qpu_executor.pipelines.engines.parsl_engine import ParslEngine

    return ParslEngine(settings)
