"""Every coded concept that a report may carry."""

from collections.abc import Iterator, Mapping

import schemas.codes
from schemas.codes import Concept
from worker.operations.conformance.markdown import table


def concepts_table() -> str:
    """Return them with scheme, value and meaning."""
    rows = [(one.scheme, f"`{one.value}`", one.meaning) for one in _concepts()]
    return table(("scheme", "value", "meaning"), rows)


def _concepts() -> list[Concept]:
    found = {one.key: one for value in vars(schemas.codes).values() for one in _concepts_in(value)}
    return [found[key] for key in sorted(found)]


def _concepts_in(value: object) -> Iterator[Concept]:
    if isinstance(value, Concept):
        yield value
    elif isinstance(value, Mapping):
        yield from (one for one in value.values() if isinstance(one, Concept))
