"""A storm over HTTP and on the page, on the real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.test_cloud_api import Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services


def test_a_storm_over_http_is_told_and_refused_with_codes(running: Running) -> None:  # noqa: F811
    with running.centre.database.transaction() as tx:
        tx.run("INSERT INTO storm_plan (categories, raise_to) VALUES ('{flood.*}', 4)")
    begin = {"unit_code": "street-a", "reason": "typhoon"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with running.client("supervisor") as somebody:
        for wrong, code in (
            ({"began_at": soon}, "storm.begins_in_future"),
            ({"ends_at": "2026-01-01T00:00:00Z"}, "storm.ends_in_past"),
            ({"unit_code": "water"}, "storm.unknown_area"),
            ({"reason": "  "}, "request.invalid"),
        ):
            assert_problem(somebody.post("/api/storms", json=begin | wrong), 422, code)
        begun = somebody.post("/api/storms", json=begin)
        assert begun.status_code == 201, begun.text
        assert_problem(somebody.post("/api/storms", json=begin), 409, "storm.going_on")
        end = f"/api/storms/{begun.json()['storm_id']}/actions"
        assert somebody.post(end, json={"action": "end", "reason": "over"}).json()["end_reason"] == "over"
        assert_problem(somebody.post(end, json={"action": "end", "reason": "over"}), 409, "storm.over")
        (told,) = somebody.get("/api/storms").json()["items"]
        assert [event["kind"] for event in told["events"]] == ["began", "ended"]
    with running.client("dispatcher") as somebody:
        assert_problem(somebody.post("/api/storms", json=begin), 403, "storm.forbidden")


def test_the_page_begins_and_ends_a_storm_and_says_so(running: Running) -> None:  # noqa: F811
    with running.centre.database.transaction() as tx:
        tx.run("INSERT INTO storm_plan (categories, raise_to) VALUES ('{flood.*}', 4)")
    with running.client("viewer") as viewer:
        assert "启动风暴模式" not in viewer.get("/?part=storm").text
    with running.client("supervisor") as somebody:
        token = somebody.headers["X-CSRF-Token"]
        shown = somebody.get("/").text
        assert "启动风暴模式" in shown
        begin = {
            "step": "begin",
            "unit_code": "street-a",
            "reason": "typhoon <Kong-rey>",
            "csrf_token": token,
        }
        assert somebody.post("/storms/actions", data=begin).status_code == 303
        part = somebody.get("/?part=storm").text
        assert "风暴模式：street-a" in part
        assert "typhoon &lt;Kong-rey&gt;" in part
        again = somebody.post("/storms/actions", data=begin)
        assert again.status_code == 409
        assert "该区域已处于风暴模式" in again.text
        assert somebody.get("/storms").status_code == 303
        end = {
            "step": "end",
            "storm_id": str(running.centre.value("SELECT storm_id FROM storm")),
            "csrf_token": token,
        }
        assert somebody.post("/storms/actions", data=end).status_code == 422  # without a reason
        assert somebody.post("/storms/actions", data=end | {"reason": "it is over"}).status_code == 303
        assert "风暴模式：street-a" not in somebody.get("/?part=storm").text
        somebody.cookies.set("drumtower_language", "en")
        assert "Begin storm mode" in somebody.get("/?part=storm").text
    assert running.centre.value("SELECT end_reason FROM storm") == "it is over"
