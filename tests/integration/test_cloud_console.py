"""The pages over HTTP, on the real ticket centre: the door, forms without script, who may do what, what they say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cloud.auth.domain import ROLES
from cloud.auth.roles import ALLOWED
from cloud.tickets.domain import State, allowed_actions
from tests.fixtures.console_centre import PASSWORD, Centre, running_centre
from tests.fixtures.databases import Databases

#: One centre for all.
pytestmark = [pytest.mark.services, pytest.mark.xdist_group("console")]

#: How long a slow machine may take for what takes a moment here, in seconds.
PATIENCE = 60.0
JPEG = b"\xff\xd8\xff\xe0 not much of a picture \xff\xd9"


@pytest.fixture(scope="module")
def centre(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """One for all tests here: each looks at its own tickets."""
    with databases.fresh() as url, running_centre(url, tmp_path_factory.mktemp("evidence")) as running:
        yield running


@contextmanager
def client_of(centre: Centre, name: str | None = "supervisor") -> Iterator[httpx.Client]:
    """A browser without script, signed in as somebody."""
    with httpx.Client(base_url=centre.url, timeout=PATIENCE) as client:
        if name is not None:
            token = hidden(client.get("/sign-in").text, "csrf_token")
            answer = client.post("/sign-in", data={"name": name, "password": PASSWORD, "csrf_token": token})
            assert answer.status_code == 303, answer.text
        yield client


def hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, f"expected a field {name}"
    return found[1]


def until_ticket(client: httpx.Client, category: str) -> str:
    """The path of the newest open ticket of a category, once there is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        listed = client.get(f"/?category={category}&part=list").text
        if found := re.search(r'href="(/tickets/[0-9a-f-]{36})', listed):
            return found[1]
        assert time.monotonic() < deadline, f"expected a ticket of {category} within {PATIENCE:.0f} s"
        time.sleep(0.1)


def act(client: httpx.Client, path: str, action: str, **fields: str) -> httpx.Response:
    page = client.get(path).text
    version = re.search(r'data-version="(\d+)"', page)
    assert version
    data = {"csrf_token": hidden(page, "csrf_token"), "version": version[1], "action": action, **fields}
    return client.post(f"{path}/actions", data=data)


# ---- the door ----


@pytest.mark.parametrize(
    "path", ["/", "/map", "/tickets/00000000-0000-7000-8000-000000000000", "/?unit=yunxi"]
)
def test_who_is_not_signed_in_is_led_to_the_door_and_back(centre: Centre, path: str) -> None:
    with client_of(centre, None) as client:
        answer = client.get(path)
        assert answer.status_code == 303
        door = client.get(answer.headers["location"])
        token = hidden(door.text, "csrf_token")
        target = hidden(door.text, "next").replace("&amp;", "&")
        answer = client.post(
            "/sign-in", data={"name": "viewer", "password": PASSWORD, "csrf_token": token, "next": target}
        )
        assert answer.headers["location"] == path
        assert client.get(f"{path}{'&' if '?' in path else '?'}part=list").status_code in {200, 404}


def test_a_part_for_an_open_page_is_refused_without_a_session(centre: Centre) -> None:
    with client_of(centre, None) as client:
        assert client.get("/?part=list").status_code == 401


def test_the_api_answers_with_a_problem_where_a_page_leads_to_the_door(centre: Centre) -> None:
    with client_of(centre, None) as client:
        answer = client.get("/api/tickets")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "auth.not_signed_in"


def test_the_session_cookie_is_for_this_site_and_no_script(centre: Centre) -> None:
    with client_of(centre, None) as client:
        token = hidden(client.get("/sign-in").text, "csrf_token")
        answer = client.post("/sign-in", data={"name": "viewer", "password": PASSWORD, "csrf_token": token})
    cookie = next(
        line for line in answer.headers.get_list("set-cookie") if line.startswith("drumtower_session=")
    )
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie  # over http a browser would throw it away


