import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from tests.builders import hand_pixels, hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.chapters import answer_of, chapters_of
from worker.reporting.html_report import build_html
from worker.reporting.page import draw_page

HEADER = hand_radiograph()
PIXELS = hand_pixels().astype(np.float32)
CONTENTS = {
    "estimate": contents.estimated(HEADER),
    "both sexes": contents.of_unknown_sex(HEADER),
    "no birth date": contents.of_unknown_age(HEADER),
    "calibrated": contents.calibrated_girl(HEADER),
    "refusal": contents.refused(HEADER, RefusalReason.BOTH_HANDS),
}


class Words(HTMLParser):
    """Collects what a reader sees, and the source of each picture."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.feed(document)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_every_fact_of_the_report_stands_in_the_document(content: ResultContent) -> None:
    words = Words(build_html(content, draw_page(content, PIXELS, None))).words

    facts = [fact for chapter in chapters_of(content) for fact in chapter.facts]
    assert len(facts) > 8
    assert [one for one in facts if one.concept.meaning not in words] == []
    assert [one for one in facts if answer_of(one) not in words] == []


def test_the_picture_is_the_page_pixel_for_pixel() -> None:
    content = contents.estimated(HEADER)
    page = draw_page(content, PIXELS, None)

    (picture,) = Words(build_html(content, page)).pictures

    kind, _, data = picture.partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(b64decode(data)))), page)


def test_the_document_loads_nothing_and_runs_nothing() -> None:
    content = contents.estimated(HEADER)
    document = build_html(content, draw_page(content, PIXELS, None))

    assert not re.search(r"<script|<link|<iframe|https?://|\son\w+=", document)
    assert "default-src 'none'" in document


def test_the_document_names_nobody_but_the_image() -> None:
    content = contents.estimated(HEADER)
    document = build_html(content, draw_page(content, PIXELS, None))

    assert str(HEADER.PatientName) not in document
    assert str(HEADER.PatientID) not in document
    assert str(HEADER.PatientBirthDate) not in document
    assert f"Image {HEADER.SOPInstanceUID}. This document names no patient." in document


def test_words_from_a_file_are_not_taken_for_tags() -> None:
    content = contents.refused(HEADER)
    told = replace(content, reason_detail="<b>score</b> & more")

    document = build_html(told, draw_page(told, PIXELS, None))

    assert "<b>score</b>" not in document
    assert "<b>score</b> & more" in Words(document).words
