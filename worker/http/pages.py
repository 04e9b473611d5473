"""Pages made on the server: no script, nothing from elsewhere, every value escaped."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_STYLE: Final = "style.css"
#: nothing may be loaded but our own style sheet and pictures that stand in the page itself
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """The templates of this package."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("worker.http"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, name: str, values: Mapping[str, object], *, status: int = 200) -> Response:
        """Return one page, made of ``values``; one that is missing is an error, not a blank."""
        text = self._templates.get_template(name).render(values)
        return HTMLResponse(text, status_code=status, headers=_HEADERS)


def style_routes() -> list[Route]:
    """Return the address of the style sheet."""
    text = (files("worker.http") / "templates" / _STYLE).read_bytes()

    def style(_request: Request) -> Response:
        headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type="text/css", headers=headers)

    return [Route(f"/{_STYLE}", style)]
