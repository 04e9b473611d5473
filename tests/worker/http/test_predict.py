"""The interface of deeplasia-service, as its clients use it."""

import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from schemas.config import HttpSection, PredictSection
from schemas.errors import DeviceError
from schemas.estimates import GateVerdict, HandImage, Reading
from schemas.refusals import RefusalReason
from tests.builders import hand_pixels, hand_radiograph
from tests.fakes import StubEstimator
from tests.worker.http.conftest import CANARY, TOKEN, Room, Serve
from tests.worker.inference.conftest import image_reader
from worker.app import readers, web

WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


class Service:
    """The process with images by HTTP enabled, and a client of it."""

    def __init__(self, room: Room, serve: Serve, patch: pytest.MonkeyPatch) -> None:
        self._room, self._serve, self._patch = room, serve, patch
        self.loads = 0

    def start(self, estimator: StubEstimator | None = None, **settings: object) -> httpx.Client:
        reader = image_reader(estimator or StubEstimator(), clock=self._room.clock)

        def load(*_: object, **__: object) -> object:
            self.loads += 1
            return reader

        self._patch.setattr(readers, "image_reader", load)
        predict = PredictSection.model_validate({"enabled": True} | settings)
        token_file = self._room.config.http.token_file
        http = HttpSection(enabled=True, token_file=token_file, predict=predict)
        return self._serve(
            web.http_application(self._room.config.model_copy(update={"http": http}))
        )


@pytest.fixture
def service(room: Room, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(room, serve, monkeypatch)


def png(*, colour: bool = False, bits: int = 8) -> bytes:
    pixels = hand_pixels(bits=bits)
    picture = cv2.applyColorMap(pixels, cv2.COLORMAP_JET) if colour else pixels
    return cv2.imencode(".png", picture)[1].tobytes()


def dicom(**overrides: object) -> bytes:
    target = BytesIO()
    hand_radiograph(**overrides).save_as(target, enforce_file_format=True)
    return target.getvalue()


def post(client: httpx.Client, content: bytes | None = None, /, **fields: str) -> httpx.Response:
    file = {"file": ("hand.png", png() if content is None else content)}
    return client.post("/predict", files=file, data=fields, headers=WITH_TOKEN)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("sent", "used", "months"),
    [
        ("female", "female", 114.0),
        ("F", "female", 114.0),
        ("m", "male", 120.0),
        ("Male", "male", 120),
    ],
)
def test_a_picture_with_its_sex_gets_its_months(
    service: Service, sent: str, used: str, months: float
) -> None:
    answer = post(service.start(), sex=sent, use_mask="true")

    assert answer.status_code == 200
    told = answer.json()
    assert (told["bone_age"], told["used_sex"], told["sex_predicted"]) == (months, used, False)
    assert told["interval_months"] == [months - 15, months + 15]
    assert [one["bone_age"] for one in told["members"]] == [months - 1, months + 1]


def test_without_a_sex_both_are_told_and_none_is_chosen(service: Service) -> None:
    answer = post(service.start())

    assert error(answer) == (422, "http.sex_unknown")
    assert "bone_age" not in answer.json()
    assert answer.json()["by_sex"]["female"]["bone_age"] == 114.0
    assert answer.json()["by_sex"]["male"]["bone_age"] == 120.0


def test_a_dicom_file_brings_its_sex(service: Service) -> None:
    told = post(service.start(), dicom()).json()

    assert (told["used_sex"], told["sex_source"], told["bone_age"]) == (
        "female",
        "patient_sex",
        114.0,
    )


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", [".png", ".tiff", ".jpg", ".webp"])
def test_every_kind_of_picture_is_read(service: Service, ending: str, bits: int) -> None:
    pixels = hand_pixels(bits=8 if ending in (".jpg", ".webp") else bits)
    content = cv2.imencode(ending, pixels)[1].tobytes()

    assert post(service.start(), content, sex="f").status_code == 200


def test_false_is_false_and_has_no_effect(service: Service) -> None:
    client = service.start()
    told = post(client, sex="f", use_mask="False", mask_crop="1.15").json()

    assert told["bone_age"] == post(client, sex="f").json()["bone_age"]
    assert told["ignored_fields"] == ["use_mask", "mask_crop"]
    assert told["mask_used"] is False


class MaskingEstimator(StubEstimator):
    """Of a release with a mask network: the hand alone is two years older than the whole image."""

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        return [
            replace(
                StubEstimator(age_months=100.0 if one.is_whole else 124.0).read([one])[0],
                mask_used=not one.is_whole,
            )
            for one in images
        ]


