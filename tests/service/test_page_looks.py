"""The page in a real browser: what people do there, how it looks, and what axe says of it."""

import asyncio
import contextlib
import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from axe_playwright_python.sync_playwright import Axe

from dispatch_grpc import CallError, Client, Endpoint, Status, new_call, unmarshal
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_
from dispatch_grpc.testing import serve_app
from tests.conftest import run_service
from tests.service.browsing import Visit, chromium, follow, sign_in_with, visiting
from tests.service.page_calls import (
    CHILDREN,
    EVIL,
    EVIL_NAME,
    KEY,
    NO_ID,
    OTHER_KEY,
    QUICK,
    VALUES,
    WRONG_KEY,
    Shown,
)
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab


def test_a_browser_may_be_missing_but_not_in_ci():
    assert chromium({"CHROMIUM": "/x", "CI": "1"}, lambda _: None) == "/x"
    assert chromium({}, {"google-chrome": "/usr/bin/google-chrome"}.get).endswith("chrome")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium({}, lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium({"CI": "true"}, lambda _: None)


def test_signing_in_and_out_with_a_browser(visit: Visit):
    tab = visit.tab
    tab.goto("/")
    assert tab.url.endswith("/calls/login")
    assert tab.get_by_label("API key").get_attribute("type") == "password"
    focused = tab.get_by_label("API key")
    assert focused.evaluate("it => it === document.activeElement")
    assert focused.evaluate("it => getComputedStyle(it).outline") == "rgb(10, 88, 181) solid 2px"
    sign_in_with(tab, WRONG_KEY)
    assert tab.get_by_role("alert").inner_text() == "This is not a valid API key."
    assert tab.get_by_label("API key").input_value() == ""
    sign_in_with(tab, KEY)
    assert tab.get_by_role("heading", name="Backlog").is_visible()
    assert tab.title() == "Calls · Dispatch"
    (cookie,) = visit.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert KEY not in cookie["value"]
    assert tab.evaluate("document.cookie") == ""
    follow(tab, tab.get_by_role("button", name="Sign out"))
    assert tab.url.endswith("/calls/login")
    assert visit.context.cookies() == []
    tab.goto("/")
    assert tab.url.endswith("/calls/login")
    forgive(visit, "403")


def forgive(visit: Visit, status: str) -> None:
    """Leave out what Chromium notes of each answer with a status of 4xx."""
    visit.complaints[:] = [text for text in visit.complaints if status not in text]


def tiles(tab: "Tab") -> dict[str, str]:
    names, numbers = (tab.locator(f".tiles {tag}").all_inner_texts() for tag in ("span", "strong"))
    return dict(zip(names, numbers, strict=True))


def rows(tab: "Tab") -> list[str]:
    return [" ".join(row.split()) for row in tab.locator("#list tbody tr").all_inner_texts()]


GOOD = QUICK + CHILDREN - 2 + len(VALUES) + len(["describe", "evil", "labelled", "named_arguments"])
FINISHED = {"OK": GOOD, "INVALID_ARGUMENT": 2, "PERMANENT_ERROR": 2, "NOT_FOUND": 1}


@pytest.mark.parametrize("scripted", [True, False])
def test_what_is_counted_leads_to_its_list(browser: "Browser", shown: Shown, scripted: bool):
    """With the script and without; each number is that of the calls in its list."""
    with visiting(browser, shown, java_script_enabled=scripted) as visit:
        tab = visit.tab
        tab.goto("/")
        sign_in_with(tab, KEY)
        # The service counts every 5 s.
        expected = {"queued": 0, "delayed": 3, "running": 2, "waiting": 1, "dead letters": 3}
        waiting = {name: str(number) for name, number in expected.items()}
        until(lambda: tab.reload() and tiles(tab) == waiting, problem=lambda: tiles(tab))
        for name, number in expected.items():
            follow(tab, tab.locator(".tiles a", has_text=name))
            assert len(rows(tab)) == number, name
            assert all(name in row for row in rows(tab) if name != "dead letters"), name
            assert tab.get_by_label("State", exact=True).input_value() == name.removesuffix(
                "dead letters"
            )
        follow(tab, tab.get_by_role("link", name="Calls", exact=True))
        counts = tab.locator(".counts li")
        finished = [f"{name} {number}" for name, number in FINISHED.items()]
        # Processes write what they have counted every 2 s.
        until(lambda: tab.reload() and counts.all_inner_texts() == finished)
        for name, number in FINISHED.items():
            follow(tab, tab.locator(".counts a", has_text=name))
            found = len(rows(tab))
            while tab.get_by_role("link", name="Older").count():
                follow(tab, tab.get_by_role("link", name="Older"))
                found += len(rows(tab))
            assert found == number, name
            follow(tab, tab.get_by_role("link", name="Show all"))


def test_filters_act_as_one_types(visit: Visit, shown: Shown):
    tab = visit.tab
    tab.goto("/")
    sign_in_with(tab, KEY)
    assert tab.get_by_role("button", name="Show").count() == 0
    tab.get_by_label("State", exact=True).select_option("finished")
    tab.get_by_label("Status").select_option("INVALID_ARGUMENT")
    function = tab.get_by_label("Function", exact=True)
    until(lambda: [row.split()[2] for row in rows(tab)] == ["fail", "fail"])
    function.press_sequentially("AI")
    until(lambda: len(rows(tab)) == 2 and "function=AI" in tab.url)
    tab.get_by_label("Status").select_option("any")
    tab.get_by_label("State", exact=True).select_option("any")
    function.fill(EVIL_NAME)
    until(lambda: len(rows(tab)) == 1 and rows(tab)[0].startswith("OK …"))
    assert EVIL_NAME in rows(tab)[0]
    function.fill("")
    label = tab.get_by_label("Labels")
    label.fill("order")
    message = tab.locator("#message")
    until(lambda: "labels are written as key=value" in message.inner_text())
    label.fill("order=o1")
    until(lambda: len(rows(tab)) == 1 and "quick" in rows(tab)[0])
    assert message.inner_text() == ""
    follow(tab, tab.get_by_role("link", name="note=a, b = <c>"))
    assert label.input_value() == "note=a, b = <c>"
    assert len(rows(tab)) == 1
    tab.reload()  # the address says what is filtered
    assert len(rows(tab)) == 1
    id = shown.ids["labelled"]
    tab.get_by_label("Id").fill("…" + id[24:])
    until(lambda: len(rows(tab)) == 1 and "id=" in tab.url)
    tab.get_by_label("Id").fill(id)
    tab.wait_for_url(f"**/calls/{id}")
    forgive(visit, "400")


def test_the_page_is_kept_up_to_date(visit: Visit, shown: Shown, client: Client):
    """What is new appears by itself, also in a list that is filtered; and no longer when asked."""
    tab = visit.tab
    tab.goto("/")
    sign_in_with(tab, KEY)
    tab.get_by_label("Labels").fill("live=yes")
    until(lambda: rows(tab) == [] and "no such calls" in tab.locator("#list").inner_text())
    call = new_call("http://127.0.0.1:1", "later")
    ids = [client.dispatch(call, delay=3000, labels={"live": "yes"})]
    try:
        until(lambda: len(rows(tab)) == 1)
        assert tab.get_by_label("Labels").input_value() == "live=yes"
        tab.goto(f"/calls/{ids[0]}")
        assert tab.locator(".words").inner_text().strip() == "delayed"
        client.cancel(ids[0])
        until(lambda: tab.locator(".words").inner_text().startswith("cancelled"))
        tab.goto("/?label=live%3Dyes")
        tab.get_by_label("Live").uncheck()
        ids.append(client.dispatch(call, delay=3000, labels={"live": "yes"}))
        before = len(visit.asked)
        tab.wait_for_timeout(6_000)
        assert (len(visit.asked), len(rows(tab))) == (before, 1)
    finally:
        client.cancel(ids[-1])
        client.purge_calls(function="later")


def test_someone_who_was_signed_out_is_asked_to_sign_in(visit: Visit, shown: Shown):
    tab = visit.tab
    tab.goto("/")
    sign_in_with(tab, KEY)
    visit.context.clear_cookies()
    tab.get_by_label("Function", exact=True).fill("x")
    tab.wait_for_url("**/calls/login")


def test_a_call_in_a_browser(visit: Visit, shown: Shown):
    tab = visit.tab
    tab.goto(f"/calls/{shown.ids['fail']}")
    sign_in_with(tab, OTHER_KEY)
    assert tab.get_by_role("heading", level=1).inner_text() == "fail"
    assert tab.get_by_label("Message", exact=True).inner_text() == EVIL
    assert EVIL in tab.get_by_label("Traceback", exact=True).inner_text()
    assert tab.locator("main script, img").count() == 0
    assert tab.title() == f"fail {shown.ids['fail']} · Dispatch"
    tab.goto(f"/calls/{shown.ids['parent']}")
    row = (
        tab.get_by_role("region", name="Table of the calls that it made").get_by_role("row").nth(1)
    )
    function = row.get_by_role("cell").nth(2).locator(".name").inner_text()
    follow(tab, row.get_by_role("link", name="…"))
    assert tab.get_by_role("heading", level=1).inner_text() == function
    follow(tab, tab.get_by_role("link", name=shown.ids["parent"]).first)
    assert tab.get_by_role("heading", level=1).inner_text() == "parent"
    follow(tab, tab.get_by_role("link", name="All calls"))
    assert tab.get_by_role("heading", level=1).inner_text() == "Calls"


def test_without_a_script_the_page_refreshes_itself(browser: "Browser", shown: Shown):
    with visiting(browser, shown, java_script_enabled=False) as visit:
        tab = visit.tab
        tab.goto("/")
        sign_in_with(tab, KEY)
        tab.get_by_label("State", exact=True).select_option("waiting")
        tab.get_by_label(re.compile("Refresh every")).check()
        follow(tab, tab.get_by_role("button", name="Show"))
        assert tab.url.endswith("recorded=&finished=&refresh=on")
        before = tab.locator("footer").inner_text()
        tab.wait_for_url("**/?state=waiting&refresh=on", timeout=60_000)  # by itself
        assert tab.locator("footer").inner_text() > before
        assert tab.get_by_label(re.compile("Refresh every")).is_checked()
        assert not tab.get_by_label("Live").is_visible()


@pytest.fixture
def client(shown: Shown) -> Iterator[Client]:
    with Client(KEY, api_url=shown.url, env={}) as client:
        yield client


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    **{
        f"phone-{scheme}": {
            "color_scheme": scheme,
            "viewport": {"width": 375, "height": 700},
            "device_scale_factor": 2,
            "is_mobile": True,
        }
        for scheme in ("light", "dark")
    },
}


