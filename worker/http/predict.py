"""`POST /predict`: what clients of deeplasia-service send, answered with its correct meaning.

deploy/docs/deeplasia-rest.md says where the answers differ from that service, and why.
"""

from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from schemas.estimates import BoneAgeEstimate
from schemas.images import Sex
from worker.http.access import Token
from worker.http.errors import MalformedRequestError, UnknownSexError
from worker.http.openapi import describe_interface
from worker.http.predictor import Predictor
from worker.http.uploads import read_form
from worker.inference.estimate import Examination

SEX_WORDS: Final = {Sex.FEMALE: "female", Sex.MALE: "male"}
_SEXES: Final = {
    "female": Sex.FEMALE,
    "f": Sex.FEMALE,
    "male": Sex.MALE,
    "m": Sex.MALE,
    "": None,
}
_TRUE: Final = frozenset({"", "true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_MASK: Final = "use_mask"
#: fields of the fork that choose steps which releases decide here
_WITHOUT_EFFECT: Final = ("mask_crop", "use_invChecker")
FIELDS: Final = ("sex", _MASK, *_WITHOUT_EFFECT)

RESEARCH_USE: Final = "Research use only, not for diagnosis."


def predict_routes(
    predictor: Predictor, token: Token | None, *, limit_megabytes: int, version: str
) -> list[Route]:
    """Return the addresses of deeplasia-service.

    Args:
        predictor: reads the images.
        token: what a request must carry; none: whoever reaches the port is let in.
        limit_megabytes: of one request.
        version: of this software, for the description.
    """
    description = describe_interface(
        version=version, limit_megabytes=limit_megabytes, has_token=token is not None
    )

    async def predict(request: Request) -> JSONResponse:
        if token is not None:
            token.require(request)
        form = await read_form(request, limit_megabytes=limit_megabytes, known=FIELDS)
        sex = sex_of(form.fields.get("sex", ""))
        use_mask = _flag(form.fields.get(_MASK, ""))
        examined = await predictor.examine(form.file, sex=sex, is_whole=not use_mask)
        no_effect = (_MASK, *_WITHOUT_EFFECT) if examined.mask_used is None else _WITHOUT_EFFECT
        return _answer(examined, ignored=[name for name in no_effect if name in form.fields])

    async def describe(request: Request) -> Response:
        # a person is led to the status page; a program gets what it got from deeplasia-service
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/status")
        return JSONResponse(description)

    return [Route("/predict", predict, methods=["POST"]), Route("/", describe)]


def sex_of(text: str) -> Sex | None:
    """Return the sex that a form names, none where it is empty.

    Raises:
        MalformedRequestError: it is no sex that the networks know.
    """
    try:
        return _SEXES[text.strip().casefold()]
    except KeyError:
        raise MalformedRequestError(
            problem="sex is neither female nor male", mend='Send "female" or "male".'
        ) from None


def _flag(text: str) -> bool:
    word = text.strip().casefold()
    if word not in _TRUE | _FALSE:
        raise MalformedRequestError(
            problem="use_mask is neither true nor false", mend='Send "true" or "false".'
        )
    return word in _TRUE


def _answer(examined: Examination, *, ignored: list[str]) -> JSONResponse:
    content = examined.content
    told: dict[str, Any] = {
        "sex_predicted": False,
        "sex_source": content.source.sex.source.value,
        "mask_used": bool(examined.mask_used),
        "ignored_fields": ignored,
        "flags": [flag.value for flag in content.flags],
        "release": content.release.name,
        "release_version": content.release.version,
        "timings_ms": examined.timings_ms,
        "notice": RESEARCH_USE,
    }
    if content.source.sex.sex is None:
        error = UnknownSexError()
        by_sex = {SEX_WORDS[one.sex]: _estimate(one) for one in content.estimates}
        refused = {"error": error.code, "message": str(error), "by_sex": by_sex}
        return JSONResponse({**refused, **told}, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)
    headline = content.estimates[0]
    return JSONResponse({**_estimate(headline), "used_sex": SEX_WORDS[headline.sex], **told})


def _estimate(one: BoneAgeEstimate) -> dict[str, Any]:
    return {
        "bone_age": one.age_months,
        "interval_months": [one.interval.low_months, one.interval.high_months],
        "coverage": one.interval.coverage,
        "members": [
            {"member": member.member, "bone_age": member.age_months} for member in one.members
        ],
    }
