"""The traces of calls that no client dispatches: reruns, schedules."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from dispatch_grpc import CallError, Client, Status, new_call
from dispatch_grpc.primitives import exit_
from tests.conftest import RunningService, data_dir
from tests.service.processes import KEY
from tests.tracing.bare import Bare, bare_endpoint
from tests.tracing.files import Found, spans_in
from tests.tracing.scenario import traced_service
from tests.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PATIENCE = 60


@pytest.fixture
def bare() -> Iterator[Bare]:
    with bare_endpoint() as bare:
        yield bare


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url, env={}) as client:
        yield client


def test_a_rerun_belongs_to_the_trace_of_its_call(client: Client, bare: Bare) -> None:
    for rerun in (client.rerun, lambda _: client.rerun_calls(function="again", expected=1)):
        bare.answers = [exit_(status=Status.PERMANENT_ERROR, error=ValueError("no"))]
        metadata = {"traceparent": PARENT, "tracestate": "a=1"}
        id = client.dispatch(new_call(bare.url, "again"), metadata=metadata)
        with pytest.raises(CallError):
            client.wait(id, timeout=PATIENCE)
        rerun(id)
        new = client.get(id).rerun_as
        assert new is not None
        client.wait(new, timeout=PATIENCE)
        assert client.get(new).trace_id == TRACE
        assert bare.headers[-1]["traceparent"] == PARENT
        assert bare.headers[-1]["tracestate"] == "a=1"


@pytest.mark.slow
def test_each_firing_of_a_schedule_is_a_trace(bare: Bare) -> None:
    """It begins with a PRODUCER span, and has all attempts."""
    bare.answers = [None]
    with data_dir() as folder, traced_service(folder) as (url, file):
        with Client(KEY, api_url=url, env={}) as client:
            call = new_call(bare.url, "tick")
            client.schedules.create("ticks", call, every=timedelta(seconds=1))
            client.schedules.trigger("ticks")
            until(lambda: len(client.schedules.get("ticks").firings) >= 3)
            client.schedules.pause("ticks")
            ids = [firing.dispatch_id for firing in client.schedules.get("ticks").firings]
            for id in ids:
                client.wait(id, timeout=PATIENCE)

            def is_there() -> bool:
                return sum(span.name == "attempt tick" for span in spans_in(file)) > len(ids)

            until(is_there, problem=lambda: spans_in(file))
            traces = [client.get(id).trace_id for id in ids]
        spans = spans_in(file)
    produced = [span for span in spans if span.kind == "PRODUCER"]
    check(ids, traces, produced, [span for span in spans if span.name == "attempt tick"])


def check(ids: list[Any], traces: list[Any], produced: list[Found], attempts: list[Found]) -> None:
    assert len(set(traces)) == len(ids)
    assert {span.parent for span in produced} == {None}
    assert {span.attributes["messaging.message.id"]: span.trace for span in produced} == dict(
        zip(ids, traces, strict=True)
    )
    assert produced[0].attributes == {
        "messaging.system": "dispatch",
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": "tick",
        "messaging.message.id": produced[0].attributes["messaging.message.id"],
        "messaging.dispatch.schedule": "ticks",
    }
    assert len(attempts) == len(ids) + 1  # one of them failed
    by_id = {span.id: span for span in produced}
    for attempt in attempts:
        assert attempt.parent is not None
        assert attempt.links == (attempt.parent,)
        assert by_id[attempt.parent].trace == attempt.trace
