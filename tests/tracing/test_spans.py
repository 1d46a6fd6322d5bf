"""Spans of this process: what is told of dispatches, and what replayed code cannot do."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dispatch_grpc import Client, UnavailableError, new_call
from dispatch_grpc.primitives import RunResponse
from dispatch_grpc.service import run_traces
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.testing import CallRecorder, serve
from dispatch_grpc.tracing import spans
from tests.conftest import Driver
from tests.tracing.files import spans_in

CALL = new_call("http://example.com", "greet")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"

# The process of the tests has no provider of spans, since it could not be taken away again.
DISPATCH = """
import asyncio, sys
from pathlib import Path
from opentelemetry import trace
from dispatch_grpc import AsyncClient, Client, UnavailableError, new_call
from tests.tracing.files import export_to

export_to(Path(sys.argv[1]))
greet, part = (new_call("http://example.com", name) for name in ("greet", "part"))

async def main():
    async with AsyncClient("k" * 12, api_url=sys.argv[2]) as client:
        await client.dispatch(greet)
        batch = client.batch()
        batch.add(greet, greet)
        await batch.dispatch()

with Client("k" * 12, api_url=sys.argv[2]) as client:
    with trace.get_tracer("app").start_as_current_span("outer"):
        client.dispatch(greet)
        batch = client.batch()
        batch.add(greet, part)
        batch.dispatch()
        client.dispatch(greet, metadata={"traceparent": "PARENT"})
with Client("k" * 12, api_url="http://127.0.0.1:1", retry=None, timeout=1) as client:
    try:
        client.dispatch(greet)
    except UnavailableError:
        print("unavailable")
asyncio.run(main())
""".replace("PARENT", PARENT)


def test_a_dispatch_is_a_span_whose_context_goes_along(tmp_path: Path):
    recorder = CallRecorder()
    with serve(recorder, "k" * 12) as server:
        done = subprocess.run(
            [sys.executable, "-c", DISPATCH, tmp_path / "spans", server.url],
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert (done.stdout, done.stderr) == ("unavailable\n", "")
    outer, made = None, []
    for span in spans_in(tmp_path / "spans"):
        if span.name == "outer":
            outer = span
        else:
            made.append(span)
    assert outer is not None
    assert {span.kind for span in made} == {"PRODUCER"}
    assert [span.name for span in made] == [
        "dispatch greet",
        "dispatch",  # several functions have no name
        *["dispatch greet"] * 4,
    ]
    single, batch, own, failed, _, batch_of_one_function = made
    assert [one.parent for one in made] == [outer.id] * 3 + [None] * 3
    assert single.attributes == {
        "messaging.system": "dispatch",
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": "greet",
        "messaging.message.id": recorder.requests[0].dispatch_ids[0],
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
    }
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert "messaging.destination.name" not in batch.attributes
    assert batch_of_one_function.attributes["messaging.destination.name"] == "greet"
    assert (failed.failed, failed.attributes["error.type"]) == (True, "UnavailableError")
    contexts = [request.metadata["traceparent"] for request in recorder.requests]
    assert contexts[2] == PARENT  # the caller's own
    del contexts[2]
    succeeded = [one for one in made if one not in (own, failed)]
    assert [one.split("-")[1:3] for one in contexts] == [[one.trace, one.id] for one in succeeded]


def test_a_context_goes_along_without_the_sdk(driver: Driver):
    """From a span that is not recorded, such as one that was taken from a request."""
    recorder = CallRecorder()
    parent = spans._parsed(f"{PARENT} a=1")
    with serve(recorder, "k" * 12) as server:
        client = driver.client(server.url, "k" * 12)

        async def dispatch() -> None:
            with trace.use_span(trace.get_current_span(parent)):
                await client.dispatch(CALL)

        if driver.is_async:
            driver.run(dispatch)
        else:
            with trace.use_span(trace.get_current_span(parent)):
                client.dispatch(CALL)
        driver.dispatch(client, CALL)
    first, second = (request.metadata for request in recorder.requests)
    assert (first["traceparent"], first["tracestate"]) == (PARENT, "a=1")
    assert "traceparent" not in second


def test_a_failed_dispatch_is_no_error_of_a_span_around_it():
    """One of the program's own, by a provider that is not the one of the process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Client("k" * 12, api_url="http://127.0.0.1:1", retry=None, timeout=1, env={}) as client:
        with provider.get_tracer("app").start_as_current_span("outer"):
            with pytest.raises(UnavailableError):
                client.dispatch(CALL)
    (outer,) = exporter.get_finished_spans()
    assert (outer.status.status_code, outer.events) == (trace.StatusCode.UNSET, ())


