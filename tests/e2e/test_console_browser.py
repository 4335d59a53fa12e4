"""The console in a real headless Chromium: live, by mouse and by keyboard, wide and on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from local.headless import headless_chromium
from tests.fixtures.console_centre import PASSWORD, Centre, running_centre
from tests.fixtures.databases import Databases

#: One centre and one Chromium for all.
pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.xdist_group("browser")]

WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}

#: How long a slow machine may take for what takes a moment here; only what fails waits so long.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def centre(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """One for all tests here: each looks at its own tickets."""
    with databases.fresh() as url, running_centre(url, tmp_path_factory.mktemp("evidence")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of this machine, with a Chinese font."""
    with headless_chromium() as running:
        yield running


@pytest.fixture
def complaints() -> list[str]:
    """What the browser has to complain of: errors in the script, refusals by the page's own policy."""
    return []


@pytest.fixture
def context(
    browser: Browser, request: pytest.FixtureRequest, complaints: list[str]
) -> Iterator[BrowserContext]:
    """A browser of one person: wide, unless the test is marked for a phone."""
    size = PHONE if "phone" in request.node.name else WIDE
    opened = browser.new_context(viewport=size, locale="zh-CN")  # type: ignore[arg-type]
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("weberror", lambda error: complaints.append(str(error.error)))
    yield opened
    opened.close()
    assert complaints == []


def signed_in(context: BrowserContext, centre: Centre, name: str = "supervisor") -> Page:
    page = context.new_page()
    page.goto(centre.url)
    expect(page).to_have_title(re.compile("登录"))
    page.get_by_label("账号").fill(name)
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()
    expect(page.locator("#stream")).to_have_attribute("data-state", "live")
    return page


def never_reloads(page: Page) -> None:
    """Leave a mark that a reload would wipe away."""
    page.evaluate("window.notReloaded = true")


def was_not_reloaded(page: Page) -> bool:
    return bool(page.evaluate("window.notReloaded === true"))


