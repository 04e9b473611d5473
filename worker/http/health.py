"""Is it alive, does work go round, may it be sent something? Three questions, three addresses."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schemas.errors import BoneAgeError
from schemas.figures import Snapshot
from worker.health.checks import Health
from worker.health.verdict import Check


def health_routes(health: Health) -> list[Route]:
    """Return the three addresses; none of them asks for a token."""

    def livez(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    def healthz(_request: Request) -> JSONResponse:
        try:
            snapshot = health.figures.snapshot()
        except BoneAgeError as error:
            return _answer((Check(name="database", is_ok=False, message=str(error)),), {})
        return _answer(health.rounds(snapshot), _times(snapshot))

    def readyz(_request: Request) -> JSONResponse:
        return _answer(health.readiness(), {})

    return [Route("/livez", livez), Route("/healthz", healthz), Route("/readyz", readyz)]


def _times(snapshot: Snapshot) -> dict[str, object]:
    """Return when work last went round; null where it never has."""
    return {
        key: {"at": at.isoformat(), "seconds": round((snapshot.at - at).total_seconds(), 1)}
        if at
        else None
        for key, at in (
            ("last_result", snapshot.last_result_at),
            ("last_delivered", snapshot.last_delivered_at),
        )
    }


def _answer(checks: tuple[Check, ...], more: dict[str, object]) -> JSONResponse:
    is_ok = all(check.is_ok for check in checks)
    told = [
        {"name": check.name, "is_ok": check.is_ok, "message": check.message} for check in checks
    ]
    return JSONResponse(
        {"status": "ok" if is_ok else "not ok", "checks": told, **more},
        status_code=HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE,
    )
