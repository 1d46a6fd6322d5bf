"""The filters of the page: what a query says, and which calls it finds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from dispatch_grpc import Client, new_call
from dispatch_grpc.service import reads, reads_lanes
from dispatch_grpc.service.page.filters import filters_of, labels_of
from dispatch_grpc.service.page.requests import Refused
from tests.service.conftest import Bench
from tests.service.page_calls import EVIL_NAME, KEY, Shown, listed, plain
from tests.waiting import until

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a=1", {"a": "1"}),
        ("a=", {"a": ""}),
        ("a=1, b/c=2", {"a": "1", "b/c": "2"}),
        ("a=1,b=x=y", {"a": "1", "b": "x=y"}),
        ("note=one, two", {"note": "one, two"}),
        ("ü=1", None),
        ("a", None),
        ("a, b=1", None),
        ("=1", None),
        ("a=\0", None),
        ("a=" + "x" * 300, None),
    ],
)
def test_labels_are_read_from_a_text(text: str, labels: dict[str, str] | None):
    if labels is not None:
        assert labels_of(text) == labels
        return
    with pytest.raises(Refused, match=r"There is no such label: labels"):
        labels_of(text)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "none"},
        {"status": "1"},
        {"function": "\0"},
        {"endpoint": "x" * 501},
        {"label": "x"},
        {"recorded": "1y"},
        {"finished": "0"},
        {"id": "xyz"},
        {"before": "x"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, str]):
    with pytest.raises(Refused) as raised:
        filters_of(query, NOW)
    assert raised.value.status == 400


def test_a_query_becomes_filters():
    assert filters_of({}, NOW) == {}
    assert filters_of({"state": "", "function": "  ", "id": " … "}, NOW) == {}
    query = {
        "state": "queued",
        "status": "TIMEOUT",
        "function": " f ",
        "endpoint": "e",
        "id": "…A-b",
    }
    query |= {"recorded": "1h", "finished": "15m", "dead": "on", "label": "a=1"}
    assert filters_of(query, NOW) == {
        "state": 1,
        "delayed": False,
        "status": 2,
        "function_part": "f",
        "endpoint_part": "e",
        "id_part": "a-b",
        "created_after": NOW - timedelta(hours=1),
        "finished_after": NOW - timedelta(minutes=15),
        "dead": True,
        "labels": {"a": "1"},
    }


def found(shown: Shown, query: str) -> set[str]:
    answer = shown.get(f"/?{query}")
    assert answer.status == 200, plain(answer.text)
    names = {id: name for name, id in shown.ids.items()}
    return {names.get(id, "another") for id in listed(answer.text)}


def test_calls_are_found_by_what_one_knows_of_them(shown: Shown):
    ids = shown.ids
    assert found(shown, "state=delayed") == {"later", "overload", "secret"}
    assert found(shown, "state=queued") == set()
    assert found(shown, "function=ESCRIB") == {"describe"}
    assert found(shown, f"function={quote(EVIL_NAME[3:-2])}") == {"evil"}
    assert found(shown, "function=%25") == set()  # no pattern
    assert found(shown, "endpoint=127.0.0.1:1/A") == {"secret"}
    assert found(shown, "endpoint=nowhere") == set()
    assert found(shown, "label=order=o1") == {"labelled"}
    assert found(shown, "label=" + quote("order=o1, note=a, b = <c>")) == {"labelled"}
    assert found(shown, "label=order=o2") == {"later", "cancelled"}
    assert found(shown, "label=order=o2&state=finished") == {"cancelled"}
    assert found(shown, "label=order=o3") == set()
    assert found(shown, f"id={ids['fail'][24:]}") == {"fail"}
    assert found(shown, f"id=%E2%80%A6{ids['fail'][24:].upper()}") == {"fail"}
    assert found(shown, "recorded=15m&function=describe") == {"describe"}
    assert found(shown, "finished=1h&function=hold") == set()
    assert found(shown, "finished=1h&function=describe") == {"describe"}
    answer = shown.get(f"/?id={ids['fail']}")
    assert (answer.status, answer["location"]) == (303, f"/calls/{ids['fail']}")


def test_a_row_tells_the_state_the_error_and_the_labels(shown: Shown):
    def row(query: str) -> str:
        return plain("<main>" + shown.get(f"/?{query}").text.partition("<tbody>")[2])

    text = row(f"id={shown.ids['fail'][24:]}")
    assert text.startswith(f"INVALID_ARGUMENT …{shown.ids['fail'][24:]} fail ValueError: &lt;/pre")
    text = row("function=overload")
    assert "delayed TCP_ERROR" in text
    assert "ConnectionError: come again 1 " in text
    assert "Error" not in row("function=echo")
    text = row("label=order=o1")
    assert "quick note=a, b = &lt;c&gt; order=o1 1 " in text
    text = row("label=order=o2&state=finished")
    assert text.startswith("cancelled …")
    assert "the call was cancelled" not in text
    assert "PERMANENT_ERROR" not in text


def test_an_endpoint_is_named_once_when_it_is_the_only_one(shown: Shown):
    one, all = shown.get("/?function=quick").text, shown.get("/?state=delayed").text
    assert '<th scope="col">Endpoint</th>' not in one
    assert "All on" in one
    assert '<th scope="col">Endpoint</th>' in all
    assert "All on" not in all
    children = shown.call("parent").text.partition('id="children"')[2]
    assert '<th scope="col">Endpoint</th>' not in children


def test_a_window_of_time_is_chosen(shown: Shown):
    assert "Finished in the last hour" in shown.get("/").text
    # Processes write what they have counted every two seconds.
    until(lambda: "calls finished" in shown.get("/").text)
    page = shown.get("/?window=15m&function=f").text
    assert "Finished in the last 15 minutes" in page
    assert 'href="/?state=finished&amp;status=OK&amp;finished=15m"' in page
    assert 'href="/?function=f&amp;window=7d"' in page
    assert shown.get("/?window=9d").status == 400


def test_attempts_are_on_the_page_of_a_call(shown: Shown):
    text = plain(shown.call("overload").text)
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(
        rf"Attempts TCP_ERROR {time} http://127.0.0.1:\d+ ConnectionError: come again", text
    )
    text = plain(shown.call("fail").text)
    assert text.index("Error ValueError") < text.index("Attempts INVALID_ARGUMENT")
    assert "Attempts" not in plain(shown.call("hold").text)
    assert "Attempts" not in plain(shown.call("cancelled").text)


# Hosts and lanes


def test_lanes_and_hosts_that_rest_are_shown(shown: Shown):
    with Client(KEY, api_url=shown.url, env={}) as client:
        ids = [client.dispatch(new_call("http://127.0.0.1:1", "dial")) for _ in "1234"]
        until_resting(shown)
        text = plain(shown.get("/calls/hosts").text)
        assert re.search(r"(half-)?open http://127.0.0.1:1 \d+ ", text)
        assert "breaker open dial http://127.0.0.1:1" in text
        assert "fails http://127.0.0.1:1 , " in plain(shown.get("/").text)
        client.pause(function="hold")
        text = plain(shown.get("/calls/hosts").text)
        assert "paused hold http://127.0.0.1" in text
        assert "ready quick http://127.0.0.1" in text
        client.resume(function="hold")
        for id in ids:
            client.cancel(id)
        client.purge_calls(function="dial")


def until_resting(shown: Shown) -> None:
    until(lambda: "breaker open dial" in plain(shown.get("/calls/hosts").text))


def test_lanes_are_counted_by_an_index_and_up_to_a_bound(bench: Bench):
    many = """
        INSERT INTO pgqueuer (priority, status, entrypoint, payload, execute_after)
        SELECT 0, 'queued', 'http://h f' || n % 4, '', now() + (n % 2) * interval '1 h'
        FROM generate_series(1, 20000) AS n
    """

    async def explain(connection: Any) -> str:
        await connection.execute(many)
        await connection.execute("ANALYZE pgqueuer")
        rows = await connection.fetch(f"EXPLAIN {reads_lanes.LANES}", 9, 9, 9)
        return "\n".join(row[0] for row in rows)

    plan = bench.run(explain)
    assert "Seq Scan on pgqueuer" not in plan, plan
    lanes = bench.run(reads_lanes.lanes)
    assert [lane.function for lane in lanes] == ["f0", "f1", "f2", "f3"]
    assert [(lane.due, lane.delayed) for lane in lanes] == [(1000, 0), (0, 1000)] * 2
    assert {lane.host for lane in lanes} == {"http://h"}


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"function_part": "f", "endpoint_part": "e", "id_part": "a"}, "calls_pkey"),
        ({"delayed": True, "state": 1, "finished_after": NOW}, "calls_pkey"),
        ({"created_after": NOW, "status": 1}, "calls_pkey"),
        ({"labels": {"a": "1"}, "function_part": "f"}, "labels_pkey"),
        ({"labels": {"a": "1", "b": "2"}, "state": 4}, "labels_pkey"),
    ],
)
def test_a_list_is_found_by_an_index_however_it_is_filtered(
    bench: Bench, filters: dict[str, Any], index: str
):
    """The newest calls are looked at, or the newest with a label, up to a bound: none is sorted."""

    async def explain(connection: Any) -> str:
        await connection.execute(
            "INSERT INTO labels SELECT label, gen_random_uuid() "
            "FROM generate_series(1, 20000), (VALUES ('a=1'), ('b=2')) AS two (label)"
        )
        await connection.execute("ANALYZE labels")
        statement, values = reads.listing(filters, 50, "id")
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))

    plan = bench.run(explain)
    looked_at = plan.partition("CTE looked_at")[2].partition("CTE match")[0]
    assert f"Scan Backward using {index}" in plan, plan
    assert "Seq Scan" not in looked_at, plan
    assert bench.run(lambda c: reads.recent(c, filters, 10))[0] == []
