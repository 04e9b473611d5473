"""Each repair is still needed: when one of these fails, highdicom was mended, drop the repair."""

import pytest
from highdicom import sr
from highdicom.sr import CodedConcept, Measurement, MeasurementProperties
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from schemas import codes
from tests.builders import ABSENT, hand_radiograph
from worker.reporting.highdicom_repairs import repair_population_meaning, repair_uncertainty_units
from worker.reporting.items import coded

MONTH = CodedConcept("mo", "UCUM", "month")


def measured() -> Dataset:
    """Return a NUM item as highdicom writes it."""
    measurement = Measurement(
        name=coded(codes.BONE_AGE),
        value=126.0,
        unit=MONTH,
        properties=MeasurementProperties(
            measurement_statistical_properties=sr.MeasurementStatisticalProperties(
                values=[], description="girls"
            ),
            lower_measurement_uncertainty=8.0,
            upper_measurement_uncertainty=8.0,
        ),
    )
    root = Dataset()
    root.ContentSequence = [measurement[0]]
    return root


def units_of(root: Dataset) -> set[str]:
    children = root.ContentSequence[0].ContentSequence
    numbers = [child for child in children if child.ValueType == "NUM"]
    return {
        str(one.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue)
        for one in numbers
    }


def meaning_of(root: Dataset) -> str:
    children = root.ContentSequence[0].ContentSequence
    name = next(c for c in children if c.ValueType == "TEXT").ConceptNameCodeSequence[0]
    return str(name.CodeMeaning)


def test_highdicom_still_writes_uncertainties_without_a_unit() -> None:
    assert units_of(measured()) == {"1"}


def test_the_repair_gives_them_the_unit_of_their_measurement() -> None:
    root = measured()

    repair_uncertainty_units(root)

    assert units_of(root) == {"mo"}


def test_highdicom_still_misspells_the_population() -> None:
    assert meaning_of(measured()) != dicom_codes.DCM.PopulationDescription.meaning


def test_the_repair_spells_the_population_as_the_standard_does() -> None:
    root = measured()

    repair_population_meaning(root)

    assert meaning_of(root) == dicom_codes.DCM.PopulationDescription.meaning


def test_highdicom_still_refuses_an_image_library_without_pixel_spacing() -> None:
    image = hand_radiograph(ImagerPixelSpacing=ABSENT)

    with pytest.raises(AttributeError, match="ImagerPixelSpacing"):
        sr.ImageLibrary([image])


def test_highdicom_still_has_no_basic_text_class() -> None:
    assert not hasattr(sr, "BasicTextSR")
