"""The page: a failed call is run again by a button, and nobody else's form does so."""

import re
from html import unescape
from urllib.parse import urlencode

import pytest

from dispatch_grpc import CallError, Client
from dispatch_grpc.service import matching
from dispatch_grpc.service.page.actions import form_token
from dispatch_grpc.service.page.requests import COOKIE
from dispatch_grpc.service.page.sessions import Sessions
from tests.conftest import RunningService
from tests.operations.conftest import Functions
from tests.operations.test_rerun import PATIENCE, UNKNOWN, failed
from tests.service.page_calls import Answer, plain, request


class Person:
    """Somebody who has signed in."""

    def __init__(self, service: RunningService) -> None:
        self.url = service.url
        self.session = Sessions([service.api_key]).begin(service.api_key) or ""

    def get(self, path: str) -> Answer:
        return request(self.url, path, headers={"cookie": f"{COOKIE}={self.session}"})

    def post(self, path: str, **fields: str) -> Answer:
        headers = {"cookie": f"{COOKIE}={self.session}"}
        return request(self.url, path, "POST", headers, form=urlencode(fields))


@pytest.fixture
def person(service: RunningService) -> Person:
    return Person(service)


def fields_of(answer: Answer) -> dict[str, str]:
    """The hidden fields of a form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.text))


def test_a_call_is_run_again_by_its_button(person: Person, client: Client, failing: Functions):
    id = failed(client, failing, "charge", 1)
    failing.fails.clear()
    shown = person.get(f"/calls/{id}")
    assert f'action="/calls/{id}/rerun"' in shown.text
    fields = fields_of(shown)
    answer = person.post(f"/calls/{id}/rerun", **fields)
    new = client.get(id).rerun_as
    assert (answer.status, answer["location"]) == (303, f"/calls/{new}")
    assert (
        person.post(f"/calls/{id}/rerun", **fields)["location"] == f"/calls/{new}"
    )  # pressed twice
    assert client.wait(str(new), timeout=PATIENCE) == "charged 1"
    assert f"Rerun as {new}" in plain(person.get(f"/calls/{id}").text)
    assert f"Rerun of {id}" in plain(person.get(f"/calls/{new}").text)


def test_a_call_that_has_not_finished_has_no_button(
    person: Person, client: Client, functions: Functions
):
    id = client.dispatch(functions.call("hold"))
    try:
        assert "/rerun" not in person.get(f"/calls/{id}").text
        token = form_token(person.session)
        answer = person.post(f"/calls/{id}/rerun", token=token)
        assert answer.status == 409
        assert "has not finished" in answer.text
    finally:
        client.cancel(id)


def test_a_form_of_another_site_does_nothing(
    service: RunningService, person: Person, client: Client, failing: Functions
):
    id = failed(client, failing, "charge", 1)
    path = f"/calls/{id}/rerun"
    other = Sessions([service.api_key], now=lambda: 2e9).begin(service.api_key)
    for token in ("", "x", "é", form_token(other or "")):
        answer = person.post(path, token=token)
        assert answer.status == 403
        assert "This form is out of date" in answer.text
    assert request(service.url, path, "POST", form="")["location"] == "/calls/login"
    assert (
        request(service.url, path, headers={"cookie": f"{COOKIE}={person.session}"}).status == 405
    )
    assert client.get(id).rerun_as is None
    bearer = {"authorization": f"Bearer {service.api_key}"}  # which no other site can send
    assert request(service.url, path, "POST", bearer, form="").status == 303
    with pytest.raises(CallError):
        client.wait(str(client.get(id).rerun_as), timeout=PATIENCE)


def test_a_call_is_cancelled_by_its_button(person: Person, client: Client, functions: Functions):
    """It looks cancelled then, and is no failure."""
    id = client.dispatch(functions.call("charge", 1), delay=3600)
    path = f"/calls/{id}/cancel"
    fields = fields_of(person.get(f"/calls/{id}"))
    assert person.post(path, token="x").status == 403
    assert client.get(id).state == "queued"
    answer = person.post(path, **fields)
    assert (answer.status, answer["location"]) == (303, f"/calls/{id}")
    shown = person.get(f"/calls/{id}")
    assert plain(shown.text).startswith("All calls charge cancelled")
    assert "PERMANENT_ERROR" not in shown.text
    assert "/cancel" not in shown.text
    (row,) = re.findall(r"<tbody>.*</tbody>", person.get("/?id=" + str(id)[8:]).text, re.DOTALL)
    assert "cancelled" in row
    assert "PERMANENT_ERROR" not in row
    answer = person.post(path, **fields)
    assert (answer.status, "has finished already" in answer.text) == (409, True)
    assert person.post(f"/calls/{UNKNOWN}/cancel", **fields).status == 404


@pytest.mark.parametrize("id", [UNKNOWN, "no-id"])
def test_a_call_that_there_is_not(person: Person, id: str):
    answer = person.post(f"/calls/{id}/rerun", token=form_token(person.session))
    assert (answer.status, "There is no call" in answer.text.replace("there is", "There is")) == (
        404,
        True,
    )


def test_dead_letters_have_a_tile_and_a_list(person: Person, client: Client, failing: Functions):
    client.purge_calls(dead=True)
    id = failed(client, failing, "charge", 1)
    failing.fails.clear()
    fine = client.dispatch(failing.call("charge", 2))
    client.wait(fine, timeout=PATIENCE)
    home = person.get("/")
    tile = '<a href="/?dead=on"><span>dead letters</span> <strong>{}</strong></a>'
    assert tile.format(1) in home.text
    listed = person.get("/?dead=on").text
    assert id in listed
    assert fine not in listed
    client.rerun(id)
    assert tile.format(0) in person.get("/").text
    assert "There are no such calls." in person.get("/?dead=on").text


def test_dead_letters_are_rerun_by_a_filter(person: Person, client: Client, failing: Functions):
    """They are counted first, and rerun when that is confirmed: these, and no others."""
    client.purge_calls(dead=True)
    ids = [failed(client, failing, "charge", number) for number in range(3)]
    other = failed(client, failing, "other", 1)
    assert "Rerun them" not in person.get("/").text
    listing = person.get("/?dead=on&function=charg").text
    (path,) = re.findall(r'<a href="([^"]*)">Rerun them', listing)
    asked = person.get(unescape(path))
    assert "3 dead letters match." in plain(asked.text)
    assert "Function charg" in plain(asked.text)
    later = failed(client, failing, "charge", "after the count")
    failing.fails.clear()
    fields = fields_of(asked)
    assert person.post("/calls/rerun", **{**fields, "token": "x"}).status == 403
    assert [client.get(id).rerun_as for id in ids] == [None] * 3
    answer = person.post("/calls/rerun", **fields)
    assert answer.status == 303
    shown = plain(person.get(answer["location"]).text)
    assert "3 calls are rerun." in shown
    assert "1 dead letter matches." in shown  # the one that failed later
    for number, id in enumerate(ids):
        new = client.get(id).rerun_as
        assert client.wait(str(new), timeout=PATIENCE) == f"charged {number}"
    assert [client.get(id).rerun_as for id in (other, later)] == [None, None]
    again = person.post("/calls/rerun", **fields)  # pressed twice
    assert "0 calls are rerun." in plain(person.get(again["location"]).text)


def test_dead_letters_are_rerun_by_every_filter_of_the_list(
    person: Person, client: Client, failing: Functions
):
    client.purge_calls(dead=True)
    call = failing.call("charge", "labelled")
    id = str(client.dispatch(call, labels={"order": "o1", "region": "eu"}))
    with pytest.raises(CallError):
        client.wait(id, timeout=PATIENCE)
    failed(client, failing, "charge", "without labels")
    host = failing.endpoint.url.removeprefix("http://")
    for query, number in (
        ("label=order%3Do1,region%3Deu", 1),
        ("label=order%3Do1,region%3Dus", 0),
        (f"id={id[-12:]}", 1),
        (f"endpoint={host}", 2),
        ("status=PERMANENT_ERROR&recorded=15m&finished=15m&state=finished", 2),
        ("status=TIMEOUT", 0),
        ("state=queued", 0),
    ):
        shown = person.get(f"/calls/rerun?{query}").text
        assert fields_of(person.get(f"/calls/rerun?{query}")).get("expected", "0") == str(number)
        assert ("No dead letter matches." in plain(shown)) == (number == 0)
    client.purge_calls(dead=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("as_of", ""),
        ("as_of", "yesterday"),
        ("as_of", "2026-01-31T12:00:00"),
        ("as_of", "0001-01-01T00:00:00+00:00"),
        ("expected", "0"),
        ("expected", "-1"),
        ("expected", "all"),
    ],
)
def test_a_rerun_that_was_not_confirmed(person: Person, name: str, text: str):
    fields = {
        "token": form_token(person.session),
        "as_of": "2026-01-31T12:00:00+00:00",
        "expected": "1",
        "recorded": "7d",
    }
    answer = person.post("/calls/rerun", **{**fields, name: text})
    assert (answer.status, f"{name}: a" in answer.text) == (400, True)


def test_dead_letters_are_rerun_in_pages(
    person: Person, client: Client, failing: Functions, monkeypatch: pytest.MonkeyPatch
):
    client.purge_calls(dead=True)
    ids = [failed(client, failing, "charge", number) for number in range(5)]
    failing.fails.clear()
    monkeypatch.setattr(matching, "MAX_PAGE_SIZE", 2)
    monkeypatch.setattr(matching, "DEAD_COUNTED", 3)  # so many are counted, and rerun
    for done, left in ((3, 2), (2, 0)):
        answer = person.post("/calls/rerun", **fields_of(person.get("/calls/rerun")))
        assert f"{done} calls are rerun." in plain(person.get(answer["location"]).text)
        assert client.rerun_calls(dry_run=True) == left
    assert all(client.get(id).rerun_as for id in ids)


def test_a_call_that_is_due_is_queued_and_another_one_delayed(
    person: Person, client: Client, functions: Functions
):
    client.pause(function="charge")
    ids = {
        "queued": client.dispatch(functions.call("charge", 1)),
        "delayed": client.dispatch(functions.call("charge", 2), delay=3600),
    }
    try:
        for state in ids:
            shown = person.get(f"/?state={state}&function=charge").text
            assert [name for name, id in ids.items() if id in shown] == [state]
    finally:
        for id in ids.values():
            client.cancel(id)
        client.resume(everything=True)


def test_a_function_is_paused_and_resumed_on_the_page(person: Person, client: Client):
    token = form_token(person.session)
    assert "Nothing is paused." in person.get("/calls/hosts").text
    answer = person.post("/calls/pause", token=token, function="charge", reason="<b>bank</b>")
    assert (answer.status, answer["location"]) == (303, "/calls/hosts")
    assert person.post("/calls/pause", token="", function="other").status == 403
    (pause,) = client.pauses()
    assert (pause.function, pause.reason) == ("charge", "<b>bank</b>")
    for path in ("/", "/calls/hosts"):
        assert "the function charge" in person.get(path).text
        assert "&lt;b&gt;bank&lt;/b&gt;" in person.get(path).text
    assert person.post("/calls/resume", token=token, function="charge").status == 303
    assert client.pauses() == []
    assert person.post("/calls/pause", token=token, all="on").status == 303
    fields = fields_of(person.get("/calls/hosts"))
    assert fields["all"] == "on"
    assert person.post("/calls/resume", **fields).status == 303
    assert client.pauses() == []
    for path in ("/calls/pause", "/calls/resume"):
        answer = person.post(path, token=token)
        assert answer.status == 400
        assert "give a host, a function or both" in answer.text
