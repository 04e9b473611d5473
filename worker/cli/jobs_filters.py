"""The filters that `jobs list`, `requeue`, `cancel` and `watch` share."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.inquiries import JobFilter
from schemas.jobs import JobState
from worker.cli.output import local_day

if TYPE_CHECKING:
    from schemas.config import Config

_DAY_CHARACTERS = len("2026-01-31")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilterOptions:
    """What was typed; ``resolve`` looks up what it means here."""

    state: list[JobState] | None
    since: str | None
    until: str | None
    calling_ae: str | None
    study: str | None
    accession: str | None
    patient_id: str | None
    release: str | None
    quarantined: bool

    def is_empty(self) -> bool:
        """Say whether every job is meant."""
        return not any(getattr(self, name) for name in _OPTIONS)

    def resolve(self, config: "Config", *, job_ids: tuple[int, ...] = ()) -> JobFilter:
        """Return the filter; a number that names somebody becomes its keyed hash at once.

        Raises:
            typer.BadParameter: a time is none, or a number is empty.
        """
        accession_hash = patient_id_hash = None
        if self.accession is not None or self.patient_id is not None:
            accession_hash, patient_id_hash = self._hashes(config)
        return JobFilter(
            job_ids=job_ids,
            states=tuple(self.state or ()),
            since=local_day(self.since),
            until=end_of(self.until),
            study=self.study,
            calling_ae=self.calling_ae,
            release=self.release,
            accession_hash=accession_hash,
            patient_id_hash=patient_id_hash,
            is_quarantined=self.quarantined,
        )

    def _hashes(self, config: "Config") -> tuple[str | None, str | None]:
        from worker.app import search

        search.index_images(config)  # what came in the last seconds is found, too
        index = search.search_index(config)
        hashes = (
            index.accession_hash(self.accession or ""),
            index.patient_id_hash(self.patient_id or ""),
        )
        for given, found, name in zip(
            (self.accession, self.patient_id), hashes, ("--accession", "--patient-id"), strict=True
        ):
            if given is not None and found is None:
                raise typer.BadParameter("it is empty", param_hint=name)
        return hashes


_OPTIONS: dict[str, Any] = {
    "state": Annotated[list[JobState] | None, typer.Option(help="Only these states.")],
    "since": Annotated[str | None, typer.Option(help="Received since, e.g. 2026-01-31.")],
    "until": Annotated[
        str | None, typer.Option(help="Received until: a whole day, or 2026-01-31T22:15.")
    ],
    "calling_ae": Annotated[str | None, typer.Option(help="AE title of the sender.")],
    "study": Annotated[str | None, typer.Option(help="Study Instance UID.")],
    "accession": Annotated[str | None, typer.Option(help="Accession number.")],
    "patient_id": Annotated[str | None, typer.Option(help="Patient ID.")],
    "release": Annotated[str | None, typer.Option(help="Release that read it.")],
    "quarantined": Annotated[
        bool, typer.Option("--quarantined", help="Only with a content that was set aside.")
    ],
}


def with_filters(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Any]:
    """Give a command the options of ``JobFilterOptions`` in place of its argument ``wanted``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        names = [name for name in _OPTIONS if name not in without]

        def run(**given: Any) -> None:  # noqa: ANN401 - whatever typer read
            typed: dict[str, Any] = dict.fromkeys(_OPTIONS)
            typed |= {name: given.pop(name) for name in names}
            command(wanted=JobFilterOptions(**typed), **given)

        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name == "quarantined" else None,
                annotation=_OPTIONS[name],
            )
            for name in names
        ]
        others = [one for one in own.parameters.values() if one.name != "wanted"]
        first = [one for one in others if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        parameters = [*first, *options, *(one for one in others if one not in first)]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # typer reads it
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def end_of(text: str | None) -> datetime | None:
    """Return the end of the day that ``--until`` names, or the moment."""
    at = local_day(text, option="--until")
    if at is None or text is None or len(text) > _DAY_CHARACTERS:
        return at
    return (at + timedelta(days=1)).replace(tzinfo=None).astimezone()  # a day of the local clock