def test_a_wrong_password_is_told_and_the_name_kept(centre: Centre) -> None:
    with client_of(centre, None) as client:
        token = hidden(client.get("/sign-in").text, "csrf_token")
        answer = client.post("/sign-in", data={"name": "viewer", "password": "wrong", "csrf_token": token})
        assert answer.status_code == 401
        assert "账号与密码不符" in answer.text
        assert 'value="viewer"' in answer.text
        right = {"name": "viewer", "password": PASSWORD, "csrf_token": token}
        assert client.post("/sign-in", data=right).status_code == 303


def test_too_many_wrong_passwords_tell_how_long_to_wait(centre: Centre) -> None:
    with client_of(centre, None) as client:
        client.get("/language/en")
        token = hidden(client.get("/sign-in").text, "csrf_token")
        wrong = {"name": "nobody-at-all", "password": "wrong", "csrf_token": token}
        answers = [client.post("/sign-in", data=wrong) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert "Wait 00:" in answers[-1].text
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, "made-up"),
        ({}, ""),
        ({"Origin": "http://elsewhere.example"}, None),
        ({"Sec-Fetch-Site": "cross-site"}, None),
    ],
)
def test_a_sign_in_form_of_another_site_is_refused(
    centre: Centre, headers: dict[str, str], token: str | None
) -> None:
    with client_of(centre, None) as client:
        own = hidden(client.get("/sign-in").text, "csrf_token")
        data = {"name": "viewer", "password": PASSWORD, "csrf_token": own if token is None else token}
        answer = client.post("/sign-in", data=data, headers=headers)
    assert answer.status_code == 403
    assert "drumtower_session" not in answer.headers.get("set-cookie", "")


def test_signing_out_ends_the_session_for_whoever_has_its_cookie(centre: Centre) -> None:
    with client_of(centre) as client, httpx.Client(base_url=centre.url, timeout=PATIENCE) as thief:
        cookie = client.cookies["drumtower_session"]
        thief.cookies.set("drumtower_session", cookie)
        assert thief.get("/").status_code == 200
        answer = client.post("/sign-out", data={"csrf_token": hidden(client.get("/").text, "csrf_token")})
        assert answer.headers["location"] == "/sign-in?out=1"
        assert "已退出" in client.get(answer.headers["location"]).text
        assert thief.get("/").status_code == 303


@pytest.mark.parametrize("path", ["/sign-out", "/tickets/00000000-0000-7000-8000-000000000000/actions"])
def test_a_form_without_this_sessions_token_changes_nothing(centre: Centre, path: str) -> None:
    with client_of(centre) as client:
        forged: tuple[dict[str, str], ...] = ({}, {"csrf_token": "made-up"})
        for fields in forged:
            answer = client.post(path, data={"action": "note", "version": "1", **fields})
            assert answer.status_code == 403
            assert "页面已过期" in answer.text
        token = hidden(client.get("/").text, "csrf_token")
        answer = client.post(path, data={"csrf_token": token}, headers={"Origin": "http://elsewhere.example"})
        assert answer.status_code == 403
        assert client.get("/").status_code == 200


def test_the_json_api_needs_the_header_with_a_cookie(centre: Centre) -> None:
    centre.observe("lamp-02", "camera.zone_crowded", sensor="api")
    with client_of(centre) as client:
        path = until_ticket(client, "camera.zone_crowded")
        token = hidden(client.get(path).text, "csrf_token")
        body = {"action": "note", "note": "by the API"}
        assert client.post(f"/api{path}/actions", json=body).status_code == 403
        answer = client.post(f"/api{path}/actions", json=body, headers={"X-CSRF-Token": token})
        assert answer.status_code == 200, answer.text
        assert "by the API" in client.get(path).text


# ---- pages ----


