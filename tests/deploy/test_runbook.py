"""The runbook: whatever calls somebody at night has its section, with what to do first."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

import models
import schemas
import worker
from schemas.config import Config, HttpSection, StorageSection
from tests.deploy.programs import DEPLOY
from tests.test_house_rules import all_errors, modules_of
from worker.app import databases, web

ROOT = DEPLOY.parent
RUNBOOK = (DEPLOY / "docs" / "runbook.md").read_text(encoding="utf-8")
PARTS = ("Symptom", "Means", "First", "Call")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def named_as(part: str) -> set[str]:
    """Return every word in backquotes that stands behind ``part`` in some section."""
    lines = re.findall(rf"^- \*\*{part}\.\*\* (.*)$", RUNBOOK, flags=re.MULTILINE)
    return {word for line in lines for word in re.findall(r"`([^`]+)`", line)}


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("title", sections())
def test_every_section_says_what_it_must(title: str) -> None:
    assert [part for part in PARTS if f"- **{part}.** " not in sections()[title]] == []


def test_every_alert_has_its_section_and_leads_there() -> None:
    for alert in alerts():
        name = alert["alert"]
        assert name in sections()
        assert alert["annotations"]["runbook"] == f"deploy/docs/runbook.md#{name.lower()}"


def test_every_section_that_is_named_like_an_alert_is_one() -> None:
    titles = {title for title in sections() if title.startswith("Boneage")}

    assert titles == {alert["alert"] for alert in alerts()}


def test_every_error_code_has_a_section() -> None:
    for package in (schemas, models, worker):
        assert list(modules_of(package))
    codes = {error.code for error in all_errors() if error.__module__.split(".")[0] != "tests"}

    assert codes - named_as("Codes") == set()


def test_every_code_in_the_runbook_is_one_that_we_have() -> None:
    for package in (schemas, models, worker):
        assert list(modules_of(package))

    assert named_as("Codes") - {error.code for error in all_errors()} == {"bug.*"}


def kinds_of_notices() -> Iterator[str]:
    """Yield the kind of every trouble that the code can tell of: what its key begins with."""
    for path in (ROOT / "worker").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        yield from re.findall(r"Trouble\(\s*key=f?\"(\w+)", text)


def test_every_kind_of_notice_has_a_section() -> None:
    found = set(kinds_of_notices())

    assert "failed_jobs" in found
    assert found - named_as("Notices") - {"check"} == set()


def test_every_check_of_the_health_has_a_section(tmp_path: Path) -> None:
    config = Config(storage=StorageSection(root=tmp_path), http=HttpSection(enabled=True))
    databases.prepare_database(config)
    with TestClient(web.http_application(config)) as client:
        answers = [client.get(address).json() for address in ("/healthz", "/readyz")]
    names = {f"check:{check['name']}" for answer in answers for check in answer["checks"]}

    assert len(names) >= 4
    assert names - named_as("Notices") == set()


def documents() -> list[Path]:
    return sorted(DEPLOY.rglob("*.md"))


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_link_in_a_document_leads_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors_of(linked), target