def test_dispatches_of_a_trace_do_not_leave_with_others():
    """A trace is that of a request."""
    recorder = CallRecorder()
    parent = spans._parsed(PARENT)
    driver = Driver("grpc", is_async=True)
    with serve(recorder, "k" * 12) as server:
        client = driver.client(server.url, "k" * 12, coalesce=True)

        async def dispatch() -> None:
            await asyncio.gather(*(client.dispatch(CALL) for _ in range(3)))
            with trace.use_span(trace.get_current_span(parent)):
                await asyncio.gather(*(client.dispatch(CALL) for _ in range(3)))

        driver.run(dispatch)
        driver.close()
    assert [len(request.calls) for request in recorder.requests] == [3, 1, 1, 1]
    assert [request.metadata.get("traceparent") for request in recorder.requests] == [
        None,
        *[PARENT] * 3,
    ]


def test_replayed_code_makes_no_spans_and_changes_none():
    exporter, replaying = InMemorySpanExporter(), True
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app")

    def work() -> None:
        with tracer.start_as_current_span("work"):
            pass
        span = trace.get_current_span()
        span.set_attribute("a", 1)
        span.set_attributes({"b": 2})
        span.add_event("event")
        span.add_link(trace.get_current_span(spans._parsed(PARENT)).get_span_context())
        span.record_exception(ValueError("no"))
        span.update_name("renamed")
        span.set_status(trace.StatusCode.ERROR, "bad")
        span.end()
        assert span.is_recording() is not replaying
        assert span.get_span_context().trace_id == outer.get_span_context().trace_id

    with tracer.start_as_current_span("run") as outer, spans.hidden_while(lambda: replaying):
        work()
        with pytest.raises(KeyError), spans.hidden_while(lambda: False):
            raise KeyError
        assert exporter.get_finished_spans() == ()
        replaying = False
        work()
    made, run = exporter.get_finished_spans()
    assert (made.name, made.parent and made.parent.span_id) == ("work", run.context.span_id)
    assert (run.name, dict(run.attributes or {})) == ("renamed", {"a": 1, "b": 2})
    assert [event.name for event in run.events] == ["event", "exception"]
    assert len(run.links) == 1
    assert run.status.description == "bad"


def test_an_attempt_that_was_given_up_or_has_a_status_of_later_is_told():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("given up") as span:
        run_traces.note(spans.Traced(span), None)
    with tracer.start_as_current_span("later") as span:
        run_traces.note(spans.Traced(span), Answer(RunResponse.FromString(b"\x08\xe7\x07")))
    given_up, later = (dict(one.attributes or {}) for one in exporter.get_finished_spans())
    assert given_up == {"error.type": "cancelled"}
    assert later == {"messaging.dispatch.status": "999", "error.type": "999"}


def test_what_is_not_known_of_a_run_is_left_out():
    """A service may send neither the root nor the number of the attempt, and a URL no port."""
    with spans.running("f", "id", "", None, {}) as run:
        assert run.context is None
    with spans.attempting("f", "id", "id", 1, url="https://example.com", context=PARENT) as attempt:
        assert attempt.context == PARENT
