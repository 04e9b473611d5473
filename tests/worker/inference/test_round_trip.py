"""Evaluations read pictures from DICOM files: as the worker reads them, and without a loss."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from models.ensemble import load_estimator
from models.evaluation.answers import Interview
from models.evaluation.changes import compare_files
from models.evaluation.gate import measure_files
from models.evaluation.page import format_page
from models.evaluation.release import measure_errors
from models.evaluation.report import Images, Question, make_report
from models.training.cohort import NATIVE, SQUASHED, Cohort
from models.training.places import default_data
from models.training.split import Part
from models.transforms import DEFAULT_RULE, to_working_image
from tests.models.builders import drawn_hand, written_release
from tests.models.training.cohorts import write_cohort
from worker.inference.pictures import Stored
from worker.inference.pixels import display_values
from worker.inference.round_trip import FORMS, FileForm, WorkerDicomPath, choose_form, to_file

DATA = default_data()
needs_radiographs = pytest.mark.skipif(
    not (DATA / "dicom_not_hand").is_dir(),
    reason=f"no radiographs at {DATA}; set BONEAGE_TEST_DATA to the folder that holds them",
)


def stored_hand(dtype: str = "uint8") -> Stored:
    return (drawn_hand() * (1 if dtype == "uint8" else 200)).clip(0, None).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_picture_comes_out_of_its_file_as_it_went_in(form: FileForm, dtype: str) -> None:
    hand = stored_hand(dtype)

    dataset = dcmread(BytesIO(to_file(hand, form)))

    assert (dataset.PhotometricInterpretation == "MONOCHROME1") is form.is_inverted
    np.testing.assert_allclose(
        to_working_image(display_values(dataset), rule=DEFAULT_RULE),
        to_working_image(hand, rule=DEFAULT_RULE),
        atol=1e-5,
    )


def test_pictures_get_every_form_and_the_same_picture_always_the_same() -> None:
    hands = [np.roll(stored_hand(), shift) for shift in range(40)]

    assert {choose_form(one) for one in hands} == set(FORMS)
    assert choose_form(hands[0]) is choose_form(hands[0].copy())


@pytest.fixture(scope="module")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Interview:
    """Drawn children; three of the test part have a picture of native aspect, too."""
    drawn = write_cohort(tmp_path_factory.mktemp("cohort") / "data")
    table = drawn.data / "annotation.csv"
    natives = drawn.data / NATIVE[0]
    natives.mkdir()
    archive = drawn.open_archive()
    lines = []
    for one in drawn.select(Part.TEST, folders=(SQUASHED,))[8:11]:
        stored = archive.read(folder=one.folder, image_id=one.image_id)
        (natives / one.image_id).write_bytes(_png(stored.repeat(4, axis=0).repeat(3, axis=1)))
        fields = (one.image_id, NATIVE[0], one.patient_id, one.sex.value, f"{one.age_months:g}")
        lines.append(",".join(fields) + "\n")
    table.write_text(table.read_text(encoding="utf-8") + "".join(lines), encoding="utf-8")
    return Interview(
        ensemble=load_estimator(written_release(tmp_path_factory.mktemp("release"))),
        cohort=Cohort(data=drawn.data, split=drawn.split),
        cache=tmp_path_factory.mktemp("cache"),
        dicom=WorkerDicomPath(),
    )


def _png(pixels: Stored) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def test_a_release_is_measured_on_dicom_files_and_says_so(interview: Interview) -> None:
    found = measure_errors(interview)

    children = {row.group: row.n for row in found.rows}
    assert children["as DICOM files, all"] == 3
    assert children["as in the clinic, all"] == 20
    assert not [name for name in children if name.startswith("native aspect")]
    assert next(iter(found.asked)) == "hands, held out, DICOM files"


def test_a_dicom_file_gives_the_months_of_the_picture_it_was_made_of(
    interview: Interview,
) -> None:
    natives = interview.cohort.select(Part.TEST, folders=NATIVE)

    row = compare_files(interview, natives)

    assert row.n == len(natives) == 3
    assert row.mean_change_months < 0.01
    report = make_report("tiny", interview, Question(images=Images.NATIVE, resamples=100))
    assert "read from a DICOM file as the worker reads it" in format_page(report, {})


@pytest.mark.slow
@needs_radiographs
def test_every_dicom_file_that_is_no_hand_is_refused() -> None:
    interview = Interview(
        ensemble=load_estimator("rsna-2026.1"),
        cohort=Cohort(data=DATA),
        dicom=WorkerDicomPath(),
    )

    (row,) = measure_files(interview)

    assert (row.n, row.refused) == (6, 6)
