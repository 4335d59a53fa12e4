"""Alert rules and dashboard that ship: they name metrics that there are, and each alert has a row in the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from docker.grafana import dashboard
from local.progress import Progress
from local.promtool import ensure_promtool, promtool
from local.served_metrics import ServedMetric, served_metrics

REPOSITORY = Path(__file__).parents[2]
PROMETHEUS = REPOSITORY / "docker" / "prometheus"
GRAFANA = REPOSITORY / "docker" / "grafana"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
CONFIG: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text(encoding="utf-8"))
DASHBOARD: dict[str, Any] = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
DRAWN: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: What Prometheus itself adds to every series.
GIVEN = {"job", "instance"}
RUNBOOK = "docs/operations.md#"


@pytest.fixture(scope="module")
def checker() -> Path:
    """Prometheus' own checker, which the set-up brings."""
    ensure_promtool(Progress())
    return promtool()


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression that ships, with where it stands."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in DRAWN:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def passed(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_expression_names_metrics_and_labels_that_there_are() -> None:
    known: dict[str, ServedMetric] = {name: metric for metric in served_metrics() for name in metric.series}
    for where, expr in expressions():
        named = re.findall(r"drumtower_\w+", expr)
        assert named or re.search(r"\bup\{|^vector\(1\)$", expr), f"{where} asks nothing of ours: {expr}"
        for name in named:
            assert name in known, f"{where} names {name}, which nobody serves"
        for name, selector in re.findall(r"(drumtower_\w+)\{([^}]*)\}", expr):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= {*known[name].labels, *GIVEN}, f"{where}: {name} has no such label: {selector}"


def test_what_alerts_select_by_label_is_what_the_code_sets() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "gateway").rglob("*.py"))
    code += (REPOSITORY / "common" / "schema" / "trouble.py").read_text(encoding="utf-8")
    for where, expr in expressions():
        for label, value in re.findall(r'(state|kind|directory)!?="([^"]+)"', expr):
            assert f'"{value}"' in code or f".{value}" in code, f"{where}: no {label} is called {value}"


def test_alerts_are_plain_and_lead_to_a_row_of_the_runbook() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    for rule in ALERTS:
        name, told = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in {"critical", "warning", "none"}
        assert told["summary"].endswith("."), name
        anchor = told["runbook"].removeprefix(RUNBOOK)
        assert anchor == f"alert-{name.lower()}"
        assert f'<a id="{anchor}"></a>`{name}`' in page, f"{name} has no row in docs/operations.md"
    anchors = set(re.findall(r'<a id="(alert-[a-z]+)">', page))
    assert anchors == {f"alert-{name.lower()}" for name in names}, "a row of an alert that there is no more"


def test_alerts_name_jobs_that_are_asked() -> None:
    jobs = {job["job_name"] for job in CONFIG["scrape_configs"]}
    assert jobs == {"drumtower-gateway", "drumtower-cloud", "drumtower-edge"}
    for where, expr in expressions():
        for job in re.findall(r'job="([^"]+)"', expr):
            assert job in jobs, where


def test_prometheus_takes_the_rules_and_the_configuration(checker: Path) -> None:
    for what, file in (("config", "prometheus.yaml"), ("rules", "alerts.yaml")):
        passed(
            subprocess.run(
                [checker, "check", what, PROMETHEUS / file], capture_output=True, text=True, check=False
            )
        )


def test_alerts_tell_what_they_should_and_nothing_else(checker: Path) -> None:
    cases = REPOSITORY / "tests" / "fixtures" / "alert_cases.yaml"
    ran = subprocess.run([checker, "test", "rules", cases], capture_output=True, text=True, check=False)
    passed(ran)


def test_every_alert_is_seen_to_fire_in_some_case() -> None:
    """By Prometheus' own judgement, from series that only its cause brings: `promtool` runs the cases, see above."""
    cases = yaml.safe_load((REPOSITORY / "tests/fixtures/alert_cases.yaml").read_text(encoding="utf-8"))
    fired = {
        one["alertname"]
        for case in cases["tests"]
        for one in case.get("alert_rule_test", ())
        if one["exp_alerts"]
    }
    always = {rule["alert"] for rule in ALERTS if rule["expr"] == "vector(1)"}
    assert fired | always == {rule["alert"] for rule in ALERTS}
    given = {
        re.split(r"[{ ]", series["series"])[0] for case in cases["tests"] for series in case["input_series"]
    }
    served = {name for metric in served_metrics() for name in metric.series} | {"up"}
    assert given <= served, "a case with a metric that nobody serves proves nothing"


def test_prometheus_takes_every_expression_of_the_dashboard(checker: Path, tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": expr} for number, (_, expr) in enumerate(expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    passed(subprocess.run([checker, "check", "rules", file], capture_output=True, text=True, check=False))


def test_the_dashboard_is_as_its_module_writes_it() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.written(), (
        "run python -m docker.grafana.dashboard"
    )


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    assert len(DRAWN) >= 20
    for panel in DRAWN:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert all(target["legendFormat"] for target in panel["targets"])
    titles = [panel["title"] for panel in DRAWN]
    assert len(set(titles)) == len(titles)


def test_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_the_dashboard_finds_the_source_that_is_provisioned() -> None:
    assert DASHBOARD["uid"] == dashboard.UID
    source = GRAFANA / "provisioning" / "datasources" / "prometheus.yaml"
    (provisioned,) = yaml.safe_load(source.read_text(encoding="utf-8"))["datasources"]
    assert {panel["datasource"]["uid"] for panel in DRAWN} == {provisioned["uid"]}
    provider = GRAFANA / "provisioning" / "dashboards" / "drumtower.yaml"
    (found,) = yaml.safe_load(provider.read_text(encoding="utf-8"))["providers"]
    assert found["options"]["path"] == "/var/lib/grafana/dashboards"
