import re
import zlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from schemas.results import ResultContent
from tests.worker.reporting import contents
from tests.worker.reporting.test_html_report import CONTENTS, HEADER, PIXELS
from worker.reporting.chapters import answer_of, chapters_of
from worker.reporting.page import draw_page
from worker.reporting.pdf_report import build_pdf


def streams_of(document: bytes) -> list[bytes]:
    """Return every stream of a PDF, inflated where it is deflated."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", document, flags=re.DOTALL)
    inflated = []
    for stream in found:
        try:
            inflated.append(zlib.decompress(stream))
        except zlib.error:
            inflated.append(stream)
    return inflated


def words_of(document: bytes) -> str:
    drawn = [stream for stream in streams_of(document) if b"BT" in stream]
    return " ".join(map(words_in, drawn))


def words_in(stream: bytes) -> str:
    """Return the strings of the text operators, run together; a character has one byte or two."""
    strings = re.findall(rb"\(((?:\\.|[^\\()])*)\)", stream, flags=re.DOTALL)
    plain = b"".join(re.sub(rb"\\(.)", rb"\1", one) for one in strings)
    return plain.replace(b"\0", b"").decode("latin-1")


def without_blanks(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_every_fact_of_the_report_can_be_searched_for(content: ResultContent) -> None:
    said = without_blanks(words_of(build_pdf(content, draw_page(content, PIXELS, None))))

    facts = [fact for chapter in chapters_of(content) for fact in chapter.facts]
    # "fi" and "fl" are one glyph, which only the font's own table takes apart again
    answers = {
        without_blanks(answer_of(fact))
        for fact in facts
        if len(answer_of(fact)) < 60 and not re.search("fi|fl", answer_of(fact))
    }
    assert len(answers) > 5
    assert {answer for answer in answers if answer not in said} == set()


def test_equal_results_give_equal_documents() -> None:
    content = contents.estimated(HEADER)
    page = draw_page(content, PIXELS, None)

    assert build_pdf(content, page) == build_pdf(content, page)


def test_the_time_of_the_document_is_that_of_the_result() -> None:
    content = contents.estimated(HEADER)
    later = replace(content, created_at=content.created_at + timedelta(days=1))

    document = build_pdf(later, draw_page(later, PIXELS, None))

    assert b"(D:20260106090203Z)" in document


def test_the_page_is_kept_without_loss() -> None:
    content = contents.estimated(HEADER)
    page = draw_page(content, PIXELS, None)

    document = build_pdf(content, page)

    assert b"/DCTDecode" not in document  # no JPEG
    assert f"/Width {page.shape[1]}".encode() in document
    assert f"/Height {page.shape[0]}".encode() in document


def test_every_sheet_says_that_it_is_not_for_diagnosis() -> None:
    content = contents.estimated(HEADER)
    document = build_pdf(content, draw_page(content, PIXELS, None))

    sheets = [stream for stream in streams_of(document) if b"BT" in stream]
    assert len(sheets) > 1
    for sheet in sheets:
        assert "RESEARCHUSEONLY-NOTFORDIAGNOSIS" in without_blanks(words_in(sheet))


def test_the_document_names_nobody() -> None:
    content = contents.estimated(HEADER)
    said = words_of(build_pdf(content, np.zeros((30, 40, 3), dtype=np.uint8)))

    assert "Lind" not in said
    assert str(HEADER.PatientBirthDate) not in said
    assert "namesnopatient" in without_blanks(said)
