"""The heatmap alone, judged on its pixels and as a file."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from schemas.estimates import Heatmap
from tests.builders import hand_pixels, hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.canvas import WARNING
from worker.reporting.heatmap_picture import HEIGHT, WIDTH, draw_heatmap_picture
from worker.reporting.page import draw_page
from worker.reporting.secondary_capture import build_heatmap_capture, build_secondary_capture

PIXELS = hand_pixels().astype(np.float32)
SLOPE = Heatmap(
    months=np.linspace(-3, 3, 64, dtype=np.float32).reshape(8, 8), intercept_months=126.4
)


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph(PatientOrientation=["L", "F"])


def test_the_radiograph_is_larger_than_on_the_page(header: Dataset) -> None:
    content = contents.estimated(header)
    picture, page = draw_heatmap_picture(content, PIXELS, SLOPE), draw_page(content, PIXELS, SLOPE)

    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert coloured(picture) > 1.5 * coloured(page)


def coloured(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """Count pixels that lean to orange or to blue and are not the warning band."""
    values = picture.astype(int)
    is_band = (values == WARNING).all(axis=2)
    return int(((np.abs(values[..., 0] - values[..., 2]) > 20) & ~is_band).sum())


def test_it_says_that_it_is_not_for_diagnosis(header: Dataset) -> None:
    picture = draw_heatmap_picture(contents.estimated(header), PIXELS, SLOPE)

    assert (picture == WARNING).all(axis=2).sum() > 0.02 * HEIGHT * WIDTH


@pytest.mark.parametrize("shape", [(40, 4000), (4000, 40), (1, 1), (2, 700)])
def test_an_image_of_any_shape_is_drawn_inside_it(shape: tuple[int, int], header: Dataset) -> None:
    pixels = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)

    assert draw_heatmap_picture(contents.estimated(header), pixels, SLOPE).shape == (1600, 1200, 3)


def test_page_and_heatmap_are_two_objects_in_two_series_of_one_study(header: Dataset) -> None:
    content = replace(contents.estimated(header), has_heatmap_object=True)
    picture = draw_heatmap_picture(content, PIXELS, SLOPE)

    alone = build_heatmap_capture(content, header, picture)
    page = build_secondary_capture(content, header, picture)

    assert alone.StudyInstanceUID == page.StudyInstanceUID == header.StudyInstanceUID
    assert alone.SOPInstanceUID != page.SOPInstanceUID
    assert alone.SeriesInstanceUID != page.SeriesInstanceUID
    assert alone.SeriesNumber != page.SeriesNumber


def test_the_heatmap_keeps_the_orientation_of_the_image_and_a_page_has_none(
    header: Dataset,
) -> None:
    source = replace(contents.source_of(header), patient_orientation=("L", "F"))
    content = replace(contents.estimated(header), source=source)
    picture = draw_heatmap_picture(content, PIXELS, SLOPE)

    assert build_heatmap_capture(content, header, picture).PatientOrientation == ["L", "F"]
    assert build_secondary_capture(content, header, picture).PatientOrientation == ""


def test_directions_that_do_not_exist_are_not_passed_on(header: Dataset) -> None:
    source = replace(contents.source_of(header), patient_orientation=("UP", "DOWN"))
    content = replace(contents.estimated(header), source=source)
    picture = draw_heatmap_picture(content, PIXELS, SLOPE)

    assert build_heatmap_capture(content, header, picture).PatientOrientation == ""