@pytest.mark.parametrize(
    ("sent", "months"), [({"use_mask": "False"}, 100.0), ({"use_mask": "true"}, 124.0), ({}, 124.0)]
)
def test_a_release_with_a_mask_network_reads_the_hand_alone_unless_told(
    service: Service, sent: dict[str, str], months: float
) -> None:
    told = post(service.start(MaskingEstimator()), sex="m", **sent).json()

    assert told["bone_age"] == months
    assert told["mask_used"] is (months > 100)
    assert told["ignored_fields"] == []


@pytest.mark.parametrize(
    "fields",
    [{"sex": "x"}, {"sex": "f", "use_mask": "maybe"}, {"sex": "f", "patient": CANARY}],
)
def test_a_field_that_cannot_be_understood_is_a_bad_request(
    service: Service, fields: dict[str, str]
) -> None:
    answer = post(service.start(), **fields)

    assert error(answer) == (400, "http.bad_request")
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    "request_body",
    [
        {"json": {"sex": "f"}},
        {"data": {"sex": "f"}},
        {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}},
        {
            "content": b"nonsense" * 99,
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
        {"content": b""},
        {"content": b"x"},
        {"content": b"x", "headers": {"Content-Type": "image/png"}},
        {"files": {"image": ("hand.png", b"x")}},
        {"files": {"file": ("hand.png", b"")}},
        {"files": [("file", ("a", b"x")), ("file", ("b", b"y"))]},
        {"files": {"file": ("hand.png", b"x")}, "data": {"sex": "f" * 5000}},
        {"files": {"file": ("hand.png", b"x")}, "data": {"sex": ["f", "m"]}},
    ],
)
def test_a_request_without_one_image_is_a_bad_request(
    service: Service, request_body: dict[str, Any]
) -> None:
    client = service.start(require_token=False)

    assert error(client.post("/predict", **request_body)) == (400, "http.bad_request")


@pytest.mark.parametrize(
    "content",
    [b"not a picture", b"\0" * 128 + b"DICM" + b"nonsense" * 9, png()[:60], b"GIF89a" + bytes(99)],
)
def test_what_is_no_image_cannot_be_read(service: Service, content: bytes) -> None:
    assert error(post(service.start(), content, sex="f")) == (422, "unsuitable.unreadable_pixels")


def test_a_coloured_picture_is_refused(service: Service) -> None:
    answer = post(service.start(), png(colour=True), sex="f")

    assert error(answer) == (422, "unsuitable.unsupported_image")


def test_what_the_gate_refuses_gets_no_number(service: Service) -> None:
    verdict = GateVerdict(
        refusal=RefusalReason.NOT_A_HAND, keyword="shape", found="3", expected="at most 2"
    )
    answer = post(service.start(StubEstimator(verdict=verdict)), sex="f")

    assert error(answer) == (422, "unsuitable.not_a_hand")
    assert "bone_age" not in answer.text


def test_an_adult_gets_no_number(service: Service) -> None:
    answer = post(service.start(), dicom(PatientBirthDate="19700101"))

    assert error(answer) == (422, "unsuitable.age_outside_range")


@pytest.mark.parametrize("megabytes", [1.2, 3, 9])
def test_an_upload_beyond_the_limit_is_told_so(service: Service, megabytes: float) -> None:
    client = service.start(largest_upload_megabytes=1)

    answer = post(client, bytes(int(megabytes * 1024 * 1024)), sex="f")

    assert error(answer) == (413, "http.too_large")
    assert "1 MB" in answer.json()["message"]


def test_a_small_file_that_unfolds_to_a_giant_is_not_unfolded(service: Service) -> None:
    giant = cv2.imencode(".png", np.zeros((12000, 6000), dtype=np.uint8))[1].tobytes()

    assert len(giant) < 200_000
    assert error(post(service.start(), giant, sex="f")) == (413, "http.too_large")


def test_a_dicom_file_that_states_a_giant_is_not_decoded(service: Service) -> None:
    answer = post(service.start(), dicom(Rows=60000, Columns=60000))

    assert error(answer) == (413, "http.too_large")


def test_deflated_dicom_is_not_unfolded(service: Service) -> None:
    plain = dicom()
    syntax = ExplicitVRLittleEndian.encode() + b"\0"
    content = (
        plain.replace(
            syntax + b"\2\0\x12\0", DeflatedExplicitVRLittleEndian.encode() + b"\2\0\x12\0"
        )
        + zlib.compress(b"\0" * 1000)
        + DeflatedExplicitVRLittleEndian.encode()
    )

    assert error(post(service.start(), content)) == (422, "unsuitable.unreadable_pixels")


