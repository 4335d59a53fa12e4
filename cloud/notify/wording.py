"""A notification in words, in Chinese and English. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.notify.domain import Notification
from common.wire.categories import BY_CODE

_ZH: Final = {
    "call_out": "催办",
    "escalated": "提级",
    "review_due": "挂起复核到期",
    "storm": "风暴模式",
    "storm.began": "风暴模式启动",
    "storm.ended": "风暴模式结束",
    "called": "吹哨",
    "call_withdrawn": "撤回吹哨",
    "call_late": "吹哨未报到",
    "task": "会商事项",
    "task_due": "会商事项逾期",
    "adviser_asked": "请专家会诊",
    "test": "测试",
    "severity": ("", "提示", "一般", "严重", "紧急"),
    "clock.assign": "逾期未派单",
    "clock.ack": "逾期未接单",
    "clock.arrive": "逾期未到场",
    "clock.resolve": "逾期未办结",
    "unit": "单位:{}",
    "person": "联系人:{}",
    "why": "原因:{}",
    "step": "提级至:{}",
    "by": "期限:{}",
    "what": "事项:{}",
    "place": "位置:{:.5f}, {:.5f}(WGS-84)",
    "note": "说明:{}",
}
_EN: Final = {
    "call_out": "Call-out",
    "escalated": "Escalated",
    "review_due": "Suspension to be looked at again",
    "storm": "Storm mode",
    "storm.began": "Storm mode began",
    "storm.ended": "Storm mode ended",
    "called": "Whistle: you are called",
    "call_withdrawn": "You are no longer called",
    "call_late": "Called and not there",
    "task": "Agreed at the conference",
    "task_due": "Agreed at the conference and overdue",
    "adviser_asked": "Your advice is asked for",
    "test": "Test",
    "severity": ("", "notice", "ordinary", "serious", "critical"),
    "clock.assign": "no owner in time",
    "clock.ack": "not acknowledged in time",
    "clock.arrive": "not on site in time",
    "clock.resolve": "not resolved in time",
    "unit": "Unit: {}",
    "person": "For: {}",
    "why": "Why: {}",
    "step": "Escalated to: {}",
    "by": "Due: {}",
    "what": "What: {}",
    "place": "Place: {:.5f}, {:.5f} (WGS-84)",
    "note": "Note: {}",
}
_LANGUAGES: Final[Mapping[str, Mapping[str, Any]]] = {"zh-CN": _ZH, "en": _EN}
_LONGEST_NOTE: Final = 300


@dataclass(frozen=True, slots=True)
class Words:
    """A message for people: one line that says what, and what one has to know."""

    title: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join((self.title, *self.lines))


def words(
    notification: Notification, unit_names: Mapping[str, str], language: str, page_url: str | None = None
) -> Words:
    """Put a notification into words.

    Args:
        notification: what is to be told.
        unit_names: code → name in that language; a code without a name stands for itself.
        language: ``zh-CN`` or ``en``.
        page_url: where the page is; the last line links to the ticket.
    """
    said, payload = _LANGUAGES[language], notification.payload
    lines = [said["unit"].format(unit_names.get(notification.unit_code, notification.unit_code))]
    if notification.person or notification.phone:
        lines.append(said["person"].format(f"{notification.person} {notification.phone}".strip()))
    if (step := payload.get("step_zh" if language == "zh-CN" else "step_en")) is not None:
        lines.append(said["step"].format(_line(step)))
    if (why := said.get(f"clock.{payload.get('clock')}")) is not None:
        lines.append(said["why"].format(why))
    lines += [
        said[name].format(_line(payload[key]))
        for name, key in (("what", "task"), ("why", "reason"), ("note", "note"))
        if payload.get(key)
    ]
    if payload.get("due_at"):
        lines.append(said["by"].format(_instant(payload["due_at"])))
    if "lon" in payload and "lat" in payload:
        lines.append(said["place"].format(payload["lon"], payload["lat"]))
    if page_url:
        ticket = f"/tickets/{payload['ticket_id']}" if payload.get("ticket_id") else ""
        lines.append(page_url.rstrip("/") + ticket)
    return Words(_title(notification, said, language), tuple(lines))


def _title(notification: Notification, said: Mapping[str, Any], language: str) -> str:
    payload, kind = notification.payload, notification.kind
    parts = [said.get(f"{kind}.{payload.get('what')}") or said.get(kind) or kind]
    if payload.get("number"):
        parts.append(_line(payload["number"]))
    category = BY_CODE.get(str(payload.get("category")))
    if category is not None:
        parts.append(category.zh if language == "zh-CN" else category.en)
    if notification.severity is not None:
        parts.append(said["severity"][notification.severity])
    return " · ".join(parts)


def _line(value: object) -> str:
    """Somebody's words in one line: they may hold anything."""
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_NOTE else text[: _LONGEST_NOTE - 1] + "…"


def _instant(text: object) -> str:
    at = datetime.fromisoformat(str(text))
    return f"{at.astimezone(DISTRICT_ZONE):%Y-%m-%d %H:%M}"
