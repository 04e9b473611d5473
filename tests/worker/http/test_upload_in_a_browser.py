"""The upload page as a person uses it: a real Chromium chooses, fills in and presses."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.phantom import draw_phantom
from schemas.config import HttpSection, PredictSection
from schemas.images import Sex
from tests.fakes import StubEstimator
from tests.viewers.ohif import Entries, browse, require_browser
from tests.worker.http.conftest import TOKEN, Room, Serve
from tests.worker.inference.conftest import image_reader
from worker.app import readers, web

pytestmark = pytest.mark.slow


@pytest.fixture
def address(room: Room, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page of a real server, behind which a stand-in for the networks reads."""
    require_browser()
    reader = image_reader(StubEstimator(age_months=141.0, girls_less_months=6.0), clock=room.clock)
    monkeypatch.setattr(readers, "image_reader", lambda *_, **__: reader)
    http = HttpSection(
        enabled=True,
        token_file=room.config.http.token_file,
        predict=PredictSection(enabled=True),
    )
    client = serve(web.http_application(room.config.model_copy(update={"http": http})))
    return str(client.base_url.join("/upload"))


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    pixels = draw_phantom(age_months=120, sex=Sex.FEMALE)
    path = tmp_path / "phantom.png"
    cv2.imwrite(str(path), np.asarray(255 * (pixels / pixels.max()), dtype=np.uint8))
    return path


def entries(image: Path, token: str = TOKEN) -> Entries:
    return Entries(
        files={"#file": str(image)}, words={"#token": token}, choices=("Girl",), button="Estimate"
    )


def test_a_browser_that_sends_a_picture_sees_months_members_and_two_layers(
    address: str, phantom: Path, tmp_path: Path
) -> None:
    words = ("135.0 months", "11 years 3 months", "Each member", "Heatmap", "Outline")

    seen = browse(address, tmp_path / "seen", words=words, form=entries(phantom))

    assert [one for one in words if one not in seen.text] == []
    shot = cv2.imread(str(seen.path))
    assert shot is not None
    # the heatmap lies over the grey radiograph in colour
    spread = shot.max(axis=2).astype(int) - shot.min(axis=2)
    assert (spread > 60).mean() > 0.01


def test_a_browser_with_a_wrong_token_sees_why_and_the_form_again(
    address: str, phantom: Path, tmp_path: Path
) -> None:
    seen = browse(
        address, tmp_path / "seen", words=("No estimate",), form=entries(phantom, "of another")
    )

    assert "No estimate" in seen.text
    assert "not the token of this installation" in seen.text
    assert "Bearer" not in seen.text  # that is for programs
    assert "Sex of the child" in seen.text
