"""The attempts that are kept with a call, and who can see them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from dispatch_grpc import Client, Status, cli, new_call
from dispatch_grpc.primitives import exit_, poll, tail_call
from dispatch_grpc.schema import Attempt, CallInfo
from dispatch_grpc.service import reads, store_cancel
from tests.conftest import RunningService
from tests.service.conftest import Bench
from tests.service.test_store import accept, answer, row, take
from tests.waiting import until

CALL = new_call("http://user:secret@Here.example:80/path", "f", 23)
HOST = "http://here.example:80"
KEPT = 20  # as the schema promises


def attempts(bench: Bench, id: UUID) -> list[Attempt]:
    info: CallInfo = bench.run(lambda c: reads.get(c, id))
    return list(info.attempts)


def fail(bench: Bench, text: str, status: Status = Status.TEMPORARY_ERROR) -> None:
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(error=RuntimeError(text), status=status))


def test_a_call_that_succeeds_at_once_writes_no_attempt(bench: Bench):
    """And its only one is known."""
    (id,) = accept(bench, CALL)
    assert attempts(bench, id) == []
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    found = row(bench, id)
    assert found["attempts"] is None
    (only,) = attempts(bench, id)
    assert (only.run, only.host, only.status) == (1, HOST, Status.OK.value)
    assert only.end_time.ToDatetime(tzinfo=UTC) == found["finished_at"]
    assert not only.HasField("error")


def test_what_failed_is_kept_with_its_time_host_status_and_error(bench: Bench):
    (id,) = accept(bench, CALL)
    before = datetime.now(UTC)
    fail(bench, "first")
    fail(bench, "second\nline", Status.THROTTLED)
    fail(bench, "last", Status.PERMANENT_ERROR)
    found = attempts(bench, id)
    assert [(one.run, one.error.type, one.error.message) for one in found] == [
        (1, "RuntimeError", "first"),
        (2, "RuntimeError", "second\nline"),
        (3, "RuntimeError", "last"),
    ]
    statuses = [Status.TEMPORARY_ERROR, Status.THROTTLED, Status.PERMANENT_ERROR]
    assert [one.status for one in found] == [one.value for one in statuses]
    times = [one.end_time.ToDatetime(tzinfo=UTC) for one in found]
    assert before <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
    assert {one.host for one in found} == {HOST}
    assert "secret" not in str(found)
    assert not any(one.error.traceback for one in found)


def test_the_last_ones_are_kept(bench: Bench):
    (id,) = accept(bench, CALL)
    for number in range(KEPT + 3):
        fail(bench, f"{number}")
    assert len(row(bench, id)["attempts"]) == KEPT
    found = attempts(bench, id)
    assert [one.run for one in found] == list(range(4, KEPT + 4))
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    found = attempts(bench, id)
    assert [one.run for one in found] == list(range(5, KEPT + 5))
    assert found[-1].status == Status.OK.value


def test_a_long_error_is_cut(bench: Bench):
    (id,) = accept(bench, CALL)
    for _ in range(KEPT):
        fail(bench, "ü" * 30_000)
    assert all(len(one.error.message) == 500 for one in attempts(bench, id))
    assert sum(map(len, row(bench, id)["attempts"])) < 25_000


def test_resumptions_and_tail_calls_are_attempts_too(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    answer(bench, loaded, poll([new_call(HOST, "child")], min_results=1))
    (child,) = take(bench)
    answer(bench, child, exit_(1))
    (loaded,) = take(bench)
    answer(
        bench,
        loaded,
        poll([new_call("http://169.254.169.254", "f", expiration=timedelta(days=365))]),
    )
    (loaded,) = take(bench)  # the Poll is not accepted
    answer(bench, loaded, tail_call(new_call("http://there.example", "g")))
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    found = attempts(bench, id)
    assert [(one.run, one.host) for one in found] == [
        (1, HOST), (2, HOST), (3, HOST), (4, "http://there.example"),
    ]  # fmt: skip
    assert {one.status for one in found} == {Status.OK.value}


def test_a_call_that_was_cancelled_has_no_attempt_for_it(bench: Bench):
    (id,) = accept(bench, CALL)
    fail(bench, "first")
    assert bench.run(lambda c: store_cancel.cancel(c, id, datetime.now(UTC))) == 1
    assert [one.run for one in attempts(bench, id)] == [1]


def test_a_list_has_no_attempts(bench: Bench):
    accept(bench, CALL)
    fail(bench, "first")
    (info,), _ = bench.run(lambda c: reads.find(c, {}, 1))
    assert list(info.attempts) == []


def test_clients_and_the_command_line_show_them(
    service: RunningService, capsys: pytest.CaptureFixture[str]
):
    def run(*arguments: str) -> Any:
        options = ["--api-key", service.api_key, "--api-url", service.url]
        assert cli.main([*arguments, *options]) == 0
        return capsys.readouterr().out

    with Client(service.api_key, api_url=service.url, env={}) as client:
        id = client.dispatch(new_call("http://127.0.0.1:1", "f"))
        until(lambda: client.get(id).runs >= 2)
        client.cancel(id)
        one, two = client.get(id).message.attempts[:2]
    assert (one.run, two.run, one.host) == (1, 2, "http://127.0.0.1:1")
    assert one.status == Status.TCP_ERROR.value
    assert json.loads(run("get", id, "--json"))["attempts"][0]["run"] == 1
    lines = run("get", id).splitlines()
    start = lines.index("attempts:")
    assert all("TCP_ERROR  http://127.0.0.1:1  " in line for line in lines[start + 1 :])
    numbers = [int(line.split()[0]) for line in lines[start + 1 :]]
    assert numbers == list(range(len(numbers), 0, -1))
