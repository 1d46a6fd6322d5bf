"""The page at `/`: what it shows and to whom, by plain HTTP. `test_page_looks` uses a browser."""

import logging
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import trustme
import urllib3

from dispatch_grpc import Client, Endpoint, PermanentError
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page import Actions, Page
from dispatch_grpc.service.page.formatting import age, status_of
from dispatch_grpc.service.page.requests import COOKIE
from dispatch_grpc.service.page.sessions import SESSION, Sessions
from dispatch_grpc.testing import serve_app
from tests.conftest import run_service
from tests.nested import host_nested
from tests.service.page_calls import (
    CHILDREN,
    EVIL,
    EVIL_NAME,
    KEY,
    NO_ID,
    OTHER_KEY,
    QUICK,
    WRONG_KEY,
    Answer,
    Shown,
    listed,
    plain,
    request,
)
from tests.waiting import until

# Access


@pytest.mark.parametrize("path", ["/", "/?state=queued", "/calls", "/calls/", "/calls/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_shown_without_signing_in(shown: Shown, path: str, method: str):
    answer = request(shown.url, path, method)
    assert (answer.status, answer["location"]) == (303, "/calls/login")
    assert "quick" not in answer.text


def test_a_call_is_not_shown_either_but_found_after_signing_in(shown: Shown):
    path = f"/calls/{shown.ids['fail']}"
    answer = request(shown.url, path)
    assert (answer.status, answer["location"]) == (303, f"/calls/login?call={shown.ids['fail']}")
    assert "ValueError" not in answer.text
    form = request(shown.url, answer["location"])
    assert f'name="call" value="{shown.ids["fail"]}"' in form.text
    answer = sign_in(shown.url, KEY, call=shown.ids["fail"])
    assert (answer.status, answer["location"]) == (303, path)


def sign_in(url: str, key: str, call: str = "") -> Answer:
    form = f"key={quote(key)}&call={quote(call)}"
    return request(url, "/calls/login", "POST", form=form)


@pytest.mark.parametrize("elsewhere", ["//example.com", "https://example.com", "..", "%0d%0aX: 1"])
def test_signing_in_leads_nowhere_else(shown: Shown, elsewhere: str):
    assert sign_in(shown.url, KEY, call=elsewhere)["location"] == "/"
    form = request(shown.url, f"/calls/login?call={quote(elsewhere)}")
    assert "example.com" not in form.text


@pytest.mark.parametrize("key", [KEY, OTHER_KEY, f"  {KEY}\n"])
def test_signing_in_with_a_key_gives_a_cookie(shown: Shown, key: str):
    answer = sign_in(shown.url, key)
    assert (answer.status, answer["location"]) == (303, "/")
    token, *attributes = answer["set-cookie"].split("; ")
    seconds = int(SESSION.total_seconds())
    assert sorted(attributes) == ["HttpOnly", f"Max-Age={seconds}", "Path=/", "SameSite=Strict"]
    assert key.strip() not in answer["set-cookie"]
    home = request(shown.url, "/", headers={"cookie": f"theme=dark; {token}; x=y"})
    assert home.status == 200
    assert "Backlog" in home.text


@pytest.mark.parametrize("key", [WRONG_KEY, "", KEY[:-1], KEY + "x", KEY.upper(), "\0", "%ff", "é"])
def test_signing_in_with_another_key_gives_none(shown: Shown, key: str):
    answer = sign_in(shown.url, key)
    assert answer.status == 403
    assert not answer.has("set-cookie")
    assert "This is not a valid API key." in answer.text
    assert 'type="password"' in answer.text


def page(database: Database) -> Page:
    """A page whose database is not open: for what needs none."""
    nothing: Any = None
    return Page(database, Metrics(), [KEY], Actions(nothing, nothing, nothing))


def test_over_https_the_cookie_is_for_https_only(tmp_path: Path):
    ca = trustme.CA()
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    file = str(tmp_path / "own.pem")
    app = page(Database(None, tmp_path))
    with serve_app(app, certfile=file, keyfile=file) as server:
        with urllib3.PoolManager(ca_cert_data=ca.cert_pem.bytes().decode()) as pool:
            answer = pool.request(
                "POST",
                f"{server.url}/calls/login",
                fields={"key": KEY},
                encode_multipart=False,
                redirect=False,
            )
    assert answer.status == 303
    assert answer.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")


def test_behind_a_proxy_that_ends_tls_the_cookie_is_for_https_only(tmp_path: Path):
    with serve_app(page(Database(None, tmp_path))) as server:
        for proto, is_secure in (("https", True), ("HTTPS, http", True), ("http", False)):
            headers = {"x-forwarded-proto": proto}
            answer = request(server.url, "/calls/login", "POST", headers, form=f"key={KEY}")
            assert answer["set-cookie"].endswith("; Secure") == is_secure


def test_sign_ins_with_wrong_keys_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serve_app(page(Database(None, tmp_path))) as server:
        found = [sign_in(server.url, WRONG_KEY).status for _ in range(40)]
        assert found == [403] * 30 + [429] * 10
        assert sign_in(server.url, KEY).status == 429
        monkeypatch.setattr("dispatch_grpc.service.page.app._FAILURES_SECONDS", 0)
        assert sign_in(server.url, KEY).status == 303


def test_a_key_is_taken_as_clients_send_it(shown: Shown):
    for scheme in ("Bearer", "bearer"):
        answer = request(shown.url, "/", headers={"authorization": f"{scheme} {OTHER_KEY}"})
        assert answer.status == 200
        assert "Backlog" in answer.text
    for wrong in (f"Bearer {WRONG_KEY}", f"Basic {KEY}", "Bearer", KEY):
        answer = request(shown.url, "/", headers={"authorization": wrong})
        assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
        assert "Backlog" not in answer.text


def begun(keys: list[str], key: str, *, ago: timedelta = timedelta(0)) -> str:
    token = Sessions(keys, now=lambda: time.time() - ago.total_seconds()).begin(key)
    assert token is not None
    return token


def test_a_token_of_another_process_with_the_same_key_is_good(shown: Shown):
    almost = SESSION - timedelta(minutes=1)
    for token in (
        begun([KEY], KEY),
        begun(["x", OTHER_KEY], OTHER_KEY),
        begun([KEY], KEY, ago=almost),
    ):
        assert request(shown.url, "/", headers={"cookie": f"{COOKIE}={token}"}).status == 200


def test_a_token_that_was_not_made_here_is_none(shown: Shown):
    expiry, _, signature = begun([KEY], KEY).partition(".")
    other = "0" if signature[0] != "0" else "1"
    expired = begun([KEY], KEY, ago=SESSION + timedelta(seconds=2))
    for token in (
        expired,
        begun([WRONG_KEY], WRONG_KEY),  # made with a key that is one no longer
        f"{int(expiry) + 1}.{signature}",
        f"{int(expiry) + 1}.{expired.partition('.')[2]}",
        f"{expiry}.{other}{signature[1:]}",
        f"{expiry}.{signature[:-1]}",
        f"{expiry}.",
        f"{expiry}",
        f".{signature}",
        f"-{expiry}.{signature}",
        "",
        "é.é",
        KEY,
    ):
        answer = request(shown.url, "/", headers={"cookie": f"{COOKIE}={token}".encode()})
        assert (answer.status, answer["location"]) == (303, "/calls/login"), token


def test_signing_out(shown: Shown):
    answer = shown.get("/calls/logout", "POST")
    assert (answer.status, answer["location"]) == (303, "/calls/login")
    assert answer["set-cookie"].startswith(f"{COOKIE}=; Max-Age=0; Path=/; ")
    # Another site may make a browser send this, but without the cookie: nobody is signed out.
    answer = request(shown.url, "/calls/logout", "POST")
    assert answer.status == 303
    assert not answer.has("set-cookie")


# HTTP


PAGES = ["/", "/calls/login", "/calls/style.css", "/calls/page.js", "/calls/hosts"]
PAGES += ["/calls/schedules", "/calls/nothing", "/?state=nothing", "/calls"]


@pytest.mark.parametrize("path", [*PAGES, "fail"])
def test_every_answer_has_the_headers_that_keep_it_safe(shown: Shown, path: str):
    path = f"/calls/{shown.ids[path]}" if path in shown.ids else path
    wrong = {"authorization": f"Bearer {WRONG_KEY}"}
    for answer in (
        shown.get(path),
        shown.get(path, "HEAD"),
        shown.get(path, "PUT"),
        request(shown.url, path),
        request(shown.url, path, headers=wrong),
        request(shown.url, path, "POST", form="key=x"),
    ):
        policy = dict(
            part.strip().split(" ", 1) for part in answer["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "style-src": "'self'",
            "script-src": "'self'",
            "connect-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer["x-content-type-options"] == "nosniff"
        assert answer["x-frame-options"] == "DENY"
        assert answer["referrer-policy"] == "no-referrer"
        assert answer["cache-control"] == "no-store"
        kinds = {f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript")}
        assert answer["content-type"] in kinds


@pytest.mark.parametrize(
    ("path", "methods", "allowed"),
    [
        ("/", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"], "GET, HEAD"),
        ("/calls/style.css", ["POST", "OPTIONS"], "GET, HEAD"),
        (f"/calls/{NO_ID}", ["POST", "DELETE"], "GET, HEAD"),
        ("/calls/login", ["PUT", "OPTIONS"], "GET, HEAD, POST"),
        ("/calls/logout", ["GET", "HEAD", "PUT"], "POST"),
    ],
)
def test_other_methods_are_not_allowed(shown: Shown, path: str, methods: list[str], allowed: str):
    for method in methods:
        answer = shown.get(path, method)
        assert (answer.status, answer["allow"]) == (405, allowed)
        assert not answer.has("set-cookie")


@pytest.mark.parametrize("path", ["/", "/calls/login", "/calls/style.css", "fail"])
def test_head_is_get_without_the_page(shown: Shown, path: str):
    path = f"/calls/{shown.ids[path]}" if path in shown.ids else path
    head, get = shown.get(path, "HEAD"), shown.get(path)
    assert head.status == get.status == 200
    assert head.text == ""
    assert abs(int(head["content-length"]) - len(get.text.encode())) < 200  # the time goes on


@pytest.mark.parametrize(
    "path",
    [
        f"/calls/{NO_ID}",
        "/calls/nothing",
        "/calls/login/x",
        "/callsandmore",
        "/calls/..%2f",
        f"/calls/{quote(EVIL)}",
        "/calls/%00",
        "/calls/%ff",
    ],
)
def test_what_there_is_not_is_not_found(shown: Shown, path: str):
    answer = shown.get(path)
    assert answer.status == 404
    assert "<h1>Not Found</h1>" in answer.text
    assert "<script" not in answer.text.replace(SCRIPT, "")


@pytest.mark.parametrize(
    "query",
    ["state=nothing", "status=nothing", "status=1", "before=nothing", "function=%00", "&x=1" * 30],
)
def test_a_filter_that_makes_no_sense_is_refused(shown: Shown, query: str):
    assert shown.get(f"/?{query}").status == 400


def test_a_form_is_bounded(shown: Shown):
    assert request(shown.url, "/calls/login", "POST", form="key=" + "x" * 10_000).status == 413
    assert request(shown.url, "/calls/login", "POST", form="x=1&" * 30).status == 400
    assert request(shown.url, "/calls/login", "POST", form="").status == 403


def test_a_browser_that_goes_away_is_no_error(shown: Shown):
    address = urlsplit(shown.url)
    before = len(shown.log)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /calls/login HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nkey="
        )
    until(lambda: any("wrong API key" in line for line in shown.log[before:]))
    assert not any("Traceback" in line for line in shown.log[before:])


def test_while_the_database_is_away_the_page_says_so():
    database = Database(None, Path("unused"))
    shut = page(database)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if database.looks is None:
            database.looks = database.relaxed = await asyncpg.create_pool(
                host="127.0.0.1", port=1, user="nobody", password="none", min_size=0
            )
        await shut(scope, receive, send)

    with serve_app(app) as server:
        for path in ("/", f"/calls/{NO_ID}"):
            answer = request(server.url, path, headers={"authorization": f"Bearer {KEY}"})
            assert (answer.status, answer["retry-after"]) == (503, "5")
            assert "The database does not answer" in answer.text


# What is shown


def test_no_key_is_in_any_answer_or_in_the_log(shown: Shown):
    headers = {"authorization": f"Bearer {KEY}"}
    answers = [
        request(shown.url, "/", headers=headers),
        request(shown.url, "/calls/login", headers=headers),
        request(shown.url, "/", headers={"authorization": f"Bearer {WRONG_KEY}"}),
        request(shown.url, "/calls/nothing", headers=headers),
        sign_in(shown.url, KEY),
        sign_in(shown.url, WRONG_KEY),
        *[shown.get(f"/calls/{id}") for id in shown.ids.values()],
    ]
    logging.getLogger("dispatch_grpc.service").warning("so much for the log")
    assert any("so much for the log" in line for line in shown.log)
    assert any("wrong API key" in line for line in shown.log)
    for key in (KEY, OTHER_KEY, WRONG_KEY):
        for answer in answers:
            assert key not in answer.text
            assert not any(key in value for _, value in answer.headers)
        assert not any(key in line for line in shown.log)


SCRIPT = '<script src="/calls/page.js" defer></script>'
TAG = re.compile(r"<\s*/?\s*([a-zA-Z!][^\s>]*)")


@pytest.mark.parametrize("name", ["fail", "evil", "describe", "strange", "parent"])
def test_what_a_call_holds_is_text(shown: Shown, name: str):
    text = shown.call(name).text
    assert SCRIPT in text
    tags = {tag.lower() for tag in TAG.findall(text.replace(SCRIPT, ""))}
    assert tags.isdisjoint({"script", "img", "b", "style", "iframe", "object"}), tags
    assert not re.search(r"\son\w+\s*=[^<]*>", re.sub(r"&[a-z#0-9]+;", "", text.split("<pre")[0]))
    if name in {"fail", "evil", "describe"}:
        assert "&lt;script&gt;document.title" in text


def test_names_and_filters_are_text_as_well(shown: Shown):
    home = shown.get(f"/?function={quote(EVIL_NAME)}").text
    assert home.count("evil&lt;script&gt;alert.name&lt;b&gt;") == 2  # in the table, in the form
    quoted = quote('" autofocus onfocus=x ' + EVIL)
    home = shown.get(f"/?function={quoted}&refresh=on").text
    assert "&#34; autofocus onfocus=x" in home
    assert "http-equiv" in home
    for text in (home, shown.get(f"/?function={quote(EVIL_NAME)}").text):
        assert {"script", "img", "b"}.isdisjoint(TAG.findall(text.replace(SCRIPT, "")))


def test_the_password_of_an_endpoint_is_not_shown(shown: Shown):
    for text in (shown.call("secret").text, shown.get("/?function=far").text):
        assert "http://…@127.0.0.1:1/a" in text
        assert "passw0rd" not in text.partition("Last error")[0]


def test_a_value_is_shown_as_it_is_or_by_its_type_and_size(shown: Shown):
    text = plain(shown.call("describe").text)
    assert "Input google.protobuf.Value [ &#34;a&#34;, { &#34;b&#34;: 1 } ]" in text
    assert "&#34;numbers&#34;: [ 1, 2.5, null ]" in text
    for name, expected in {
        "bytes": f"BytesValue 80 bytes: {'00 ff ' * 32}…",
        "time": "Timestamp 2026-02-03T04:05:06+00:00",
        "duration": "Duration 60.5 s",
        "lines": "StringValue two lines",
        "long": f"StringValue &#34;{'x' * 19_999} The first 20,000 of 30,002 characters.",
        "large": "StringValue 200,004 bytes: too large to be shown here.",
    }.items():
        text = plain(shown.call(name).text)
        assert f"Output google.protobuf.{expected}" in text
        assert f"Input google.protobuf.{expected}" in text
    text = plain(shown.call("message").text)
    assert "Output dispatch.sdk.v1.RunRequest function: &#34;inner&#34;" in text
    text = plain(shown.call("parent").text)
    assert "Input google.protobuf.Empty null" in text
    text = plain(shown.call("named_arguments").text)
    assert "&#34;who&#34;: &#34;you&#34;" in text  # in any order: it is a map
    assert "&#34;when&#34;: &#34;2026-02-03T00:00:00+00:00&#34;" in text
    text = plain(shown.call("strange").text)
    assert (
        "Output beside the error acme.Un&lt;b&gt;known 5 bytes, of a type that is not known here."
        in text
    )
    assert "RuntimeError with an output" in text


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not even from the database: looking is to take little memory."""
    monkeypatch.setattr("dispatch_grpc.service.page.views.MAX_READ_BYTES", 1000)
    monkeypatch.setattr("dispatch_grpc.service.page.formatting.MAX_READ_BYTES", 1000)
    endpoint = Endpoint("http://127.0.0.1:1", env={})

    @endpoint.function
    def repeat(text: str, times: int) -> str:
        return text * times

    @endpoint.function
    def fail(text: str) -> None:
        raise PermanentError(text)

    @endpoint.function
    def overload(text: str) -> None:
        raise ConnectionError(text)

    note = r"[1-9],\d\d\d bytes: too large to be shown here."
    with (
        serve_app(endpoint.app) as server,
        run_service(tmp_path, api_keys=[KEY]) as service,
        Client(KEY, api_url=service.url, env={}) as client,
    ):
        endpoint.url = server.url
        shown = Shown(service.url)
        text = "x" * 1500
        calls = {
            "repeat": (repeat.call("x", 1500), f"Output {note} Input .* &#34;times&#34;: 1500"),
            "fail": (fail.call(text), f"PERMANENT_ERROR .* Error Error {note} .* Input {note}"),
            "overload": (overload.call(text), f"that did not end the call Error {note}"),
        }
        for name, (call, pattern) in calls.items():
            shown.ids[name] = client.dispatch(call)
            wait_for_text(shown, name, pattern)


def wait_for_text(shown: Shown, name: str, pattern: str) -> None:
    """Wait until the page of a call shows a text."""

    def text() -> str:
        return plain(shown.call(name).text)

    until(lambda: re.search(pattern, text()), problem=text)


def test_a_name_is_not_longer_than_a_line(shown: Shown):
    for text in (shown.call("named").text, shown.get("/?status=NOT_FOUND").text):
        assert f">{'n' * 199}…</" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (1, "1 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "120 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-90.5, "in 90 s"),
        (-86_400, "in 24 h"),
    ],
)
def test_how_long_ago(seconds: float, text: str):
    now = datetime.now(UTC)
    assert age(now - timedelta(seconds=seconds), now) == text


def test_a_status_of_a_later_version_has_its_number():
    assert status_of(99).text == "99"


def test_how_a_call_went_is_shown(shown: Shown):
    text = plain(shown.call("fail").text)
    assert re.match(r"All calls fail INVALID_ARGUMENT [\d.]+ m?s after it was recorded", text)
    assert re.search(
        r"Recorded \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\S.* ago\) Runs 1 Finished", text
    )
    assert "Traceback (most recent call last)" in text
    text = plain(shown.call("overload").text)
    assert text.startswith("All calls overload delayed TCP_ERROR")
    assert "Runs 1; the last one failed Next run" in text
    assert "Last error that did not end the call ConnectionError come again" in text
    assert re.search(r"Expires \S+ \S+ UTC \(in (5\d|60) min\)", text)
    text = plain(shown.call("hold").text)
    assert text.startswith("All calls hold running")
    assert "Finished" not in text


def test_a_call_leads_to_its_children_and_back(shown: Shown):
    parent = shown.ids["parent"]
    page = shown.call("parent").text
    text = plain(page)
    assert f"Waits for {CHILDREN} results: {CHILDREN - 1} in, 1 to come" in text
    assert f"Calls made {CHILDREN} calls running 1 OK {CHILDREN - 2} INVALID_ARGUMENT 1" in text
    first = listed(page)
    (older,) = re.findall(r'<a href="([^"]+)" rel="next">', page)
    assert older == f"/calls/{parent}?before={first[-1]}"
    page = shown.get(older).text
    rest = listed(page)
    assert "rel=" not in page.partition("<main>")[2]
    assert f'<a href="/calls/{parent}">Newest</a>' in page
    children = first + rest
    assert (len(first), len(children)) == (50, CHILDREN)
    assert children == sorted(set(children), reverse=True)
    child = shown.get(f"/calls/{children[0]}").text
    assert child.count(f'href="/calls/{parent}">{parent}</a>') == 2  # it is the root as well


def test_the_tree_of_calls_of_a_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each call with its state, its time and its error, below the call that made it."""
    endpoint = Endpoint("http://127.0.0.1:1", env={})

    @endpoint.function(retry=False)
    def refuse(name: str) -> None:
        raise ValueError(f"no {name}" + EVIL)

    outer = host_nested(endpoint, refuse)
    with (
        serve_app(endpoint.app) as server,
        run_service(tmp_path, api_keys=[KEY]) as service,
        Client(KEY, api_url=service.url, env={}) as client,
    ):
        endpoint.url = server.url
        shown = Shown(service.url)
        shown.ids["outer"] = client.dispatch(outer.call())
        assert client.wait(shown.ids["outer"]) == ["first", "second"]
        page = shown.call("outer").text
        tree = page.partition('<ul class="tree">')[2].partition("</section>")[0]
        assert plain("<main>" + tree).count("OK inner") == 2
        time = r"[\d.]+ (?:ms|s)"
        pattern = (
            rf"OK inner {time} PERMANENT_ERROR refuse {time} ValueError: no first &lt;/pre&gt;"
        )
        assert re.match(pattern, plain("<main>" + tree).replace("first&lt;", "first &lt;"))
        assert EVIL not in tree
        assert tree.count('<ul class="tree">') == 2  # below each of the two
        for id in re.findall(r'href="/calls/([^"]+)"', tree):
            assert client.get(id).root_dispatch_id == shown.ids["outer"]
        assert "There are more calls" not in page
        monkeypatch.setattr("dispatch_grpc.service.page.tree.MOST", 3)
        page = shown.call("outer").text
        assert page.count("refuse</a>") == 1
        assert "There are more calls" in page
        monkeypatch.setattr("dispatch_grpc.service.page.tree._DEPTH", 1)
        assert "There are more calls" in shown.call("outer").text


def test_the_newest_calls_are_shown_first_page_by_page(shown: Shown):
    found: list[str] = []
    path = "/"
    while path:
        page = shown.get(path).text
        assert len(listed(page)) <= 50
        found += listed(page)
        path = "".join(re.findall(r'<a href="([^"]+)" rel="next">', page)).replace("&amp;", "&")
    assert len(found) == QUICK + len(shown.ids) + CHILDREN
    assert found == sorted(set(found), reverse=True)
    assert set(shown.ids.values()) <= set(found)


def test_filters_hold_on_every_page(shown: Shown):
    path, found = "/?state=finished&status=OK&function=UIC", 0
    while path:
        page = shown.get(path).text
        rows = re.findall(r'<span class="name">([^<]+)</span>', page.partition("<tbody>")[2])
        assert set(rows) == {"quick"}
        assert "<option selected>finished</option>" in page
        found += len(rows)
        path = "".join(re.findall(r'<a href="([^"]+)" rel="next">', page)).replace("&amp;", "&")
    assert found == QUICK + CHILDREN - 2 + 1
    assert listed(shown.get("/?state=running&function=hold").text)[1:] == [shown.ids["hold"]]
    assert listed(shown.get("/?state=waiting").text) == [shown.ids["parent"]]
    assert listed(shown.get("/?status=UNSPECIFIED&state=running").text)[1:] == [shown.ids["hold"]]
    assert "There are no such calls." in shown.get("/?function=nothing").text


def test_only_so_many_calls_are_looked_at(shown: Shown, monkeypatch: pytest.MonkeyPatch):
    total = QUICK + len(shown.ids) + CHILDREN
    monkeypatch.setattr("dispatch_grpc.service.reads.LOOKED_AT", total // 4)
    assert total % 4 == 0  # so that the last page ends at the first call
    path, pages, found = "/?function=describe", 0, []
    while path:
        page = shown.get(path).text
        found += listed(page)
        pages += 1
        path = "".join(re.findall(r'<a href="([^"]+)" rel="next">', page)).replace("&amp;", "&")
    assert found == [shown.ids["describe"]]
    assert pages == 4
    assert "No match so far." in shown.get("/?function=describe").text


def test_the_page_refreshes_itself_when_asked(shown: Shown):
    refresh = re.compile(r'<meta http-equiv="refresh" content="5; url=([^"]+)">')
    assert not refresh.search(shown.get("/").text)
    assert refresh.findall(shown.get("/?state=queued&refresh=on").text) == [
        "/?state=queued&amp;refresh=on"
    ]
    assert not refresh.search(shown.get(f"/?refresh=on&before={shown.ids['hold']}").text)
    path = f"/calls/{shown.ids['hold']}?refresh=on"
    assert refresh.findall(shown.get(path).text) == [path]
    assert not refresh.search(shown.get(f"/calls/{shown.ids['fail']}?refresh=on").text)


def test_the_page_is_made_of_what_it_should_be(shown: Shown):
    for path in ("/", "/calls/login", f"/calls/{shown.ids['parent']}"):
        text = shown.get(path).text
        assert text.startswith("<!doctype html>\n<html lang=")
        assert " style=" not in text
        assert "<style" not in text
        assert text.count("<script") == (SCRIPT in text)
        for element in ("header", "main", "h1"):
            assert len(re.findall(rf"<{element}[ >]", text)) == 1, element
        for id in re.findall(r'<(?:select|input) [^>]*id="([^"]+)"', text):
            assert f'<label for="{id}">' in text
