"""The log of the service: a line for each attempt that failed, none for those that succeed."""

import json
import logging
import re
from pathlib import Path

import pytest

from dispatch_grpc import Client, Status, new_call
from dispatch_grpc.primitives import RunRequest, RunResponse
from dispatch_grpc.service import run_log
from dispatch_grpc.service.breaker import FAILURES
from tests.cli.test_cli_service import run, serve
from tests.hostile import unused_port
from tests.operations.conftest import Functions
from tests.operations.test_rerun import PATIENCE, failed
from tests.service.processes import KEY, endpoint, service
from tests.waiting import until


def lines_of(caplog: pytest.LogCaptureFixture, id: str) -> list[logging.LogRecord]:
    return [one for one in caplog.records if getattr(one, "dispatch_id", "") == id]


def test_an_attempt_that_fails_for_good_is_a_line(
    failing: Functions, client: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "dispatch_grpc.service")
    id = failed(client, failing, "charge", "x")
    until(lambda: lines_of(caplog, id))
    (record,) = lines_of(caplog, id)
    host = failing.endpoint.url
    assert record.getMessage() == (
        f"attempt 1 of the call {id} (charge on {host}) failed, and is not tried again: "
        f"PERMANENT_ERROR: dispatch_grpc.errors.PermanentError: declined: x"
    )
    fields = [vars(record)[name] for name in ("function", "host", "attempt", "status")]
    assert fields == ["charge", host, 1, "PERMANENT_ERROR"]


def test_an_endpoint_cannot_add_lines(
    functions: Functions, client: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "dispatch_grpc.service")

    @functions.endpoint.primitive
    def forger(_: RunRequest) -> RunResponse:
        response = RunResponse(status=Status.PERMANENT_ERROR.value)
        response.exit.result.error.type = "E\nINFO:a line"
        response.exit.result.error.message = "m\r\nINFO:another"
        return response

    id = failed(client, functions, "forger", None)
    until(lambda: lines_of(caplog, id))
    (record,) = lines_of(caplog, id)
    assert record.getMessage().endswith(": E INFO:a line: m INFO:another")


def test_an_attempt_that_succeeds_is_no_line(
    functions: Functions, client: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "dispatch_grpc.service")
    id = client.dispatch(functions.call("charge", 1))
    client.wait(id, timeout=PATIENCE)
    assert lines_of(caplog, id) == []
    assert id not in caplog.text


def test_each_retry_is_a_line_of_json_and_so_is_the_banner(folder: Path):
    call = new_call(f"http://127.0.0.1:{unused_port()}", "f")
    with serve(folder, "--log-format", "json", keep=False, DISPATCH_API_KEY=KEY) as serving:
        banner = [json.loads(line) for line in serving.lines]
        url = banner[0]["message"].removeprefix("URL: ")
        with Client(KEY, api_url=url, env={}) as client:
            id = client.dispatch(call)
            # Its breaker has opened, and two calls have probed the host in vain.
            serving.until(lambda: serving.err.count('"attempt"') >= FAILURES + 2)
            client.cancel(id)
        records = [json.loads(line) for line in serving.err.splitlines()]
    found = [one for one in records if one.get("dispatch_id") == id]
    assert [one["attempt"] for one in found[:3]] == [1, 2, 3]
    assert {(one["function"], one["host"], one["status"], one["level"]) for one in found} == {
        ("f", call.endpoint, "TCP_ERROR", "INFO")
    }
    assert re.search(
        r"failed, and is tried again in \d+\.\d s: TCP_ERROR: (?!TCP_ERROR)", found[0]["message"]
    )
    (opened,) = (one for one in records if "breaker" in one["message"])
    assert opened["message"].startswith(f"the breaker of {call.endpoint} opens: ")
    assert opened["host"] == call.endpoint
    assert {one["level"] for one in banner} == {"INFO"}


@pytest.mark.slow
def test_a_takeover_is_a_line(folder: Path):
    """The process that ran a call is killed."""
    log = folder / "second.log"
    with endpoint(folder / "runs") as hosted, service(folder / "data") as first:
        with Client(KEY, api_url=first.url, env={}) as client:
            id = client.dispatch(new_call(hosted.url, "slow", 5.0))
            until(lambda: "slow" in (folder / "runs").read_text())
        first.kill()  # before the second starts, which may take longer than the call
        with service(folder / "data", log=log) as second:
            with Client(KEY, api_url=second.url, env={}) as client:
                assert client.wait(id, timeout=PATIENCE) == 5.0
            text = log.read_text()
    assert f"the call {id} (slow on {hosted.url}) is taken over: the process" in text


def test_a_slow_attempt_is_a_line(
    functions: Functions,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    caplog.set_level(logging.INFO, "dispatch_grpc.service")
    monkeypatch.setattr(run_log, "SLOW_SECONDS", 0.0)
    id = client.dispatch(functions.call("charge", 1))
    client.wait(id, timeout=PATIENCE)
    until(lambda: lines_of(caplog, id))
    (record,) = lines_of(caplog, id)
    assert re.search(r"was slow: it took \d+\.\d s$", record.getMessage())


def test_an_error_of_the_start_is_a_line_of_json_too(folder: Path):
    url = f"postgresql://127.0.0.1:{unused_port()}/x"
    options = ("--database", url, "--data-dir", str(folder), "--log-format", "json")
    done = run("serve", "--port", "0", *options)
    assert done.code == 2
    (record,) = [json.loads(line) for line in done.err.splitlines()]
    assert record["level"] == "ERROR"
    assert "nothing listens there" in record["message"]


def test_the_service_logs_where_it_listens(folder: Path):
    with serve(folder, DISPATCH_API_KEY=KEY, keep=False) as serving:
        serving.until(lambda: f"listening on {serving.url}\n" in serving.err)
