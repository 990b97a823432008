"""Statements that are compiled once: for what is said for each instance that arrives.

Enter: a statement of SQLAlchemy and the names of its values. Leaves: its text for the dialect at hand, run
with values that were bound as SQLAlchemy would bind them. To run a statement the ordinary way costs ten times
what SQLite takes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, CursorResult, Dialect
from sqlalchemy.sql.compiler import SQLCompiler


class _Compiled(NamedTuple):
    text: str
    names: tuple[str, ...]  # in the order of their places, or in any where places have names
    by_place: bool
    binders: Mapping[str, Callable[[Any], Any]]  # of the values that are not bound as they are


class Prepared:
    """One statement, for every dialect."""

    def __init__(self, statement: ClauseElement, columns: Sequence[str] | None = None) -> None:
        """
        Args:
            columns: that an INSERT or UPDATE sets; each is a value of that name.
        """
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it once."""
        compiled = self._for(connection.dialect)
        return connection.exec_driver_sql(compiled.text, _bound(compiled, values))

    def run_for_each(self, connection: Connection, several: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each set of values, at least one."""
        compiled = self._for(connection.dialect)
        connection.exec_driver_sql(compiled.text, [_bound(compiled, values) for values in several])

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        return found

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        names = tuple(compiled.positiontup or compiled.binds)
        binders = {}
        for name in names:
            binder = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if binder is not None:
                binders[name] = binder
        return _Compiled(compiled.string, names, compiled.positiontup is not None, binders)


def _bound(compiled: _Compiled, values: Mapping[str, Any]) -> Any:
    bound = {name: values[name] for name in compiled.names}
    for name, binder in compiled.binders.items():
        bound[name] = binder(bound[name])
    return tuple(bound.values()) if compiled.by_place else bound
