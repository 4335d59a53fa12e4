"""Open311's own words and forms: JSON and XML of one content, dates, and its errors. Pure.

Source: Open311 GeoReport v2 (https://wiki.open311.org/GeoReport_v2/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from xml.etree import ElementTree as ET

from pydantic import Field

from cloud.reports.domain import is_reportable
from common.runtime.config import Settings
from common.runtime.errors import InvalidError
from common.wire.categories import CATEGORIES, Category

Format = Literal["json", "xml"]
MEDIA_TYPES: Final[Mapping[str, str]] = {"json": "application/json", "xml": "text/xml"}
LONGEST: Final = timedelta(days=90)
MOST: Final = 1000
#: What XML 1.0 cannot carry, however it is written.
_UNWRITABLE: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Open311Settings(Settings):
    """What this ticket centre is to Open311."""

    jurisdiction_id: Annotated[
        str, Field(max_length=100, description="the domain it stands for; empty: any is taken")
    ] = ""
    publish: Annotated[
        Literal["own", "all"],
        Field(
            description="requests that anybody may read: those that came this way, or all, without their texts"
        ),
    ] = "own"


class Open311Error(InvalidError):
    """An error in the form of the specification, with its HTTP status."""

    def __init__(self, code: str, status: int, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are asked for."""

    ids: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    status: tuple[str, ...] = ()
    page: int = 1
    page_size: int = 100


def read_wanted(query: Mapping[str, str], now: datetime) -> Wanted:
    """A query's filters; without dates the last 90 days. Ids stand alone, as the specification has it.

    Raises:
        Open311Error: a filter that cannot be read.
    """
    ids = _listed(query.get("service_request_id", ""))
    if ids:
        return Wanted(ids=ids, page_size=MOST)
    since, until = _date(query, "start_date"), _date(query, "end_date")
    if since is None:
        since = (until or now) - LONGEST
    if until is not None and until < since:
        raise Open311Error("open311.wrong_date", 400, "expected start_date before end_date")
    status = _listed(query.get("status", "").casefold())
    if unknown := set(status) - {"open", "closed"}:
        raise Open311Error(
            "open311.wrong_status",
            400,
            f"expected the status open or closed, got {min(unknown)[:40]!r}",
        )
    return Wanted(
        codes=_listed(query.get("service_code", "")),
        since=since,
        until=until,
        status=status,
        page=_number(query, "page", 1, 10_000),
        page_size=_number(query, "page_size", 100, MOST),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())[:MOST]


def _date(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        # A + in an address is a blank; zones are often sent so.
        at = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", text))
    except ValueError as error:
        raise Open311Error(
            "open311.wrong_date", 400, f"expected {name} as 2026-06-01T08:00:00Z, got {text[:40]!r}"
        ) from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not 1970 < at.year < 2200:
        raise Open311Error("open311.wrong_date", 400, f"expected {name} of our time, got {text[:40]!r}")
    return at


def _number(query: Mapping[str, str], name: str, otherwise: int, most: int) -> int:
    text = query.get(name, "").strip() or str(otherwise)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise Open311Error(
            "open311.wrong_number", 400, f"expected {name} from 1 to {most}, got {text[:40]!r}"
        )
    return int(text)


def services() -> list[dict[str, Any]]:
    """What can be reported."""
    return [_service(one) for one in CATEGORIES if is_reportable(one.code)]


def _service(category: Category) -> dict[str, Any]:
    return {
        "service_code": category.code,
        "service_name": f"{category.zh} {category.en}",
        "description": category.en,
        "metadata": False,
        "type": "realtime",
        "keywords": f"{category.zh},{category.en}",
        "group": category.code.partition(".")[0],
    }


def write(form: str, content: Any, root: str, item: str = "") -> str:
    """A content in JSON or XML.

    Args:
        form: ``json`` or ``xml``.
        content: a list of mappings, or one mapping.
        root: the name of the XML root; JSON has none.
        item: the name of a list's elements in XML.
    """
    if form == "json":
        return json.dumps(content, ensure_ascii=False)
    top = ET.Element(root)
    if isinstance(content, Mapping):
        _fill(top, content)
    else:
        for one in content:
            _fill(ET.SubElement(top, item), one)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(top, encoding="unicode")


def _fill(element: ET.Element, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        child = ET.SubElement(element, name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            for one in value:
                _fill(ET.SubElement(child, name.removesuffix("s")), one)
        elif isinstance(value, bool):
            child.text = str(value).lower()
        elif value is not None:
            child.text = _UNWRITABLE.sub("\ufffd", str(value))


def write_errors(form: str, status: int, description: str) -> str:
    """An error as the specification has it."""
    return write(form, [{"code": status, "description": description}], "errors", "error")
