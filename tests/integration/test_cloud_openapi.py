"""The whole interface, asked what its own document allows and what it does not: no 5xx, nothing undocumented.

Schemathesis draws the requests from the document; a fixed seed and few examples each keep it bounded. What it draws
for ids leads nowhere, so half of the requests go to things that are there.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fixtures.centre import sign_in
from tests.integration.test_cloud_api import SHA, Running, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 6
#: It never ends; its tests are in test_cloud_stream.py.
ENDLESS = "/api/stream"


def test_no_request_meets_a_fault_of_ours_or_an_answer_that_is_not_documented(
    running: Running,  # noqa: F811 - the fixture
) -> None:
    there = things(running)
    document = httpx.get(f"{running.url}/api/openapi.json", timeout=60).json()
    token, csrf = sign_in(running.centre.database, running.centre.clock, "admin")
    sent = {"cookies": {"drumtower_session": token}, "headers": {"X-CSRF-Token": csrf}, "timeout": 60}
    faults, asked = list[str](), set[str]()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        asked.add(operation.label)
        known = {name: value for name, value in there.items() if f"{{{name}}}" in operation.path}
        for requests in drawn(operation, known):
            faults += faults_of(requests, running.url, sent)
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)
    count = sum(len(item) for item in document["paths"].values())
    assert len(asked) == count - 1


def things(running: Running) -> dict[str, str]:  # noqa: F811 - the fixture
    """Ids of what is there."""
    (running.evidence / "ab").mkdir()
    (running.evidence / "ab" / f"{SHA}.jpg").write_bytes(b"\xff\xd8 a picture")
    ticket_id = running.centre.open_one()
    report = {"category": "smoke.alarm", "description": "it smells", "lon": 119.295, "lat": 26.0805}
    with running.client("admin") as admin:
        filed = admin.post(
            "/api/reports", json={"channel": "hotline", **report}, headers={"Idempotency-Key": "a-report-1"}
        ).json()
    return {
        "ticket_id": str(ticket_id),
        "sha256": SHA,
        "report_id": filed["report_id"],
        "receipt": filed["receipt"],
    }


def drawn(operation: Any, known: dict[str, str]) -> list[st.SearchStrategy[Any]]:
    """Requests that the document allows, to things that are there and to others, and requests that it does not."""
    allowed, forbidden = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    strategies = [operation.as_strategy(allowed)]
    if known:
        strategies.append(operation.as_strategy(allowed, path_parameters=known))
    if any(operation.iter_parameters()) or operation.body:
        strategies.append(operation.as_strategy(forbidden))
    return strategies


def faults_of(requests: st.SearchStrategy[Any], url: str, sent: dict[str, Any]) -> list[str]:
    """What the answers to some of these requests break, each kind once."""
    found: dict[str, str] = {}

    @seed(1271)
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def ask(case: Any) -> None:
        response = case.call(base_url=url, **sent)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                kind = f"{case.operation.label} {response.status_code}: {failure}"
                found.setdefault(
                    kind.splitlines()[0], f"{kind}\n{case.as_curl_command()}\n{response.text[:600]}"
                )
        except Failure as failure:
            kind = f"{case.operation.label} {response.status_code}: {failure}"
            found.setdefault(kind.splitlines()[0], f"{kind}\n{case.as_curl_command()}\n{response.text[:600]}")

    ask()
    return list(found.values())
