"""Records to column values, and rows back to records.

A record's fields are its table's columns, in the same order; the codecs say
which of them need a translation (states, and JSON in text columns).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Generic, TypeVar

from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    TaskRow,
    TokenRow,
    WindowRow,
)
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.sessions import NO_HINTS, SessionHints, SlurmJob, TaskFate, WorkShape
from qpu_executor.model.states import ChunkState, TaskState

Record = TypeVar("Record")

_TASK_STATES = {state.value: state for state in TaskState}
_CHUNK_STATES = {state.value: state for state in ChunkState}


def to_json(value: object) -> str:
    """A mapping or a tuple as compact JSON. Raises TypeError for what JSON doesn't have."""
    return _JSON.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} can't be stored as JSON")


_JSON = json.JSONEncoder(separators=(",", ":"), default=_plain)


@dataclass(frozen=True, slots=True)
class Translation:
    """How one field is written to its column, and read from it."""

    encode: Callable[[Any], object]
    decode: Callable[[Any], object]


_MAPPING = Translation(to_json, json.loads)
_TUPLE = Translation(to_json, lambda text: tuple(json.loads(text)))
_TASK_STATE = Translation(
    lambda state: None if state is None else state.value,
    lambda text: None if text is None else _TASK_STATES[text],
)
_CHUNK_STATE = Translation(lambda state: state.value, _CHUNK_STATES.__getitem__)


_WISHES = Translation(
    lambda wishes: to_json(wishes.values()) if wishes else "{}",
    lambda text: NO_WISHES if text == "{}" else Wishes.of_values(json.loads(text)),
)


def _hints_to_json(hints: SessionHints) -> str:
    """Those that are given; a word that this version doesn't know can't be in there."""
    return to_json({name: value for name, value in asdict(hints).items() if value is not None})


def _hints_of_json(text: str) -> SessionHints:
    if text == "{}":
        return NO_HINTS
    found = json.loads(text)
    shape = found.pop("shape", None)
    return SessionHints(shape=None if shape is None else WorkShape(shape), **found)


_HINTS = Translation(_hints_to_json, _hints_of_json)

_SLURM = Translation(
    lambda job: "{}" if job is None else to_json(asdict(job)),
    lambda text: None if text == "{}" else SlurmJob(**json.loads(text)),
)
_FATE = Translation(
    lambda fate: None if fate is None else fate.value,
    lambda word: None if word is None else TaskFate(word),
)


class Codec(Generic[Record]):
    """Translates between one kind of record and its rows."""

    def __init__(self, record: type[Record], **translated: Translation) -> None:
        self._record = record
        self.names = tuple(field.name for field in fields(record))  # type: ignore[arg-type]
        self._translated = tuple(translated.items())

    def values(self, record: Record) -> dict[str, Any]:
        """Column values of a record."""
        values = {name: getattr(record, name) for name in self.names}
        for name, translation in self._translated:
            values[name] = translation.encode(values[name])
        return values

    def record(self, row: Sequence[Any]) -> Record:
        """The record of a row that has all columns, in the table's order."""
        values = dict(zip(self.names, row, strict=True))
        for name, translation in self._translated:
            values[name] = translation.decode(values[name])
        return self._record(**values)


PROGRAM = Codec(ProgramRow, qubit_ids=_TUPLE)
SESSION = Codec(SessionRow, hints=_HINTS, slurm=_SLURM, on_close=_FATE, on_lost=_FATE)
TASK = Codec(TaskRow, state=_TASK_STATE, qpus=_TUPLE, wishes=_WISHES)
CHUNK = Codec(ChunkRow, state=_CHUNK_STATE, counts=_MAPPING, versions=_MAPPING)
JOURNAL = Codec(JournalRow, state=_TASK_STATE, data=_MAPPING)
TOKEN = Codec(TokenRow, roles=_TUPLE)
WINDOW = Codec(WindowRow, rule=_MAPPING)
