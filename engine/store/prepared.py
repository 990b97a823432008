"""Statements that are compiled once: for what is said for each instance that arrives.

Enter: a statement of SQLAlchemy and the names of its values. Leaves: its text for the dialect at hand, run
with values that were bound as SQLAlchemy would bind them. To run a statement the ordinary way costs ten times
what SQLite takes for it; even to hand it a text through SQLAlchemy costs five times that, so that SQLite is
asked itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, Dialect
from sqlalchemy.exc import DBAPIError
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

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run it once, for what it does."""
        compiled = self._for(connection.dialect)
        if compiled.by_place:
            asked(connection, compiled.text, _bound(compiled, values))
        else:
            connection.exec_driver_sql(compiled.text, _bound(compiled, values))

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run it once, for the rows that it finds: their values as the driver has them."""
        compiled = self._for(connection.dialect)
        if compiled.by_place:
            return list(asked(connection, compiled.text, _bound(compiled, values)))
        return [tuple(row) for row in connection.exec_driver_sql(compiled.text, _bound(compiled, values))]

    def run_for_each(self, connection: Connection, several: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each set of values, at least one."""
        compiled = self._for(connection.dialect)
        bound = [_bound(compiled, values) for values in several]
        if compiled.by_place:
            asked(connection, compiled.text, bound, many=True)
        else:
            connection.exec_driver_sql(compiled.text, bound)

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


def asked(connection: Connection, text: str, values: Any = (), *, many: bool = False) -> Any:
    """A statement of the driver's own connection; what it raises is raised as SQLAlchemy would."""
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        return driver.executemany(text, values) if many else driver.execute(text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        kind = connection.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(
            text, None, error, kind, hide_parameters=True, dialect=connection.dialect
        ) from error