def test_pages_let_nothing_in_from_elsewhere_and_are_kept_by_nobody(centre: Centre) -> None:
    with client_of(centre) as client:
        for path in ("/", "/map", "/sign-in"):
            answer = client.get(path)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
        static = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text)
        assert {path.partition("?")[0] for path in static} == {
            "/static/console.css",
            "/static/console.js",
            "/static/drumtower.svg",
        }
        for path in static:
            answer = client.get(path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


def test_the_language_is_chosen_once_and_kept(centre: Centre) -> None:
    with client_of(centre) as client:
        assert '<html lang="zh-CN">' in client.get("/").text
        answer = client.get("/language/en?next=/map")
        assert answer.headers["location"] == "/map"
        assert '<html lang="en">' in client.get("/").text
        assert client.get("/language/en?next=//elsewhere.example").headers["location"] == "/"
        client.get("/language/klingon")
        assert '<html lang="en">' in client.get("/").text


def test_the_map_has_every_grid_every_device_and_the_places_names(centre: Centre) -> None:
    with client_of(centre) as client:
        page = client.get("/map").text
    assert len(set(re.findall(r'data-grid="([^"]+)"', page))) == 27
    assert "云溪街道 › 松径社区 › 松径第一网格" in page
    assert "灯市路口灯杆(离线)" in page or "灯市路口灯杆（离线）" in page
    assert "岚水" in page


def test_what_there_is_not_says_so_in_the_readers_language(centre: Centre) -> None:
    with client_of(centre) as client:
        answer = client.get("/tickets/00000000-0000-7000-8000-000000000000")
        assert (answer.status_code, "没有这个工单" in answer.text) == (404, True)
        assert client.get("/tickets/nonsense").status_code == 400
        assert client.get("/?cursor=nonsense").status_code == 422
        for query in ("show=nonsense", "category=%00", "unit=%27", "severity=9", "part=nonsense"):
            assert client.get(f"/?{query}").status_code == 200, query


def test_what_devices_and_people_write_is_shown_and_never_run(centre: Centre) -> None:
    centre.observe("manhole-07", "manhole.water_high", value=1.25, unit="<b>m</b>")
    with client_of(centre) as client:
        path = until_ticket(client, "manhole.water_high")
        answer = act(client, path, "note", note="<script>alert(1)</script> & 'quotes'")
        assert answer.status_code == 303
        page = client.get(path).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>m</b>" not in page


def test_the_fleet_is_counted(centre: Centre) -> None:
    # None of them is as old as a minute before it is read, however slow the machine.
    for ago, receipted in ((3, 100), (2, 130), (1, 190)):
        centre.status("lamp-01", receipted=receipted, ago_s=ago, oldest_s=0.4)
    expected = (r"devices online\s+1/7", r"packets, last minute\s+90", r"oldest unreceipted\s+0.4 s")
    deadline = time.monotonic() + 50
    with client_of(centre) as client:
        client.get("/language/en")
        while True:  # it is read from the store at most every two seconds
            status = re.sub(r"<[^>]+>|\s+", " ", client.get("/?part=status").text)
            if all(re.search(one, status) for one in expected):
                break
            assert time.monotonic() < deadline, status
            time.sleep(0.2)


# ---- work, without any script ----


def test_a_ticket_is_worked_through_with_forms_alone(centre: Centre) -> None:
    centre.observe("smoke-11", "smoke.alarm", value=0.42, unit="dB/m")
    with client_of(centre) as client:
        path = until_ticket(client, "smoke.alarm")
        page = client.get(path).text
        assert "烟感报警" in page
        assert "0.42 dB/m" in page
        assert "区消防救援大队" in page
        assert "燃气公司" in page  # called by the routing rule
        for action, state in (("acknowledge", "已接单"), ("arrive", "已到场"), ("resolve", "核实中")):
            answer = act(client, path, action)
            assert (answer.status_code, answer.headers["location"]) == (303, path)
            page = client.get(path).text
            assert f">{state}</span>" in page
        for line in ("立案", "派单", "接单", "到场", "报告处置完毕", "设备开始复核"):
            assert f"<b>{line}</b>" in page


def test_a_picture_is_awaited_and_then_shown(centre: Centre) -> None:
    centre.observe("lamp-01", "camera.zone_occupied", evidence=centre.picture(JPEG))
    with client_of(centre) as client:
        path = until_ticket(client, "camera.zone_occupied")
        assert "画面尚在传输" in client.get(f"{path}?part=detail").text
        centre.picture_arrives("lamp-01", JPEG)
        detail = client.get(f"{path}?part=detail").text
        assert "画面尚在传输" not in detail
        source = re.search(r'<img src="([^"]+)"', detail)
        assert source
        assert client.get(source[1]).content == JPEG


def test_what_goes_wrong_with_an_action_stands_above_the_ticket_and_nothing_is_lost(centre: Centre) -> None:
    centre.observe("gauge-03", "flood.water_level", severity=3, value=0.3, unit="m")
    with client_of(centre) as client:
        path = until_ticket(client, "flood.water_level")
        old = client.get(path).text
        assert act(client, path, "acknowledge").status_code == 303
        version = re.search(r'data-version="(\d+)"', old)
        assert version
        stale = {
            "csrf_token": hidden(old, "csrf_token"),
            "version": version[1],
            "action": "void",
            "note": "a long explanation",
        }
        answer = client.post(f"{path}/actions", data=stale)
        assert (answer.status_code, "已被他人更改" in answer.text) == (412, True)
        assert "a long explanation" in answer.text
        answer = act(client, path, "void")
        assert (answer.status_code, "请填写说明" in answer.text) == (422, True)
        answer = act(client, path, "reopen", note="x")
        assert (answer.status_code, "不允许该操作" in answer.text) == (409, True)
        answer = act(client, path, "suspend", note="x", review_at="2001-01-01T00:00")
        assert (answer.status_code, "将来的复查时间" in answer.text) == (422, True)
        assert act(client, path, "suspend", note="等配件", review_at="2099-01-01T08:00").status_code == 303
        assert "挂起至 2099-01-01 08:00 复查" in client.get(path).text
        assert act(client, path, "resume").status_code == 303
        assert act(client, path, "call", unit_code="power").status_code == 303
        assert "供电服务中心" in client.get(path).text
        assert act(client, path, "nonsense").status_code == 400


@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_the_buttons_it_may_press_and_is_refused_all_others(centre: Centre, role: str) -> None:
    centre.observe("rain-01", "rain.intense")
    with client_of(centre, role) as client:
        path = until_ticket(client, "rain.intense")
        page = client.get(path).text
        shown = set(re.findall(r'name="action" value="([a-z]+)"', page))
        possible = {action.value for action in allowed_actions(State.DISPATCHED)}
        assert shown == {action for action in possible if role in ALLOWED[action]}  # type: ignore[index]
        for action in possible - shown:
            assert act(client, path, action, note="x", unit_code="power").status_code == 403, action


def test_a_street_acts_on_what_is_its_own_only(centre: Centre) -> None:
    centre.observe("button-02", "button.emergency")  # of public security, in another street
    centre.observe("lamp-02", "camera.zone_occupied", sensor="own")  # of a grid of this street
    with client_of(centre, "yunxi") as client:
        foreign = until_ticket(client, "button.emergency")
        assert 'name="action"' not in client.get(foreign).text
        assert act(client, foreign, "acknowledge").status_code == 403
        own = until_ticket(client, "camera.zone_occupied&unit=yunxi")
        assert act(client, own, "acknowledge").status_code == 303


def test_the_list_is_narrowed_by_its_filter(centre: Centre) -> None:
    centre.observe("manhole-07", "manhole.open", severity=4)
    with client_of(centre) as client:
        path = until_ticket(client, "manhole.open")
        ticket_id = path.rpartition("/")[2]
        for query, there in (
            ("severity=4", True),
            ("unit=urban-management", True),
            ("unit=gardens", False),
            ("show=dispatched", True),
            ("show=closed", False),
            ("show=unassigned", False),
            ("category=manhole.open&severity=3", True),
            ("category=rain.intense", False),
        ):
            assert (ticket_id in client.get(f"/?{query}&part=list").text) is there, query
        assert f"{path}?unit=urban-management" in client.get("/?unit=urban-management&part=list").text


def test_a_row_of_the_list_tells_the_place_and_whose_work_it_is(centre: Centre) -> None:
    centre.observe("manhole-07", "manhole.open", severity=4)
    with client_of(centre) as client:
        until_ticket(client, "manhole.open")
        listed = client.get("/?category=manhole.open&part=list").text
    assert re.search(r'class="unit">[^<]+第.网格 · 区城市管理局<', listed), listed


def test_no_page_holds_a_path_of_this_machine(centre: Centre) -> None:
    with client_of(centre) as client:
        assert str(Path(__file__).parents[2]) not in client.get("/").text
