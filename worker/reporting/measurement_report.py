"""An estimate as TID 1500, for the three SOP classes that have numbers."""

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    FindingSite,
    GraphicTypeValues,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    MeasurementStatisticalProperties,
    NumContentItem,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage

from schemas import codes
from schemas.estimates import BoneAgeEstimate
from schemas.results import SOFTWARE_NAME, ResultContent
from worker.reporting import facts, wording
from worker.reporting.highdicom_repairs import repair_population_meaning, repair_uncertainty_units
from worker.reporting.identities import tracking_uid
from worker.reporting.items import (
    CONTAINS,
    HAS_ACQ_CONTEXT,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    INFERRED_FROM,
    ascii_text,
    captures,
    coded,
    container,
    item_of,
    language,
    observation_context,
    source_image,
)


def build_measurement_report(content: ResultContent) -> Dataset:
    """Return the root item of the tree: the numbers, then what is in words."""
    context = observation_context(content)
    context.extend(item_of(fact, HAS_OBS_CONTEXT) for fact in facts.subject_facts(content))
    report = MeasurementReport(
        observation_context=context,
        procedure_reported=coded(codes.BONE_AGE_VIEWS),
        imaging_measurements=[_group(content)],
        title=coded(codes.MEASUREMENT_REPORT),
        language_of_content_item_and_descendants=language(),
    )
    root: Dataset = report[0]
    root.ContentSequence.extend([_image_library(content), _evaluations(content)])
    repair_uncertainty_units(root)
    repair_population_meaning(root)
    return root


def outline_of(content: ResultContent) -> NDArray[np.float64]:
    """Return the region that was read, a closed polygon, ``(point, 2)`` columns and rows.

    Coordinates are those of the source image as stored, kept inside it. Without an outline of
    the hand it is the whole image, because a viewer shows a group only with a region.
    """
    rows, columns = content.source.rows, content.source.columns
    points = list(content.outline)
    if len(points) < 3:  # noqa: PLR2004 - a polygon has three corners
        points = [(0.0, 0.0), (columns, 0.0), (columns, rows), (0.0, rows)]
    if points[0] != points[-1]:
        points.append(points[0])
    return np.clip(np.array(points, dtype=np.float64), (0, 0), (columns, rows))


def _group(content: ResultContent) -> MeasurementsAndQualitativeEvaluations:
    """Return TID 1501: viewers show the numbers at its first level, beside the region.

    Every one of them is inferred from the region: older OHIF viewers show nothing of a group
    with a NUM that is not. Both sexes share one group: two would be written over each other.
    """
    source = content.source
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(content), identifier=codes.BONE_AGE.meaning
        ),
        finding_type=coded(codes.BONE_AGE),
        algorithm_id=_algorithm(content),
        finding_sites=[_finding_site(content)],
        measurements=[
            *(_headline(content, estimate) for estimate in content.estimates),
            *(_shown(content, number) for number in _beside(content)),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(name=coded(c.concept), value=coded(c.answer))
            for c in facts.class_facts(content)
        ],
        source_images=[
            SourceImageForMeasurementGroup(
                referenced_sop_class_uid=source.sop_class_uid,
                referenced_sop_instance_uid=source.sop_instance_uid,
            )
        ],
    )


def _beside(content: ResultContent) -> list[facts.Quantity]:
    """Return the other numbers of a viewer's list, four at most: OHIF shows five lines.

    The ends of the interval stand there only when it is one; half of two would mislead.
    """
    is_certain = content.source.sex.sex is not None
    ends = facts.interval_facts(content.estimates[0]) if is_certain else []
    ages = [f for f in facts.subject_facts(content) if isinstance(f, facts.Quantity)]
    scores = [facts.z_score(content.assessment)] if content.assessment is not None else []
    return [*ends, *ages, *scores]


def _shown(content: ResultContent, number: facts.Quantity) -> Measurement:
    return Measurement(
        name=coded(number.concept),
        value=number.value,
        unit=coded(number.unit),
        referenced_coordinates=[_region(content)],
    )


