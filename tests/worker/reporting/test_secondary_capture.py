from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from schemas.results import identity_of, output_uid
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.secondary_capture import build_secondary_capture


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph()


@pytest.fixture
def page() -> NDArray[np.uint8]:
    drawn = np.random.default_rng(1).integers(0, 256, (61, 83, 3))
    return drawn.astype(np.uint8)


def received(header: Dataset, page: NDArray[np.uint8]) -> Dataset:
    file = BytesIO()
    capture = build_secondary_capture(contents.estimated(header), header, page)
    capture.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def test_the_page_arrives_pixel_for_pixel(header: Dataset, page: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(received(header, page).pixel_array, page)


def test_it_lies_in_the_study_of_the_image_in_a_series_of_its_own(
    header: Dataset, page: NDArray[np.uint8]
) -> None:
    capture = received(header, page)

    assert capture.StudyInstanceUID == header.StudyInstanceUID
    assert capture.SeriesInstanceUID != header.SeriesInstanceUID
    assert capture.PatientID == header.PatientID


def test_its_identity_follows_from_the_result(header: Dataset, page: NDArray[np.uint8]) -> None:
    expected = output_uid(identity_of(contents.estimated(header), kind="SC"))

    assert received(header, page).SOPInstanceUID == expected


def test_it_names_the_image_that_it_was_made_from(header: Dataset, page: NDArray[np.uint8]) -> None:
    (source,) = received(header, page).SourceImageSequence

    assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID


def test_it_says_that_words_are_burnt_in(header: Dataset, page: NDArray[np.uint8]) -> None:
    capture = received(header, page)

    assert capture.BurnedInAnnotation == "YES"
    assert capture.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert capture.Modality == "OT"


def test_nobody_can_measure_on_a_page(header: Dataset, page: NDArray[np.uint8]) -> None:
    capture = received(header, page)

    assert "PixelSpacing" not in capture
    assert "ImagerPixelSpacing" not in capture
    assert "NominalScannedPixelSpacing" not in capture


def test_a_grey_page_is_not_taken(header: Dataset) -> None:
    grey = np.zeros((4, 4, 1), dtype=np.uint8)

    with pytest.raises(TypeError, match="rows, columns, 3"):
        build_secondary_capture(contents.estimated(header), header, grey)
