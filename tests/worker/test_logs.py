import io
import json
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from schemas.errors import NoSuchJobError
from worker.logs import ForbiddenLogKeyError, configure_logging, log

CANARY = "CANARYSON^JOHANNA"


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_key_outside_the_list_is_loud_in_tests() -> None:
    with pytest.raises(ForbiddenLogKeyError, match="patient_name"):
        log.info("receive.kept", patient_name=CANARY)


def test_a_key_outside_the_list_is_removed_and_counted_in_production() -> None:
    stream = io.StringIO()
    configure_logging(json_lines=True, stream=stream)

    log.info("receive.kept", job_id=7, patient_name=CANARY)

    (line,) = lines_of(stream)
    assert line["dropped_keys"] == 1
    assert line["job_id"] == 7
    assert CANARY not in stream.getvalue()


def test_a_traceback_gives_places_but_neither_locals_nor_the_foreign_text() -> None:
    stream = io.StringIO()
    configure_logging(json_lines=True, stream=stream)

    def parse(name: str) -> int:
        return int(name)

    try:
        parse(CANARY)
    except ValueError:
        log.exception("parse.failed", job_id=7)

    (line,) = lines_of(stream)
    assert line["category"] == "ValueError"
    assert "test_logs.py" in str(line["traceback"])
    assert CANARY not in stream.getvalue()


def test_the_cause_of_an_error_is_named_by_its_type() -> None:
    stream = io.StringIO()
    configure_logging(json_lines=True, stream=stream)
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise NoSuchJobError(job_id=3) from error
    except NoSuchJobError:
        log.exception("jobs.missing")

    (line,) = lines_of(stream)
    assert "ValueError" in str(line["traceback"])
    assert CANARY not in stream.getvalue()


def test_a_database_error_does_not_quote_its_parameters() -> None:
    stream = io.StringIO()
    configure_logging(json_lines=True, stream=stream)
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO nowhere VALUES (:name)"), {"name": CANARY})
    except DBAPIError:
        log.exception("database.failed")
    finally:
        engine.dispose()

    assert lines_of(stream)[0]["category"] == "OperationalError"
    assert CANARY not in stream.getvalue()


def test_the_process_stands_in_every_line() -> None:
    stream = io.StringIO()
    configure_logging(json_lines=True, process="infer:cpu", stream=stream)

    log.info("predict.done")

    assert lines_of(stream)[0]["process"] == "infer:cpu"


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logging(level="warning", json_lines=True, stream=stream)

    log.info("predict.done")

    assert stream.getvalue() == ""


LIBRARIES_SPEAK = f"""
import logging, threading, warnings
from worker.logs import configure_logging, silence_libraries
configure_logging(level="debug", json_lines=True)
silence_libraries()
import pydicom, pynetdicom
from pydicom.dataset import Dataset
dataset = Dataset()
dataset.PatientBirthDate = "{CANARY}"
warnings.warn("{CANARY}")
for name in ("pydicom", "pynetdicom", "pynetdicom.acse", "apscheduler", "stranger"):
    logging.getLogger(name).error("%s", "{CANARY}")
def fail():
    raise ValueError("{CANARY}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_no_library_warning_or_uncaught_error_quotes_a_value() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIBRARIES_SPEAK], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert CANARY not in ended.stdout + ended.stderr
    assert ended.stderr.count("logs.uncaught") == 2
    assert "stranger" in ended.stderr
