"""What is told, to whom, when, and in which words."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.config import CloudSettings
from cloud.notify.domain import Notification, is_stale, quiet_until, retry_after_s, takes
from cloud.notify.messages import dingtalk_body, mail, webhook_body, wecom_body
from cloud.notify.settings import NotifySettings, QuietHours
from cloud.notify.signing import dingtalk_query, webhook_headers
from cloud.notify.wording import words
from common.runtime.config import InvalidConfigError, parse_config
from common.runtime.errors import TransientError

NOON = datetime(2026, 6, 1, 12, tzinfo=DISTRICT_ZONE)
LATE = datetime(2026, 6, 1, 23, 30, tzinfo=DISTRICT_ZONE)
PAYLOAD: dict[str, Any] = {
    "ticket_id": "0190c3c8-0000-7000-8000-000000000001",
    "number": "DT-20260601-0001",
    "category": "flood.water_level",
    "severity": 2,
    "clock": "ack",
    "lon": 119.3,
    "lat": 26.08,
    "phone": "13800000000",
    "email": "",
}
CALL = Notification(7, "call_out", "water", "林工", "", PAYLOAD, "call_out:1:ack:1", NOON, NOON)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def settings(text: str) -> NotifySettings:
    return parse_config("notify:\n" + text, Path("cloud.yaml"), CloudSettings).notify


def channels(**changed: Any) -> NotifySettings:
    one = {"name": "desk", "kind": "webhook", "url": "https://h/x", "secret": {"env": "HOOK"}} | changed
    return NotifySettings.model_validate({"channels": [one]})


def test_a_signature_is_the_one_of_the_specifications_example() -> None:
    headers = webhook_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
        SECRET,
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_changed_both_sign() -> None:
    other = "whsec_" + base64.b64encode(b"k" * 32).decode()
    signatures = webhook_headers("msg_1", NOON, b"{}", f"{SECRET}\n{other}\n")["webhook-signature"].split()
    assert signatures == [
        webhook_headers("msg_1", NOON, b"{}", one)["webhook-signature"] for one in (SECRET, other)
    ]


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "not base64 at all!"])
def test_a_secret_that_is_none_signs_nothing_and_is_not_quoted(secret: str) -> None:
    with pytest.raises(TransientError) as caught:
        webhook_headers("msg_1", NOON, b"{}", secret)
    assert "c2hvcnQ" not in str(caught.value)


def test_a_dingtalk_robot_gets_the_timestamp_and_its_signature() -> None:
    asked = parse_qs(dingtalk_query(NOON, "SEC-test"))
    stamp = str(int(NOON.timestamp() * 1000))
    expected = hmac.new(b"SEC-test", f"{stamp}\nSEC-test".encode(), hashlib.sha256).digest()
    assert asked == {"timestamp": [stamp], "sign": [base64.b64encode(expected).decode()]}


def test_one_reason_has_one_id_that_holds_no_full_stop() -> None:
    again = replace(CALL, notification_id=8, created_at=LATE)
    other = replace(CALL, dedupe_key="call_out:1:ack:2")
    assert CALL.message_id == again.message_id != other.message_id
    assert "." not in CALL.message_id


def test_a_webhook_says_the_same_at_every_try() -> None:
    again = replace(CALL, notification_id=9)
    assert webhook_body(CALL) == webhook_body(again)
    told = json.loads(webhook_body(CALL))
    assert (told["type"], told["timestamp"]) == ("notification.call_out", "2026-06-01T04:00:00+00:00")
    assert told["data"] == PAYLOAD | {"kind": "call_out", "unit_code": "water", "person": "林工"}


def test_a_channel_takes_what_is_for_its_units_kinds_and_severity() -> None:
    def taken(above: set[str], **changed: Any) -> bool:
        return takes(channels(**changed).channels[0], CALL, above)

    assert taken({"water", "centre"})
    assert taken({"water", "centre"}, units=["centre"])
    assert not taken({"water", "centre"}, units=["east"])
    assert not taken({"water"}, kinds=["storm"])
    assert not taken({"water"}, min_severity=3)


def test_what_names_a_channel_goes_by_that_one_alone() -> None:
    channel = channels(units=["east"]).channels[0]
    assert takes(channel, replace(CALL, channel="desk"), {"water"})
    assert not takes(channel, replace(CALL, channel="mail"), {"east"})


def test_mail_goes_where_there_is_an_address() -> None:
    def box(to: list[str]) -> Any:
        one = {"name": "mail", "kind": "email", "host": "mx", "sender": "drum@example.org", "to": to}
        return NotifySettings.model_validate({"channels": [one]}).channels[0]

    own = replace(CALL, payload=PAYLOAD | {"email": "lin@example.org"})
    assert not takes(box([]), CALL, {"water"})
    assert takes(box([]), own, {"water"})
    assert takes(box(["desk@example.org"]), CALL, {"water"})


def quiet(**changed: Any) -> QuietHours:
    return QuietHours.model_validate({"hours": "22:00-07:00"} | changed)


REVIEW = replace(CALL, kind="review_due")


@pytest.mark.parametrize(("hour", "until"), [(21, None), (22, 7), (3, 7), (6, 7), (7, None)])
def test_what_can_wait_waits_for_the_morning(hour: int, until: int | None) -> None:
    at = NOON.replace(hour=hour)
    found = quiet_until([quiet()], REVIEW, {"water"}, at)
    assert (None if found is None else found.astimezone(DISTRICT_ZONE).hour) == until
    assert found is None or timedelta() < found - at <= timedelta(hours=9)


def test_calls_and_what_is_grave_are_told_at_any_hour() -> None:
    assert quiet_until([quiet()], CALL, {"water"}, LATE) is None
    grave = replace(REVIEW, payload=PAYLOAD | {"severity": 3})
    assert quiet_until([quiet()], grave, {"water"}, LATE) is None
    assert quiet_until([quiet(except_severity=4)], grave, {"water"}, LATE) is not None
    assert quiet_until([quiet(except_kinds=[])], CALL, {"water"}, LATE) is not None


def test_a_unit_or_a_person_may_have_quiet_hours_of_their_own() -> None:
    assert quiet_until([quiet(units=["centre"])], REVIEW, {"water", "centre"}, LATE) is not None
    assert quiet_until([quiet(units=["east"])], REVIEW, {"water", "centre"}, LATE) is None
    assert quiet_until([quiet(persons=["林工"])], REVIEW, {"water"}, LATE) is not None
    assert quiet_until([quiet(persons=["吴工"])], REVIEW, {"water"}, LATE) is None


def test_quiet_hours_that_follow_on_each_other_are_one() -> None:
    rules = [quiet(), quiet(hours="07:00-09:00")]
    assert quiet_until(rules, REVIEW, {"water"}, LATE) == datetime(2026, 6, 2, 9, tzinfo=DISTRICT_ZONE)


def test_hours_that_leave_no_minute_free_hold_nothing_for_ever() -> None:
    rules = [quiet(hours="00:00-12:00"), quiet(hours="12:00-24:00")]
    found = quiet_until(rules, REVIEW, {"water"}, NOON)
    assert found is not None
    assert found - NOON < timedelta(days=60)


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_a_cap_and_differ(attempts: int, chance: float) -> None:
    wait = retry_after_s(attempts, 5, 900, chance)
    full = min(900, 5 * 2 ** (attempts - 1))
    assert full / 2 <= wait <= full


def test_what_is_a_day_old_is_told_no_more() -> None:
    assert not is_stale(CALL, NOON + timedelta(hours=24), 86_400)
    assert is_stale(CALL, NOON + timedelta(hours=24, seconds=1), 86_400)
    assert not is_stale(replace(CALL, due_at=NOON + timedelta(hours=9)), NOON + timedelta(hours=30), 86_400)


def test_a_call_is_put_into_words_in_both_languages() -> None:
    chinese = words(CALL, {"water": "区水务局"}, "zh-CN", "https://centre.example.org/")
    assert chinese.title == "催办 · DT-20260601-0001 · 路面积水水位 · 一般"
    assert chinese.lines == (
        "单位:区水务局",
        "联系人:林工 13800000000",
        "原因:逾期未接单",
        "位置:119.30000, 26.08000(WGS-84)",
        "https://centre.example.org/tickets/0190c3c8-0000-7000-8000-000000000001",
    )
    english = words(CALL, {}, "en")
    assert english.title.startswith("Call-out · DT-20260601-0001")
    assert english.lines[:3] == ("Unit: water", "For: 林工 13800000000", "Why: not acknowledged in time")


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize(
    "kind", ["call_out", "escalated", "review_due", "storm", "called", "call_withdrawn", "call_late", "other"]
)
def test_every_kind_has_words(kind: str, language: str) -> None:
    said = words(replace(CALL, kind=kind, payload={}, person=""), {}, language)
    assert said.title
    assert said.text.count("\n") == 1


def test_a_wecom_text_is_cut_to_what_a_robot_takes_and_mentions_the_callee() -> None:
    long = replace(CALL, payload=PAYLOAD | {"reason": "水" * 300, "note": "深" * 300, "task": "泵" * 300})
    told = json.loads(wecom_body(long, words(long, {"water": "局" * 200}, "zh-CN")))
    assert told["msgtype"] == "text"
    assert len(told["text"]["content"].encode()) <= 2048
    assert told["text"]["mentioned_mobile_list"] == ["13800000000"]


def test_somebodys_words_are_no_markup_of_ours() -> None:
    sly = replace(CALL, payload=PAYLOAD | {"reason": "# all\n[here](x) @all"})
    text = json.loads(dingtalk_body(sly, words(sly, {}, "en")))["markdown"]["text"]
    assert "\\[here\\](x) \\@all" in text
    assert text.endswith("@13800000000")


def test_a_mail_has_the_id_of_its_reason_and_no_header_of_somebodys_making() -> None:
    sly = replace(CALL, payload=PAYLOAD | {"number": "1\r\nBcc: other@example.org"})
    message = mail(sly, words(sly, {}, "en"), "drum@example.org", ["lin@example.org"], NOON)
    assert message["Message-ID"] == f"<{CALL.message_id}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Bcc"] is None


def test_every_fault_of_the_channels_is_told_at_once() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        settings(
            """
  channels:
    - {name: desk, kind: webhook, url: ftp://host, secret: {}}
    - {name: desk, kind: dingtalk, url: {file: /etc/x, env: Y}}
    - {name: mail, kind: email, host: mx, security: none, user: u, password: {env: P}, sender: d@example.org}
    - {name: slow, kind: wecom, url: {env: Y}, timeout_s: 60}
  quiet: [{hours: "22:00-22:00"}, {hours: "25:00-07:00"}]
"""
        )
    said = str(caught.value)
    for part in (
        "https://host",
        "a file or a variable",
        "'desk' already",
        "not sent in the clear",
        "a third",
        "begin",
    ):
        assert part in said, part


def test_a_webhooks_address_holds_no_password() -> None:
    with pytest.raises(InvalidConfigError, match="without a password"):
        settings("  channels: [{name: a, kind: webhook, url: 'https://u:p@h/', secret: {env: X}}]\n")


def test_the_example_of_the_documents_is_accepted_as_it_stands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "work.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = parse_config(example, Path("cloud.yaml"), CloudSettings).notify
    assert [channel.kind for channel in found.channels] == ["webhook", "email", "wecom", "dingtalk"]
