from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta, timezone
from io import BytesIO

import pytest
from pydicom.dataset import Dataset

from schemas import codes
from schemas.config import SrClass
from schemas.images import Sex
from schemas.results import ResultContent, identity_of, output_uid
from schemas.site_profile import parse_profile
from tests.builders import ABSENT, hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.identities import SR_CLASS_UIDS
from worker.reporting.structured_report import build_structured_report, classes_for

WITH_NUMBERS = (SrClass.COMPREHENSIVE_3D, SrClass.COMPREHENSIVE, SrClass.ENHANCED)


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph()


def items_of(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from items_of(child)


def bytes_of(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def is_number(item: Dataset, concept: codes.Concept) -> bool:
    name = item.ConceptNameCodeSequence[0]
    return bool(item.ValueType == "NUM" and name.CodeValue == concept.value)


def title_of(report: Dataset) -> str:
    return str(report.ConceptNameCodeSequence[0].CodeValue)


@pytest.mark.parametrize("sop_class", SrClass)
def test_equal_contents_give_equal_bytes(sop_class: SrClass, header: Dataset) -> None:
    first = build_structured_report(contents.estimated(header), header, sop_class=sop_class)
    content = ResultContent.from_json(contents.estimated(header).to_json())
    again = build_structured_report(content, header, sop_class=sop_class)

    assert bytes_of(first) == bytes_of(again)


def test_every_class_has_its_own_identity(header: Dataset) -> None:
    content = contents.estimated(header)

    uids = {
        str(build_structured_report(content, header, sop_class=one).SOPInstanceUID)
        for one in SrClass
    }

    assert uids == {
        output_uid(identity_of(content, kind=f"SR:{uid}")) for uid in SR_CLASS_UIDS.values()
    }


def test_a_revision_has_an_identity_of_its_own(header: Dataset) -> None:
    content = contents.estimated(header)
    first = build_structured_report(content, header, sop_class=SrClass.ENHANCED)
    second = build_structured_report(
        replace(content, revision=2), header, sop_class=SrClass.ENHANCED
    )

    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_a_revision_names_the_report_that_it_supersedes_whatever_made_it(header: Dataset) -> None:
    content = contents.estimated(header)
    first = build_structured_report(content, header, sop_class=SrClass.ENHANCED)
    other = parse_profile(b'name = "mended"\nversion = "2"')
    second = build_structured_report(
        replace(
            content,
            revision=2,
            release=replace(content.release, digest="cd" * 32),
            profile=other,
            predecessors=(contents.former_of(first, content),),
        ),
        header,
        sop_class=SrClass.COMPREHENSIVE,
    )

    (study,) = second.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == first.StudyInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert document.ReferencedSOPClassUID == first.SOPClassUID
    assert document.ReferencedSOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize("sop_class", WITH_NUMBERS)
def test_every_number_of_a_group_has_a_region_that_a_viewer_can_draw(
    sop_class: SrClass, header: Dataset
) -> None:
    report = build_structured_report(contents.of_unknown_sex(header), header, sop_class=sop_class)

    groups = [i for i in items_of(report) if i.ConceptNameCodeSequence[0].CodeValue == "125007"]
    assert len(groups) == 1  # two would be written over each other
    numbers = [item for group in groups for item in group.ContentSequence]
    for number in (item for item in numbers if item.ValueType == "NUM"):
        region = number.ContentSequence[0]  # the only child that older viewers look at
        assert (region.ValueType, region.RelationshipType) == ("SCOORD", "INFERRED FROM")
        points = list(region.GraphicData)
        assert points[:2] == points[-2:]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (
            contents.estimated(hand_radiograph()),
            [
                codes.BONE_AGE,
                codes.INTERVAL_LOW,
                codes.INTERVAL_HIGH,
                codes.SUBJECT_AGE,
                codes.Z_SCORE,
            ],
        ),
        (
            contents.of_unknown_sex(hand_radiograph()),
            [codes.BONE_AGE_IF[Sex.FEMALE], codes.BONE_AGE_IF[Sex.MALE], codes.SUBJECT_AGE],
        ),
    ],
    ids=["estimate", "both sexes"],
)
def test_a_viewer_of_five_lines_shows_whole_intervals_or_none(
    content: ResultContent, shown: list[codes.Concept], header: Dataset
) -> None:
    report = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)

    group = next(i for i in items_of(report) if i.ConceptNameCodeSequence[0].CodeValue == "125007")
    numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    names = [str(number.ConceptNameCodeSequence[0].CodeValue) for number in numbers]
    assert names == [concept.value for concept in shown]


def test_an_outline_that_leaves_the_image_is_kept_inside_it(header: Dataset) -> None:
    outline = ((-5.0, -5.0), (9999.0, -5.0), (9999.0, 9999.0))
    content = contents.estimated(header, outline=outline)

    report = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)

    region = next(item for item in items_of(report) if item.ValueType == "SCOORD")
    columns, rows = header.Columns, header.Rows
    assert list(region.GraphicData) == [0, 0, columns, 0, columns, rows, 0, 0]


