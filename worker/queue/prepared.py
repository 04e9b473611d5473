"""Statements of the hot path: SQLAlchemy writes them once, the driver gets them as they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, CursorResult, Dialect

_Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """One place in the text that a value goes to."""

    name: str
    default: object
    process: _Processor | None  #: into what the driver takes

    def of(self, values: Mapping[str, object]) -> object:
        value = values.get(self.name, self.default)
        return value if self.process is None else self.process(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A statement as one driver wants it."""

    text: str
    parameters: tuple[_Parameter, ...]
    is_positional: bool

    def filled(self, values: Mapping[str, object]) -> tuple[object, ...] | dict[str, object]:
        if self.is_positional:
            return tuple(each.of(values) for each in self.parameters)
        return {each.name: each.of(values) for each in self.parameters}


class Prepared:
    """One statement whose text and types are worked out once for each dialect.

    ``Connection.execute`` looks all of that up again at each call, by way of much more code than
    a processor keeps at hand while images pass through it. What comes back is as the driver gives
    it: only numbers and texts may be asked for.
    """

    def __init__(
        self, make: Callable[[str], sa.ClauseElement], *, columns: tuple[str, ...] | None = None
    ) -> None:
        """``make`` gets the name of the dialect; ``columns`` are those that an insert fills."""
        self._make = make
        self._columns: Final = columns
        self._ready: dict[str, _Ready] = {}

    def execute(self, connection: Connection, *rows: Mapping[str, object]) -> CursorResult[Any]:
        """Send it once, with the values of each row."""
        dialect = connection.dialect
        ready = self._ready.get(dialect.name) or self._prepare(dialect)
        filled = [ready.filled(row) for row in rows]
        return connection.exec_driver_sql(ready.text, filled[0] if len(filled) == 1 else filled)

    def _prepare(self, dialect: Dialect) -> _Ready:
        columns = None if self._columns is None else list(self._columns)
        compiled: Any = self._make(dialect.name).compile(dialect=dialect, column_keys=columns)
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        ready = _Ready(
            text=str(compiled),
            parameters=tuple(
                _Parameter(
                    name=name,
                    default=compiled.params[name],
                    process=binds[name].type.dialect_impl(dialect).bind_processor(dialect),
                )
                for name in compiled.positiontup or binds
            ),
            is_positional=bool(compiled.positional),
        )
        self._ready[dialect.name] = ready
        return ready