def test_a_device_that_fails_is_a_reason_to_try_again(service: Service) -> None:
    answer = post(service.start(StubEstimator(error=DeviceError(fault="gone"))), sex="f")

    assert error(answer) == (503, "inference.device")
    assert answer.headers["retry-after"] == "5"


def test_a_bug_is_answered_without_its_words(service: Service) -> None:
    answer = post(service.start(StubEstimator(error=RuntimeError(CANARY))), sex="f")

    assert error(answer) == (500, "bug")
    assert CANARY not in answer.text


def test_one_too_many_is_asked_to_come_again(service: Service) -> None:
    go_on, first_reads = threading.Event(), threading.Event()

    def wait() -> None:
        first_reads.set()
        assert go_on.wait(timeout=120)

    client = service.start(StubEstimator(before_read=wait))
    with ThreadPoolExecutor(max_workers=9) as pool:
        try:
            sent = [pool.submit(post, client, sex="f") for _ in range(9)]
            assert first_reads.wait(timeout=30)
            busy = [one.result() for one in islice(as_completed(sent, timeout=60), 4)]
            assert {error(one) for one in busy} == {(503, "http.busy")}
        finally:
            go_on.set()
        statuses = sorted(one.result().status_code for one in sent)

    assert statuses == [200] * 5 + [503] * 4


def test_the_release_is_loaded_once_and_not_before_it_is_needed(service: Service) -> None:
    client = service.start()
    before = service.loads
    for _ in range(2):
        post(client, sex="f")

    assert (before, service.loads) == (0, 1)


def test_the_token_is_needed_unless_the_settings_say_otherwise(service: Service) -> None:
    file = {"file": ("hand.png", png())}
    refused = service.start().post("/predict", files=file, data={"sex": "f"})
    taken = service.start(require_token=False).post("/predict", files=file, data={"sex": "f"})

    assert error(refused) == (401, "http.unauthorised")
    assert taken.status_code == 200


def test_it_is_off_by_default(client: httpx.Client) -> None:
    assert post(client, sex="f").status_code == 404
    assert client.get("/upload").status_code == 404


def test_programs_find_the_description_at_the_first_address(service: Service) -> None:
    client = service.start()
    described = client.get("/").json()

    assert described["openapi"] == "3.0.3"
    form = described["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) == {
        "file",
        "sex",
        "use_mask",
        "mask_crop",
        "use_invChecker",
    }
    told = described["paths"]["/predict"]["post"]["responses"]["200"]["content"]
    keys = set(told["application/json"]["schema"]["properties"])
    assert keys == set(post(client, sex="f").json())
    assert client.get("/", headers={"Accept": "text/html"}).headers["location"] == "/status"


def test_the_upload_page_shows_image_outline_heatmap_and_each_member(service: Service) -> None:
    client = service.start()
    form = client.get("/upload")
    page = client.post(
        "/upload", files={"file": ("hand.png", png())}, data={"sex": "female", "token": TOKEN}
    )

    assert 'type="password"' in form.text
    assert page.status_code == 200
    assert page.text.count("data:image/jpeg;base64,") == 2
    assert "<polygon" in page.text
    for shown in ("<strong>114.0</strong>", "9 years 6 months", "113.0 months", "115.0 months"):
        assert shown in page.text


def test_the_upload_page_shows_both_sexes_when_nobody_says_which(service: Service) -> None:
    page = service.start(require_token=False).post("/upload", files={"file": ("a", png())})

    for shown in ("If a girl", "If a boy", "<strong>114.0</strong>", "<strong>120.0</strong>"):
        assert shown in page.text


def test_the_upload_page_says_why_there_is_no_estimate(service: Service) -> None:
    client = service.start()
    wrong = client.post("/upload", files={"file": ("a", png())}, data={"token": "wrong"})
    no_hand = client.post("/upload", files={"file": ("a", b"x")}, data={"token": TOKEN})

    assert (wrong.status_code, no_hand.status_code) == (401, 422)
    assert "not the token of this installation" in wrong.text
    assert "could not be decoded" in no_hand.text


def test_no_name_is_on_the_page_or_in_the_answer(service: Service) -> None:
    client = service.start()
    content = dicom(PatientName=CANARY, PatientID=CANARY)
    page = client.post("/upload", files={"file": (CANARY, content)}, data={"token": TOKEN})

    assert page.status_code == 200
    for text in (page.text, post(client, content).text):
        assert CANARY not in text