@pytest.mark.parametrize("look", LOOKS)
def test_how_the_page_looks(browser: "Browser", shown: Shown, look: str, tmp_path: Path):
    """Nothing is off the screen, and axe finds nothing to complain of."""
    screenshots = Path(os.environ.get("SCREENSHOTS", tmp_path))  # a folder, to look at them
    with visiting(browser, shown, bypass_csp=True, **LOOKS[look]) as visit:  # axe is a script
        tab = visit.tab
        papers = set()
        names = ("fail", "parent", "overload", "cancelled", "named_arguments")
        calls = {name: f"/calls/{shown.ids[name]}" for name in names}
        pages = {"login": "/", "home": "/", "hosts": "/calls/hosts", "not-found": f"/calls/{NO_ID}"}
        pages |= {"schedules": "/calls/schedules", "rerun": "/calls/rerun?status=INVALID_ARGUMENT"}
        for name, path in {**pages, **calls}.items():
            tab.goto(path)
            tab.screenshot(path=screenshots / f"{look}-{name}.png", full_page=True)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            if "phone" in look:  # nor do tables scroll sideways
                wide = "all => all.filter(it => it.scrollWidth > it.clientWidth).length"
                assert tab.locator(".scroll").evaluate_all(wide) == 0, name
            papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            found = Axe().run(tab)
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"
            if name == "login":
                sign_in_with(tab, KEY)
        assert papers == {"rgb(21, 24, 28)" if "dark" in look else "rgb(251, 251, 250)"}
        forgive(visit, "404")


