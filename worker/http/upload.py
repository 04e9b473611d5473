"""The upload page: one image in, what the release sees in it, and nothing kept."""

import base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.errors import BoneAgeError, UnsuitableImageError
from schemas.estimates import BoneAgeEstimate, Heatmap
from schemas.refusals import REFUSALS
from worker.http.access import Token
from worker.http.errors import MalformedRequestError, NotAllowedError, status_of
from worker.http.pages import Pages
from worker.http.predict import SEX_WORDS, sex_of
from worker.http.predictor import Predictor
from worker.http.uploads import Form, read_form
from worker.inference.estimate import Examination
from worker.logs import log
from worker.reporting.canvas import Box, Canvas
from worker.reporting.radiograph_panel import Scale, draw_radiograph

_WIDTH, _HEIGHT = 720, 960  # pixels that the picture may have on the page
_JPEG_QUALITY: Final = 90
_NOT_KNOWN: Final = (
    "This is not the token of this installation. Nothing was read. It stands in the file that "
    "[http] token_file names; ask whoever runs the worker, and type it in below."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateBlock:
    """One estimate in words."""

    sex: str
    months: str
    years: str
    interval: str
    coverage_percent: int
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureBlock:
    """The image in two layers, and the outline over them."""

    plain: str  #: data URI
    heat: str  #: data URI
    width: int
    height: int
    outline: str  #: points of an SVG polygon; empty: none
    limit_months: str  #: full colour on either side


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPage:
    """The page and what it needs."""

    pages: Pages
    predictor: Predictor
    token: Token | None
    limit_megabytes: int

    def form(self, *, problem: str = "", advice: str = "", status: int = 200) -> Response:
        """Return the form, after a vain try with what was wrong."""
        values = {
            "problem": problem,
            "advice": advice,
            "has_token": self.token is not None,
            "limit_megabytes": self.limit_megabytes,
        }
        return self.pages.render("upload.html", values, status=status)

    async def answer(self, request: Request) -> Response:
        """Return the result of what was sent, or the form with what was wrong."""
        try:
            known = ("sex", "token")
            form = await read_form(request, limit_megabytes=self.limit_megabytes, known=known)
            self._require_token(form)
            sex = sex_of(form.fields.get("sex", ""))
            examined = await self.predictor.examine(form.file, sex=sex)
        except UnsuitableImageError as error:
            physician = REFUSALS[error.reason].physician
            return self.form(problem=physician, advice=str(error), status=status_of(error))
        except NotAllowedError as error:
            log.info("upload.refused", code=error.code)
            return self.form(problem=_NOT_KNOWN, status=status_of(error))
        except MalformedRequestError as error:
            return self.form(problem=str(error), status=HTTPStatus.BAD_REQUEST)
        except BoneAgeError as error:
            log.info("upload.refused", code=error.code)
            return self.form(problem=str(error), status=status_of(error))
        return self.pages.render("upload_result.html", _values(examined))

    def _require_token(self, form: Form) -> None:
        if self.token is not None and not self.token.fits(form.fields.get("token", "").strip()):
            raise NotAllowedError


def upload_routes(page: UploadPage) -> list[Route]:
    """Return the address of the page."""

    async def show(request: Request) -> Response:
        return await page.answer(request) if request.method == "POST" else page.form()

    return [Route("/upload", show, methods=["GET", "POST"])]


def _values(examined: Examination) -> dict[str, object]:
    content = examined.content
    return {
        "estimates": [_estimate(one) for one in content.estimates],
        "is_ambiguous": content.source.sex.sex is None,
        "picture": _picture(examined),
        "flags": [flag.value.replace("_", " ") for flag in content.flags],
        "release": f"{content.release.name}, version {content.release.version}",
        "heat_sex": SEX_WORDS[content.estimates[0].sex],
        "milliseconds": round(sum(examined.timings_ms.values())),
    }


def _estimate(one: BoneAgeEstimate) -> EstimateBlock:
    years, months = divmod(round(one.age_months), 12)
    interval = one.interval
    return EstimateBlock(
        sex="Girl" if SEX_WORDS[one.sex] == "female" else "Boy",
        months=f"{one.age_months:.1f}",
        years=f"{years} years {months} months",
        interval=f"{interval.low_months:.0f} to {interval.high_months:.0f}",
        coverage_percent=round(100 * interval.coverage),
        members=tuple((member.member, f"{member.age_months:.1f}") for member in one.members),
    )


def _picture(examined: Examination) -> PictureBlock:
    rows, columns = examined.pixels.shape
    zoom = min(_WIDTH / columns, _HEIGHT / rows)
    width, height = max(1, round(columns * zoom)), max(1, round(rows * zoom))
    points = (
        f"{column / columns * width:.1f},{row / rows * height:.1f}"
        for column, row in examined.content.outline
    )
    return PictureBlock(
        plain=_layer(examined.pixels, None, width=width, height=height),
        heat=_layer(examined.pixels, examined.heatmap, width=width, height=height),
        width=width,
        height=height,
        outline=" ".join(points),
        limit_months=f"{Scale.of(examined.heatmap).limit_months:g}",
    )


def _layer(pixels: NDArray[np.float32], heatmap: Heatmap | None, *, width: int, height: int) -> str:
    canvas = Canvas.blank(width=width, height=height)
    draw_radiograph(canvas, Box(left=0, top=0, width=width, height=height), pixels, heatmap)
    picture = cv2.cvtColor(canvas.finished(), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
