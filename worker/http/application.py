"""All addresses of the process `http` as one application."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from schemas.errors import BoneAgeError
from worker.http.errors import NotAllowedError, status_of
from worker.http.pages import style_routes
from worker.logs import log

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


def build_application(routes: Sequence[BaseRoute]) -> Starlette:
    """Return the application; every error of it is one JSON object, and none quotes a request.

    Args:
        routes: what is served; an address ``/`` among them goes before the way to the status page.
    """
    handlers: dict[type[Exception] | int, Handler] = {
        BoneAgeError: _ours,
        HTTPException: _of_http,
        Exception: _bug,
    }
    home = Route("/", _home)
    return Starlette(routes=[*routes, *style_routes(), home], exception_handlers=handlers)


def _home(_request: Request) -> Response:
    return RedirectResponse("/status")


def _ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, BoneAgeError):  # starlette asks by type; this tells mypy
        return _bug(_request, error)
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("http.failed", code=error.code, status=int(status))
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, NotAllowedError) else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "5"
    return _error(error.code, str(error), status=status, headers=headers)


def _of_http(_request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
    message = f"{status.phrase}. The status page is at /status."
    return _error(f"http.{status.value}", message, status=status, headers={})


def _bug(_request: Request, error: Exception) -> Response:
    log.error("http.bug", exc_info=error)
    message = (
        "Something is wrong in this program. Nothing was done. The log of `http` says where; "
        "report that line as an issue."
    )
    return _error("bug", message, status=HTTPStatus.INTERNAL_SERVER_ERROR, headers={})


def _error(code: str, message: str, *, status: HTTPStatus, headers: dict[str, str]) -> Response:
    return JSONResponse(
        {"error": code, "message": message}, status_code=int(status), headers=headers
    )