def _headline(content: ResultContent, estimate: BoneAgeEstimate) -> Measurement:
    """Return the estimate as a NUM with its region, its properties and its derivation."""
    headline = facts.headline(content, estimate)
    low, high = facts.interval_facts(estimate)
    measurement = Measurement(
        name=coded(headline.concept),
        value=headline.value,
        unit=coded(headline.unit),
        properties=MeasurementProperties(
            measurement_statistical_properties=_statistics(content, estimate),
            lower_measurement_uncertainty=round(headline.value - low.value, 1),
            upper_measurement_uncertainty=round(high.value - headline.value, 1),
        ),
        referenced_coordinates=[_region(content)],
    )
    more = [item_of(phrase, HAS_PROPERTIES) for phrase in facts.headline_words(estimate)]
    more += [item_of(number, HAS_PROPERTIES) for number in (low, high)]
    more += [item_of(number, HAS_PROPERTIES) for number in facts.spread_facts(estimate)]
    more += [item_of(rule, HAS_PROPERTIES) for rule in facts.calibration_words(content, estimate)]
    derived = [*facts.release_value(estimate), *facts.member_facts(estimate)]
    more += [item_of(number, INFERRED_FROM) for number in derived]
    measurement[0].ContentSequence.extend(more)
    _put_region_first(measurement[0])
    return measurement


def _put_region_first(number: Dataset) -> None:
    """Put the SCOORD before the properties: older OHIF viewers look at the first child alone."""
    children = sorted(number.ContentSequence, key=lambda child: child.ValueType != "SCOORD")
    number.ContentSequence = ContentSequence(children)


def _statistics(
    content: ResultContent, estimate: BoneAgeEstimate
) -> MeasurementStatisticalProperties | None:
    if content.assessment is None:
        return None
    population, authority = wording.population_of(content.assessment, estimate.sex)
    return MeasurementStatisticalProperties(
        values=[
            NumContentItem(
                name=coded(number.concept),
                value=number.value,
                unit=coded(number.unit),
                relationship_type=HAS_PROPERTIES,
            )
            for number in facts.band_facts(content.assessment)
        ],
        description=population,
        authority=authority,
    )


def _region(content: ResultContent) -> CoordinatesForMeasurement:
    return CoordinatesForMeasurement(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=outline_of(content),
        source_image=SourceImageForRegion(
            referenced_sop_class_uid=content.source.sop_class_uid,
            referenced_sop_instance_uid=content.source.sop_instance_uid,
        ),
        purpose=coded(codes.REGION),
    )


def _finding_site(content: ResultContent) -> FindingSite:
    side = codes.LATERALITIES.get(content.source.laterality or "")
    return FindingSite(
        anatomic_location=coded(codes.HAND), laterality=coded(side) if side else None
    )


def _algorithm(content: ResultContent) -> AlgorithmIdentification:
    release, profile = content.release, content.profile
    return AlgorithmIdentification(
        name=ascii_text(release.name),
        version=ascii_text(release.version),
        parameters=[
            f"release sha256:{release.digest}",
            ascii_text(f"site profile {profile.name} {profile.version} sha256:{profile.digest}"),
            ascii_text(f"software {SOFTWARE_NAME} {content.software_version}"),
        ],
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
    )


def _image_library(content: ResultContent) -> ContentItem:
    """Return TID 1600 with what a CR image has in any case."""
    source = content.source
    image = source_image(content, codes.SOURCE)
    modality = _modality(source.sop_class_uid)
    about: list[ContentItem] = []
    if modality is not None:
        about.append(
            CodeContentItem(
                name=coded(codes.MODALITY),
                value=coded(modality),
                relationship_type=HAS_ACQ_CONTEXT,
            )
        )
    for concept, count in ((codes.PIXEL_ROWS, source.rows), (codes.PIXEL_COLUMNS, source.columns)):
        pixels = facts.Quantity(concept=concept, value=float(count), unit=codes.PIXELS)
        about.append(item_of(pixels, HAS_ACQ_CONTEXT))
    image.ContentSequence = ContentSequence(about)
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, [image])])


def _modality(sop_class_uid: str) -> codes.Concept | None:
    if sop_class_uid == ComputedRadiographyImageStorage:
        return codes.COMPUTED_RADIOGRAPHY
    if sop_class_uid == SecondaryCaptureImageStorage:
        return None
    return codes.DIGITAL_RADIOGRAPHY


def _evaluations(content: ResultContent) -> ContentItem:
    """Return what is said in words: the conclusion first."""
    said: list[facts.Fact] = [
        facts.Phrase(concept=codes.CONCLUSION, text=wording.conclusion(content)),
        *facts.quality_facts(content),
        *facts.provenance_facts(content),
    ]
    return container(
        codes.QUALITATIVE_EVALUATIONS,
        [*(item_of(fact, CONTAINS) for fact in said), *captures(content)],
    )
