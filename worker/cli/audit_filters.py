"""The filters that `audit list` and `audit export` share."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from schemas.inquiries import EventFilter
from worker.cli.jobs_filters import end_of
from worker.cli.output import local_day

_OPTIONS: dict[str, Any] = {
    "since": Annotated[str | None, typer.Option(help="Only since, e.g. 2026-01-31.")],
    "until": Annotated[
        str | None, typer.Option(help="Only until: a whole day, or 2026-01-31T22:15.")
    ],
    "job_id": Annotated[int | None, typer.Option("--job", help="Only of this job.")],
    "event": Annotated[str | None, typer.Option(help="Only these, e.g. requeued.")],
    "actor": Annotated[str | None, typer.Option(help="Only of this one, e.g. operator:anna.")],
}


def with_event_filters() -> Callable[[Callable[..., None]], Any]:
    """Give a command the options of ``EventFilter`` in place of its argument ``wanted``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:  # noqa: ANN401 - whatever typer read
            typed = {name: given.pop(name) for name in _OPTIONS}
            typed["since"] = local_day(typed["since"])
            typed["until"] = end_of(typed["until"])
            command(wanted=EventFilter(**typed), **given)

        own = inspect.signature(command, eval_str=True)
        parameters = [
            *(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
                )
                for name, annotation in _OPTIONS.items()
            ),
            *(one for one in own.parameters.values() if one.name != "wanted"),
        ]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # typer reads it
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate
