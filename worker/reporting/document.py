"""The frame of every object that we send: patient, study, series, equipment, times, file meta."""

import re
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from schemas.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME
from schemas.results import SOFTWARE_NAME, ResultContent
from worker.reporting.identities import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from worker.reporting.items import ascii_text
from worker.reporting.patient_study import copy_patient_and_study

_OFFSET = re.compile(r"([+-])(\d{2})([0-5]\d)")  # PS3.3 C.12.1.1, +hhmm or -hhmm


def new_object(
    content: ResultContent, header: Dataset, *, sop_class_uid: str, sop_instance_uid: str
) -> Dataset:
    """Return an object of the source's study, with equipment and times, without a series."""
    dataset = Dataset()
    copy_patient_and_study(header, dataset)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.StudyInstanceUID = content.source.study_instance_uid
    dataset.Manufacturer = SOFTWARE_NAME
    dataset.ManufacturerModelName = ascii_text(f"{content.release.name} {content.release.version}")
    dataset.DeviceSerialNumber = ascii_text(content.installation_id)
    dataset.SoftwareVersions = ascii_text(content.software_version)
    dataset.InstanceNumber = content.revision
    _set_times(dataset, content.created_at.astimezone(_zone(header, content.created_at)))
    _set_file_meta(dataset)
    return dataset


def private_scheme() -> Dataset:
    """Return what tells a receiver whose scheme 99BONEAGE is (PS3.3 C.12.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = SOFTWARE_NAME
    return item


def image_reference(*, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return the reference to one object, as sequences want it."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _zone(header: Dataset, created_at: datetime) -> timezone:
    """Return the zone that the copied study time is in: the header's, else that of our clock.

    One Timezone Offset From UTC holds for every time in an object (PS3.3 C.12.1.1).
    """
    stated = _OFFSET.fullmatch(str(header.get("TimezoneOffsetFromUTC") or "").strip())
    if stated is None:
        return timezone(created_at.utcoffset() or timedelta())
    sign, hours, minutes = stated.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if offset >= timedelta(hours=24):
        return timezone(created_at.utcoffset() or timedelta())
    return timezone(-offset if sign == "-" else offset)


def _set_times(dataset: Dataset, at: datetime) -> None:
    date, time = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = date
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = time
    dataset.TimezoneOffsetFromUTC = at.strftime("%z")[:5]


def _set_file_meta(dataset: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