def test_the_pictures_of_the_docs(browser: "Browser", tmp_path: Path):
    """`make pictures` keeps them. What is counted of the last hour is made up."""
    pictures = Path(os.environ.get("PICTURES", tmp_path))
    endpoint = Endpoint("http://127.0.0.1:1", env={})

    @endpoint.primitive
    def charge(request: RunRequest) -> RunResponse:
        """Fail without a traceback, which would show the paths of this machine."""
        order = unmarshal(request.input)
        if order["order"] not in seen:
            seen.add(order["order"])
            return exit_(error=ConnectionError("the bank closed the connection"))
        if order["cents"] > 5_000:
            declined = ValueError("the card was declined")
            return exit_(error=declined, status=Status.PERMANENT_ERROR)
        return exit_(f"{order['order']} is charged")

    @endpoint.function
    def send_receipt(order: str) -> None:
        """Send nothing."""

    seen: set[str] = set()
    with (
        serve_app(endpoint.app) as server,
        run_service(tmp_path, api_keys=[KEY]) as service,
        Client(KEY, api_url=service.url, env={}) as client,
    ):
        endpoint.url = server.url
        for number, cents in enumerate((1200, 9900, 350, 4200)):
            labels = {"order": f"o{number}", "region": "eu"}
            call = charge.call({"order": f"o{number}", "cents": cents})
            ids = [client.dispatch(call, labels=labels)]
            ids.append(client.dispatch(send_receipt.call(f"o{number}"), labels=labels))
            client.dispatch(send_receipt.call(f"o{number}"), delay=600, labels=labels)
            if cents == 9900:
                declined = ids[0]
            for id in ids:
                with contextlib.suppress(CallError):
                    client.wait(id)
        url = f"postgresql://postgres@/postgres?host={tmp_path}/postgres"
        with ThreadPoolExecutor() as pool:  # here, playwright's loop runs
            pool.submit(lambda: asyncio.run(make_up_an_hour(url))).result()
        shown, looks = (
            Shown(service.url),
            {"home": ("/", 1300), "call": (f"/calls/{declined}", 900)},
        )
        with visiting(browser, shown, **{**LOOKS["light"], "color_scheme": "light"}) as visit:
            for name, (path, height) in looks.items():
                visit.tab.goto(path)
                if name == "home":
                    sign_in_with(visit.tab, KEY)
                    until(lambda: visit.tab.reload() and tiles(visit.tab)["delayed"] == "4")
                visit.tab.set_viewport_size({"width": 1080, "height": height})
                file = pictures / f"page-{name}.png"
                visit.tab.screenshot(path=file)
                assert file.stat().st_size < 150_000


async def make_up_an_hour(url: str) -> None:
    connection = await asyncpg.connect(url)
    bounds = "|".join(["0"] * 4 + ["{}"] * 4 + ["0"] * 8).replace("|", ",")
    for minute in range(60):
        wave = 40 + int(25 * math.sin(minute / 9)) + minute % 7
        for status, calls in ((Status.OK, wave), (Status.PERMANENT_ERROR, minute % 11 // 8)):
            parts = (calls // 2, calls // 3, calls // 8, calls // (30 - minute % 20))
            await connection.execute(
                "INSERT INTO dispatch_grpc.minutes VALUES (date_trunc('minute', now()) "
                f"- $1 * interval '1 min', $2, $3, '{{{bounds.format(*parts)}}}') "
                "ON CONFLICT DO NOTHING",
                minute,
                status.value,
                calls,
            )
    await connection.close()