def test_without_an_outline_the_region_is_the_whole_image(header: Dataset) -> None:
    content = contents.estimated(header, outline=())

    report = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)

    region = next(item for item in items_of(report) if item.ValueType == "SCOORD")
    columns, rows = header.Columns, header.Rows
    assert list(region.GraphicData) == [0, 0, columns, 0, columns, rows, 0, rows, 0, 0]


@pytest.mark.parametrize("sop_class", WITH_NUMBERS)
def test_a_child_of_unknown_sex_gets_no_number_that_passes_for_the_bone_age(
    sop_class: SrClass, header: Dataset
) -> None:
    report = build_structured_report(contents.of_unknown_sex(header), header, sop_class=sop_class)

    assert not any(is_number(item, codes.BONE_AGE) for item in items_of(report))
    assert any(is_number(item, codes.BONE_AGE_IF[Sex.MALE]) for item in items_of(report))


def test_an_estimate_has_exactly_one_number_that_is_the_bone_age(header: Dataset) -> None:
    report = build_structured_report(
        contents.estimated(header), header, sop_class=SrClass.COMPREHENSIVE
    )

    headlines = [item for item in items_of(report) if is_number(item, codes.BONE_AGE)]
    assert len(headlines) == 1


@pytest.mark.parametrize("sop_class", SrClass)
def test_a_refusal_holds_no_number_in_any_class(sop_class: SrClass, header: Dataset) -> None:
    report = build_structured_report(contents.refused(header), header, sop_class=sop_class)

    assert not any(item.ValueType == "NUM" for item in items_of(report))


@pytest.mark.parametrize("sop_class", SrClass)
def test_a_refusal_has_a_title_that_viewers_show_as_text(
    sop_class: SrClass, header: Dataset
) -> None:
    report = build_structured_report(contents.refused(header), header, sop_class=sop_class)

    assert title_of(report) != "126000"


@pytest.mark.parametrize("sop_class", SrClass)
def test_every_report_says_that_it_is_not_for_diagnosis(
    sop_class: SrClass, header: Dataset
) -> None:
    for content in (contents.estimated(header), contents.refused(header)):
        report = build_structured_report(content, header, sop_class=sop_class)
        said = " ".join(str(item.get("TextValue", "")) for item in items_of(report))
        assert "Research use only, not for diagnosis" in said


def test_a_refusal_is_offered_as_enhanced_or_basic_text_first(header: Dataset) -> None:
    order = (SrClass.COMPREHENSIVE, SrClass.ENHANCED, SrClass.BASIC_TEXT)

    assert classes_for(contents.estimated(header), order) == order
    assert classes_for(contents.refused(header), order) == (
        SrClass.ENHANCED,
        SrClass.BASIC_TEXT,
        SrClass.COMPREHENSIVE,
    )


def test_times_are_local_with_their_offset(header: Dataset) -> None:
    report = build_structured_report(
        contents.estimated(header), header, sop_class=SrClass.COMPREHENSIVE
    )

    assert (report.ContentDate, report.ContentTime) == ("20260105", "100203")
    assert report.TimezoneOffsetFromUTC == "+0100"


def test_the_zone_of_the_image_holds_for_our_times_too() -> None:
    header = hand_radiograph(TimezoneOffsetFromUTC="-0330")

    report = build_structured_report(
        contents.estimated(header), header, sop_class=SrClass.COMPREHENSIVE
    )

    assert (report.ContentDate, report.ContentTime) == ("20260105", "053203")
    assert report.TimezoneOffsetFromUTC == "-0330"


def test_midnight_between_two_zones_moves_the_date() -> None:
    header = hand_radiograph(TimezoneOffsetFromUTC="+1400")
    content = contents.estimated(header)
    late = contents.CREATED_AT.replace(hour=23, tzinfo=timezone(timedelta(hours=1)))

    report = build_structured_report(
        replace(content, created_at=late), header, sop_class=SrClass.ENHANCED
    )

    assert report.ContentDate == "20260106"


@pytest.mark.parametrize("sop_class", SrClass)
def test_an_image_without_the_attributes_of_a_good_header_is_reported_all_the_same(
    sop_class: SrClass,
) -> None:
    absent = dict.fromkeys(
        (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "ReferringPhysicianName",
            "PatientOrientation",
            "ImagerPixelSpacing",
        ),
        ABSENT,
    )
    header = hand_radiograph(Modality="CR", **absent)

    report = build_structured_report(contents.estimated(header), header, sop_class=sop_class)

    assert report["PatientID"].is_empty
    assert report["StudyDate"].is_empty


def test_the_evidence_names_the_radiograph_with_its_page(header: Dataset) -> None:
    content = contents.estimated(header)

    report = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)

    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        (str(series.SeriesInstanceUID), str(one.ReferencedSOPInstanceUID))
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert named == {
        (str(header.SeriesInstanceUID), str(header.SOPInstanceUID)),
        (
            output_uid(identity_of(content, kind="series:SC")),
            output_uid(identity_of(content, kind="SC")),
        ),
    }
