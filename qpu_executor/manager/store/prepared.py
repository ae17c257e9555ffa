"""Statements that the writer runs all the time, turned into the driver's SQL once.

A commit stands between the end of a chunk and the start of the next one, so its
milliseconds are the QPU's. SQLAlchemy builds the SQL, for whichever database it is; what
it does beside for each execution (a context, parameters by name, a result) took
three quarters of a commit's computing, and none of it is needed for an INSERT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`names`: of the values, in the order of the placeholders (None: these have names).

    `constants`: values that the statement itself holds. `to_driver`: what turns a value
    into one that the driver takes, where that is needed.
    """

    sql: str
    names: tuple[str, ...] | None
    constants: Values
    to_driver: tuple[tuple[str, Callable[[Any], Any]], ...]

    def parameters(self, values: Values) -> Any:
        """The values as the driver wants them."""
        if self.constants or self.to_driver:
            changed = {**self.constants, **values}
            for name, convert in self.to_driver:
                changed[name] = convert(changed[name])
            values = changed
        return values if self.names is None else tuple([values[name] for name in self.names])


class Prepared:
    """Statements in one database's SQL; each is compiled when it is first run.

    For those without column defaults and RETURNING; an insert is given a value for every
    column. Errors are the driver's own.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[Executable, _Compiled] = {}

    def run(self, connection: Connection, statement: UpdateBase, many: Sequence[Values]) -> int:
        """Run a statement for each of these values, in the connection's transaction.

        Returns the number of rows that it met.
        """
        compiled = self._prepared(statement)
        with closing(connection.connection.cursor()) as cursor:
            if len(many) == 1:
                cursor.execute(compiled.sql, compiled.parameters(many[0]))
            else:
                cursor.executemany(compiled.sql, [compiled.parameters(one) for one in many])
            return cursor.rowcount

    def _prepared(self, statement: UpdateBase) -> _Compiled:
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = self._compile(statement)
        return compiled

    def _compile(self, statement: UpdateBase) -> _Compiled:
        found = statement.compile(dialect=self._dialect, for_executemany=True)
        assert isinstance(found, SQLCompiler)
        converters = []
        for name, bind in found.binds.items():
            convert = bind.type.dialect_impl(self._dialect).bind_processor(self._dialect)
            if convert is not None:
                converters.append((name, convert))
        return _Compiled(
            str(found),
            None if found.positiontup is None else tuple(found.positiontup),
            {name: bind.value for name, bind in found.binds.items() if not bind.required},
            tuple(converters),
        )
