"""Each call that a function makes has one PRODUCER span, whose context goes with the call."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import Client, new_call
from tests.conftest import RunningService
from tests.service.processes import KEY, Process
from tests.tracing.bare import Bare, bare_endpoint
from tests.tracing.files import Found, spans_in
from tests.waiting import until

PATIENCE = 60


class Hosted:
    """The endpoint `hosted`: a process that can be replaced by another at the same URL."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self._file = folder / "spans"
        self._environment = {"DISPATCH_API_URL": api_url, "DISPATCH_API_KEY": KEY}
        self._process = self._start()
        self.url = self._process.url

    def _start(self, *port: str) -> Process:
        command = ["-m", "tests.tracing.hosted", str(self._file), *port]
        return Process(sys.executable, *command, env=self._environment)

    def replace(self) -> None:
        """End the process, and start another."""
        self.close()
        self._process = self._start(self.url.rpartition(":")[2])

    def close(self) -> None:
        self._process.close()

    @property
    def spans(self) -> list[Found]:
        return spans_in(self._file)

    @property
    def produced(self) -> list[Found]:
        return [span for span in self.spans if span.kind == "PRODUCER"]


@pytest.fixture
def bare() -> Iterator[Bare]:
    with bare_endpoint() as bare:
        yield bare


@pytest.fixture
def hosted(tmp_path: Path, service: RunningService) -> Iterator[Hosted]:
    hosted = Hosted(tmp_path, service.url)
    yield hosted
    hosted.close()


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url, env={}) as client:
        yield client


def run(client: Client, hosted: Hosted, function: str, input: Any) -> Any:
    return client.wait(client.dispatch(new_call(hosted.url, function, input)), timeout=PATIENCE)


def parents(bare: Bare) -> list[str]:
    """The parent of each request that the other endpoint got."""
    return [headers["traceparent"].split("-")[2] for headers in bare.headers]


def test_calls_that_are_made_together_have_a_span_each(
    client: Client, hosted: Hosted, bare: Bare
) -> None:
    assert run(client, hosted, "ship_all", bare.url) == 3
    assert [span.name for span in hosted.produced] == ["dispatch charge"] * 3
    assert hosted.produced[0].attributes == {
        "messaging.system": "dispatch",
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": "charge",
    }
    assert sorted(parents(bare)) == sorted(span.id for span in hosted.produced)
    # The first run has a span of its own around them. It is not recorded again in a replay.
    (around,) = (span for span in hosted.spans if span.name == "all of it")
    runs = until(
        lambda: len(runs := [s for s in hosted.spans if s.name == "run ship_all"]) >= 3 and runs,
        problem=lambda: hosted.spans,
    )
    *together, last = hosted.produced
    assert {span.parent for span in together} == {around.id}
    assert last.parent in {one.id for one in runs} - {around.parent}


def test_another_process_that_replays_makes_no_span_again(
    client: Client, hosted: Hosted, bare: Bare
) -> None:
    bare.answers = [None] * 1000
    id = client.dispatch(new_call(hosted.url, "ship_all", bare.url))
    until(lambda: len(bare.headers) >= 2)
    hosted.replace()
    bare.answers = []
    assert client.wait(id, timeout=PATIENCE) == 3
    assert [span.name for span in hosted.produced] == ["dispatch charge"] * 3
    assert set(parents(bare)) == {span.id for span in hosted.produced}


def test_calls_that_the_service_refuses_have_no_span_again(
    client: Client, hosted: Hosted, bare: Bare
) -> None:
    assert run(client, hosted, "try_again", bare.url) == "paid"
    assert [span.name for span in hosted.produced] == ["dispatch secret", "dispatch charge"]
    assert parents(bare) == [hosted.produced[1].id]


def test_many_calls_have_a_span_together(client: Client, hosted: Hosted, bare: Bare) -> None:
    assert run(client, hosted, "call_many", bare.url) == 33
    (span,) = hosted.produced
    assert span.attributes["messaging.batch.message_count"] == 33
    assert parents(bare) == [span.id] * 33


def test_functions_without_a_workflow_do_the_same(
    client: Client, hosted: Hosted, bare: Bare
) -> None:
    assert run(client, hosted, "split", bare.url) == "paid"
    assert [span.name for span in hosted.produced] == ["dispatch charge"]
    assert parents(bare) == [hosted.produced[0].id]