def test_a_ticket_appears_is_opened_acknowledged_and_followed_without_a_reload(
    context: BrowserContext, centre: Centre
) -> None:
    page = signed_in(context, centre)
    never_reloads(page)
    row = page.locator(".row", has_text="烟感报警")
    expect(row).to_have_count(0)
    centre.observe("smoke-11", "smoke.alarm", value=0.37, unit="dB/m")
    expect(row).to_be_visible()
    expect(row).to_contain_text("紧急")
    expect(row).to_contain_text("区消防救援大队")
    expect(row).to_contain_text(re.compile(r"接单 0[12]:\d\d"))  # counts down from three minutes
    expect(page.locator(".marker.s4")).to_have_count(1)
    expect(page.locator("#announce")).to_contain_text("烟感报警")

    row.click()
    detail = page.locator("#detail")
    expect(detail.get_by_role("heading", level=1)).to_have_text("烟感报警")
    expect(page).to_have_url(re.compile(r"/tickets/[0-9a-f-]{36}$"))
    expect(row).to_have_attribute("aria-current", "true")
    detail.get_by_role("button", name="接单", exact=True).click()
    expect(detail.locator(".big .state")).to_have_text("已接单")
    expect(row).to_contain_text("已接单")
    expect(detail.locator(".history li").first).to_contain_text("接单")
    expect(detail.locator(".history li").first).to_contain_text("supervisor")
    expect(detail.get_by_role("button", name="到场", exact=True)).to_be_visible()
    assert was_not_reloaded(page)

    page.get_by_role("link", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#detail .big .state")).to_have_text("Acknowledged")
    expect(page.locator(".row", has_text="Smoke detector alarm")).to_be_visible()


def test_two_people_see_each_others_work(browser: Browser, context: BrowserContext, centre: Centre) -> None:
    centre.observe("rain-01", "rain.intense", value=70, unit="mm/h")
    watcher = signed_in(context, centre, "viewer")
    watcher.locator(".row", has_text="强降雨").click()
    never_reloads(watcher)
    expect(watcher.locator("#detail")).to_contain_text("您的角色目前不能操作此工单")
    other = browser.new_context(viewport=WIDE, locale="zh-CN")  # type: ignore[arg-type]
    other.set_default_timeout(PATIENCE_MS)
    worker = signed_in(other, centre, "dispatcher")
    worker.locator(".row", has_text="强降雨").click()
    worker.get_by_role("button", name="接单", exact=True).click()
    expect(watcher.locator("#detail .big .state")).to_have_text("已接单")
    worker.get_by_text("更多操作").click()
    worker.locator(".act > summary", has_text="转办").click()
    worker.locator(".act[open] select").select_option("water")
    worker.locator(".act[open] textarea").fill("请水务处理")
    worker.locator(".act[open] button").click()
    expect(watcher.locator("#detail .history")).to_contain_text("请水务处理")
    expect(watcher.locator("#detail .facts")).to_contain_text("区水务局")
    assert was_not_reloaded(watcher)
    other.close()


def test_an_alarm_is_put_on_the_shelf_and_taken_off(context: BrowserContext, centre: Centre) -> None:
    centre.observe("gauge-03", "flood.water_level", value=0.4, unit="m")
    page = signed_in(context, centre, "dispatcher")
    page.locator(".row", has_text="路面积水水位").click()
    detail = page.locator("#detail")
    detail.locator(".act > summary", has_text="搁置报警").click()
    expect(detail.locator(".act[open] [name=alarm]")).to_contain_text("鼓楼大街下穿道水尺")
    detail.locator(".act[open] [name=hours]").select_option("8")
    detail.locator(".act[open] textarea").fill("水尺被树叶遮挡")
    detail.locator(".act[open] button").click()
    expect(detail).to_contain_text("水尺被树叶遮挡")
    expect(detail).to_contain_text("由dispatcher搁置")
    detail.get_by_role("button", name="立即取消搁置").click()
    expect(detail.get_by_role("button", name="立即取消搁置")).to_have_count(0)
    expect(detail.locator(".act > summary", has_text="搁置报警")).to_be_visible()


def test_the_map_shows_27_grids_and_leads_to_a_ticket(context: BrowserContext, centre: Centre) -> None:
    centre.observe("manhole-07", "manhole.open", value=41, unit="deg")
    page = signed_in(context, centre)
    expect(page.locator("path.grid")).to_have_count(27)
    expect(page.locator(".device")).to_have_count(7)
    marker = page.locator(".marker", has=page.locator("title", has_text="井盖开启倾斜"))
    expect(marker).to_be_visible()
    marker.click()
    expect(page.locator("#detail").get_by_role("heading", level=1)).to_have_text("井盖开启倾斜")
    expect(page.locator("#detail")).to_contain_text("41 deg")
    expect(marker).to_have_class(re.compile("chosen"))


def test_a_picture_shows_when_it_arrives(context: BrowserContext, centre: Centre) -> None:
    page = signed_in(context, centre)
    picture = page.screenshot(type="jpeg", quality=40)
    centre.observe("lamp-01", "camera.zone_crowded", evidence=centre.picture(picture, width=1440, height=900))
    page.locator(".row", has_text="人群聚集").click()
    expect(page.locator("#detail .waiting")).to_be_visible()
    centre.picture_arrives("lamp-01", picture)
    shown = page.locator("#detail .evidence img")
    expect(shown).to_be_visible()
    expect(shown).to_have_js_property("naturalWidth", 1440)  # the page's policy forbids a function that waits
    expect(page.locator("#detail .waiting")).to_have_count(0)


def test_what_somebody_is_writing_survives_what_happens_meanwhile(
    context: BrowserContext, centre: Centre
) -> None:
    centre.observe("button-02", "button.emergency")
    page = signed_in(context, centre)
    page.locator(".row", has_text="一键报警").click()
    page.get_by_text("更多操作").click()
    page.locator(".act > summary", has_text="写备注").click()
    note = page.locator(".act[open] textarea")
    note.fill("现场已有民警")
    centre.observe("lamp-02", "camera.zone_occupied", sensor="meanwhile")
    expect(page.locator(".row", has_text="区域占用").first).to_be_visible()
    expect(note).to_have_value("现场已有民警")
    page.locator(".act[open] button").click()
    expect(page.locator("#detail .history")).to_contain_text("现场已有民警")


def test_the_keyboard_is_enough(context: BrowserContext, centre: Centre) -> None:
    centre.observe("gauge-03", "flood.water_level", severity=3, value=0.25, unit="m")
    page = signed_in(context, centre)
    row = page.locator(".row", has_text="路面积水水位")
    expect(row).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
        if row.evaluate("row => row === document.activeElement"):
            break
    expect(row).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#detail").get_by_role("heading", level=1)).to_have_text("路面积水水位")


def test_a_lost_connection_is_told_and_found_again(
    context: BrowserContext, centre: Centre, complaints: list[str]
) -> None:
    page = signed_in(context, centre)
    never_reloads(page)
    context.set_offline(True)
    stream = page.locator("#stream")
    try:
        expect(stream).to_have_attribute("data-state", "reconnecting")
    finally:
        context.set_offline(False)
    centre.observe("manhole-07", "manhole.water_high", value=1.4, unit="m")
    expect(stream).to_have_attribute("data-state", "live")
    expect(page.locator(".row", has_text="井下水位高")).to_be_visible()
    assert was_not_reloaded(page)
    complaints.clear()  # that the network was away is what this test wanted


def test_on_a_phone_it_is_one_thing_at_a_time(context: BrowserContext, centre: Centre) -> None:
    centre.observe("lamp-02", "camera.standing_water")
    page = signed_in(context, centre, "handler")
    row = page.locator(".row", has_text="积水内涝")
    expect(row).to_be_visible()
    expect(page.locator("#map-pane")).to_be_hidden()
    page.get_by_role("link", name="地图").click()
    expect(page.locator("#map-pane")).to_be_visible()
    expect(page.locator("#list")).to_be_hidden()
    page.get_by_role("link", name="工单", exact=True).click()
    page.locator(".row", has_text="积水内涝").click()
    expect(page.locator("#list")).to_be_hidden()
    page.get_by_role("button", name="接单", exact=True).click()
    expect(page.locator("#detail .big .state")).to_have_text("已接单")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("link", name="返回列表").click()
    expect(page.locator("#list")).to_be_visible()


def test_without_script_everything_can_still_be_done(browser: Browser, centre: Centre) -> None:
    centre.observe("smoke-11", "camera.smoke")
    with browser.new_context(viewport=WIDE, java_script_enabled=False) as plain:  # type: ignore[arg-type]
        plain.set_default_timeout(PATIENCE_MS)
        page = plain.new_page()
        page.goto(centre.url)
        page.locator("#name").fill("supervisor")
        page.locator("#password").fill(PASSWORD)
        page.locator("button.primary").click()
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not page.locator(".row", has_text="烟雾").count():
            assert time.monotonic() < deadline, page.content()
            page.wait_for_timeout(100)
            page.reload()
        page.locator(".row", has_text="烟雾").click()
        page.locator("button.primary").click()
        expect(page.locator("#detail .big .state")).to_have_text("已接单")
        expect(page.locator("#stream")).to_contain_text("未启用实时更新")
