"""Alerts and dashboard: raised by what they are for, and about metrics that the worker has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from schemas.config import Config, HttpSection, StorageSection
from schemas.phantom import CONSTANCY_AE
from tests.deploy.programs import DEPLOY, told
from tests.orthanc import require_program
from tests.worker.http.conftest import Room
from tests.worker.queue.makers import arrival, claimed, result
from worker.app import clock, databases, web
from worker.queue.periodic import PeriodicRuns

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "boneage.json"
_METRIC = re.compile(r"\bboneage_[a-z_]+")


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    return require_program("promtool")


def test_prometheus_understands_its_configuration_with_the_alerts(promtool: str) -> None:
    code, printed = told([promtool, "check", "config", PROMETHEUS / "prometheus.yml"])

    assert code == 0, printed


def test_each_alert_is_raised_by_what_it_is_for(promtool: str) -> None:
    code, printed = told([promtool, "test", "rules", *sorted(PROMETHEUS.glob("*_test.yml"))])

    assert code == 0, printed


def test_every_alert_has_a_test() -> None:
    tested = {
        case["alertname"]
        for path in PROMETHEUS.glob("*_test.yml")
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }

    assert tested == {alert["alert"] for alert in alerts()}


@pytest.fixture
def exposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of every metric, from the real /metrics of a worker that has seen everything."""
    config = Config(storage=StorageSection(root=tmp_path), http=HttpSection(enabled=True))
    databases.prepare_database(config)
    engine = databases.engine(config)
    room = Room(root=tmp_path, engine=engine, config=config)
    monkeypatch.setattr(clock, "utc_now", room.clock)
    room.fill()
    room.queue.receive(arrival("2.1", calling_ae=CONSTANCY_AE))
    claim = claimed(room.queue)
    while claim.sop_instance_uid != "2.1":
        claim = claimed(room.queue)
    room.queue.settle(claim, result(claim, is_phantom=True, orders=()))
    PeriodicRuns(room.engine, now=room.clock).note("backup", is_success=False)
    with TestClient(web.http_application(config)) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    engine.dispose()
    samples = {sample.name for family in families for sample in family.samples}
    return samples | {family.name for family in families} | _suffixed(families)


def _suffixed(families: list[Any]) -> set[str]:
    """Counters and histograms show no sample until something was counted."""
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + end for family in families for end in ends.get(family.type, ())}


def test_every_metric_in_an_alert_is_one_that_the_worker_shows(exposed: set[str]) -> None:
    named = {name for alert in alerts() for name in _METRIC.findall(alert["expr"])}

    assert named - exposed == set()


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def test_every_metric_on_the_dashboard_is_one_that_the_worker_shows(exposed: set[str]) -> None:
    expressions = [target["expr"] for one in panels(dashboard()) for target in one["targets"]]
    named = {name for expression in expressions for name in _METRIC.findall(expression)}

    assert len(expressions) > 10
    assert named - exposed == set()


def test_prometheus_understands_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, target in enumerate(
            target for one in panels(dashboard()) for target in one["targets"]
        )
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, printed = told([promtool, "check", "rules", "--lint=none", path])

    assert code == 0, printed


def test_no_two_panels_lie_on_one_another() -> None:
    taken = [
        (x, y)
        for one in panels(dashboard())
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]

    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
