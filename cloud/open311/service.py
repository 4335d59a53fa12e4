"""Open311's requests are reports: filed and read here in its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from cloud.auth.domain import Account, Caller
from cloud.auth.roles import ALLOWED
from cloud.auth.tokens import TokenService
from cloud.db import Database
from cloud.open311 import repo
from cloud.open311.domain import Open311Error, Open311Settings, Wanted, read_wanted, services
from cloud.reports.schemas import ReportBody, Reporter
from cloud.reports.service import Envelope, ReportService
from common.wire.categories import BY_CODE

_OVER: Final = frozenset({"closed", "void"})
_NOTICE: Final = "Progress, answer and rating: /api/public/reports/{receipt} with the secret {secret}"
_WITHOUT_URL: Final = "; media_url is not fetched, send the photo itself as media"


class Open311Service:
    """Open311 around the reports.

    Args:
        database: where they are.
        reports: takes them down.
        tokens: knows whose an api_key is.
        settings: what this ticket centre is to Open311.
    """

    def __init__(
        self, database: Database, reports: ReportService, tokens: TokenService, settings: Open311Settings
    ) -> None:
        self._database = database
        self._reports = reports
        self._tokens = tokens
        self._settings = settings

    def check_jurisdiction(self, given: str) -> None:
        """Whether a request is meant for us.

        Raises:
            Open311Error: it names another jurisdiction.
        """
        own = self._settings.jurisdiction_id
        if own and given and given != own:
            raise Open311Error(
                "open311.unknown_jurisdiction", 404, f"expected jurisdiction_id {own!r}, got {given[:60]!r}"
            )

    def definition(self, code: str) -> dict[str, Any]:
        """What a service asks for besides: ours ask nothing more.

        Raises:
            Open311Error: there is no such service.
        """
        _check_service(code)
        return {"service_code": code, "attributes": []}

    def file(
        self, form: Mapping[str, str], photos: Sequence[bytes], api_key: str, key: str = ""
    ) -> dict[str, Any]:
        """Take a request down.

        Raises:
            Open311Error: no good api_key, or a field that is missing or cannot be read.
            InvalidError: as every report.
        """
        account = self._account(api_key)
        if not form.get("service_code"):
            raise Open311Error("open311.field_missing", 400, "expected service_code, got none")
        _check_service(form["service_code"])
        body = _body(form)
        filed = self._reports.file(
            body, Envelope("other", account, key, photos, source=account.name, public=True)
        )
        notice = _NOTICE.format(receipt=filed.receipt, secret=filed.secret)
        return {
            "service_request_id": filed.receipt,
            "service_notice": notice + (_WITHOUT_URL if form.get("media_url") else ""),
            "account_id": None,
        }

    def _account(self, api_key: str) -> Account:
        if not api_key:
            raise Open311Error("open311.no_api_key", 403, "expected an api_key, got none", _ASK)
        caller: Caller | None = self._tokens.caller(api_key)
        if caller is None:
            raise Open311Error("open311.wrong_api_key", 403, "expected an api_key that is good", _ASK)
        may = "reports:write" in (caller.scopes or ()) and caller.account.role in ALLOWED["report"]
        if not may:
            raise Open311Error(
                "open311.wrong_api_key",
                403,
                "expected an api_key with the scope reports:write, of a role that takes reports down",
                _ASK,
            )
        return caller.account

    def find(self, query: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
        """The requests that a query asks for.

        Raises:
            Open311Error: a filter that cannot be read.
        """
        return self._read(read_wanted(query, now))

    def get(self, receipt: str) -> list[dict[str, Any]]:
        """One request.

        Raises:
            Open311Error: there is none that anybody may read.
        """
        found = self._read(Wanted(ids=(receipt,)))
        if not found:
            raise Open311Error(
                "open311.unknown_request", 404, f"expected the id of a request, got {receipt[:40]!r}"
            )
        return found

    def _read(self, wanted: Wanted) -> list[dict[str, Any]]:
        with self._database.transaction() as transaction:
            rows = repo.requests(transaction, wanted, everything=self._settings.publish == "all")
        return [_shown(row) for row in rows]


_ASK: Final = "the operator makes one: drumtower cloud token add … --scope reports:write"


def _check_service(code: str) -> None:
    if not any(one["service_code"] == code for one in services()):
        raise Open311Error(
            "open311.unknown_service",
            404,
            f"expected the code of a service, got {code[:60]!r}",
            "services.json lists them",
        )


def _body(form: Mapping[str, str]) -> ReportBody:
    place = _place(form)
    name = " ".join(part for part in (form.get("first_name", ""), form.get("last_name", "")) if part)
    category = BY_CODE[form["service_code"]]
    try:
        return ReportBody.model_validate(
            {
                "category": category.code,
                "description": form.get("description", "").strip() or category.zh,
                "lon": place[0],
                "lat": place[1],
                "coordinate_system": form.get("coordinate_system", "") or "WGS-84",
                "address": form.get("address_string", ""),
                "reporter": Reporter(name=name, phone=form.get("phone", ""), email=form.get("email", "")),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Open311Error("open311.wrong_field", 400, f"{where}: {first['msg']}") from error


def _place(form: Mapping[str, str]) -> tuple[float, float]:
    given = form.get("long", "").strip(), form.get("lat", "").strip()
    if not all(given):
        raise Open311Error(
            "open311.field_missing",
            400,
            "expected lat and long; this ticket centre cannot look up an address",
            "send the position in WGS-84 degrees",
        )
    try:
        return float(given[0]), float(given[1])
    except ValueError as error:
        raise Open311Error(
            "open311.wrong_field",
            400,
            f"expected lat and long in degrees, got {given[1][:20]!r}, {given[0][:20]!r}",
        ) from error


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    is_over = row["state"] in _OVER
    return {
        "service_request_id": row["receipt"],
        "status": "closed" if is_over else "open",
        "status_notes": row["state"],
        "service_name": row["service_name"],
        "service_code": row["category"],
        "description": row["description"],
        "agency_responsible": row["agency"],
        "service_notice": None,
        "requested_datetime": _written(row["received_at"]),
        "updated_datetime": _written(row["changed_at"]),
        "expected_datetime": _written(row["due_at"]),
        "address": row["address"] if row["public"] else "",
        "address_id": None,
        "zipcode": None,
        "lat": row["lat"],
        "long": row["lon"],
        "media_url": None,
    }


def _written(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
