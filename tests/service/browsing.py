"""Chromium, for the tests of the page: Debian's package, or the path in the variable CHROMIUM.

Without it the tests in the browser are skipped, but where the variable CI is set they fail.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.page_calls import KEY, Shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator
    from playwright.sync_api import Page as Tab


def chromium(environment: Mapping[str, str], which: Callable[[str], str | None]) -> str:
    """Where Chromium is. Without it the test is skipped, in CI it fails."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = environment.get("CHROMIUM") or next(filter(None, map(which, names)), None)
    if found:
        return found
    reason = "there is no Chromium: apt-get install chromium, or set CHROMIUM to the path of one"
    if environment.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    path = chromium(os.environ, shutil.which)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as which containers run.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A window of a browser, and all that it asked for and complained of."""

    context: "BrowserContext"
    tab: "Tab"
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextlib.contextmanager
def visiting(browser: "Browser", shown: Shown, **options: Any) -> Iterator[Visit]:
    context = browser.new_context(base_url=shown.url, **options)
    context.set_default_timeout(20_000)
    visit = Visit(context, context.new_page())
    visit.tab.on("request", lambda request: visit.asked.append(f"{request.url} {request.headers}"))
    visit.tab.on("console", lambda message: visit.complaints.append(message.text))
    visit.tab.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.tab.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
    yield visit
    context.close()
    # No script ran, and the page's own style was let through.
    assert not visit.complaints
    assert not any(KEY in asked for asked in visit.asked)


@pytest.fixture
def visit(browser: "Browser", shown: Shown) -> Iterator[Visit]:
    with visiting(browser, shown) as visit:
        yield visit


def follow(tab: "Tab", what: "Locator") -> None:
    """Click, and wait for the page that it leads to."""
    with tab.expect_navigation(timeout=60_000):
        what.click()


def sign_in_with(tab: "Tab", key: str) -> None:
    tab.get_by_label("API key").fill(key)
    follow(tab, tab.get_by_role("button", name="Sign in"))
