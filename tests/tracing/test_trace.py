"""One trace through client, service, workflow and other endpoints."""

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from dispatch_grpc import Client, ConfigurationError, new_call
from dispatch_grpc.cli.output import details
from dispatch_grpc.primitives import poll
from tests.conftest import RunningService, data_dir
from tests.tracing import scenario
from tests.tracing.bare import Bare, bare_endpoint
from tests.tracing.files import Found

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PATIENCE = 60

# The spans of an order, and the parent of each. Each attempt is there once.
ORDER = Counter(
    {
        ("checkout", None): 1,
        ("dispatch order", "checkout"): 1,
        ("attempt order", "dispatch order"): 2,
        ("run order", "attempt order"): 2,
        ("look at the order", "run order"): 1,
        ("pack", "run order"): 1,
        ("dispatch ship", "pack"): 1,
        ("attempt ship", "dispatch ship"): 1,
        ("run ship", "attempt ship"): 1,
        ("load the van", "run ship"): 1,
        ("dispatch charge", "run order"): 1,
        ("attempt charge", "dispatch charge"): 2,
        ("close the order", "run order"): 1,
    }
)
KINDS = {"dispatch": "PRODUCER", "attempt": "CLIENT", "run": "CONSUMER"}


@pytest.fixture
def bare() -> Iterator[Bare]:
    with bare_endpoint() as bare:
        yield bare


def is_all(spans: list[Found]) -> bool:
    return len(spans) >= ORDER.total()


def tree(spans: list[Found]) -> Counter[tuple[str, str | None]]:
    names = {span.id: span.name for span in spans}
    return Counter((span.name, span.parent and names.get(span.parent)) for span in spans)


def check_order(
    id: str, spans: list[Found], charges: list[str], *, error_type: str = "TEMPORARY_ERROR"
) -> None:
    """Check the spans of an order.

    Args:
        id: Id of its call.
        spans: The spans.
        charges: The `traceparent` of each request that the other endpoint got.
        error_type: The type of the error of the first of them.
    """
    assert tree(spans) == ORDER
    assert len({span.trace for span in spans}) == 1
    by_id = {span.id: span for span in spans}
    ours = [span for span in spans if "messaging.system" in span.attributes]
    for span in ours:
        operation, _, function = span.name.partition(" ")
        assert span.kind == KINDS[operation]
        named = [span.attributes[f"messaging.{key}.name"] for key in ("operation", "destination")]
        assert named == [operation, function]
        if operation != "dispatch":
            (link,) = (by_id[link].name for link in span.links)
            assert link == f"dispatch {function}"
    assert {
        span.attributes["messaging.message.id"] for span in ours if span.name.endswith("order")
    } == {id}
    attempts = sorted(
        (span for span in spans if span.name == "attempt charge"),
        key=lambda span: span.attributes["messaging.dispatch.attempt"],
    )
    found = [
        (span.attributes["messaging.dispatch.status"], span.attributes.get("error.type"))
        for span in attempts
    ]
    assert found == [("TEMPORARY_ERROR", error_type), ("OK", None)]
    assert [span.failed for span in attempts] == [True, False]
    assert [one.split("-")[1:3] for one in charges] == [[one.trace, one.id] for one in attempts]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
def test_an_order_is_one_trace_with_a_span_for_each_attempt(bare: Bare, options: tuple[str, ...]):
    bare.answers = [None]
    with data_dir() as folder:
        id, output, spans = scenario.run(folder, bare.url, is_all, *options)
        assert output == "paid"
        check_order(id, spans, [headers["traceparent"] for headers in bare.headers])
        (line,) = (line for line in scenario.log_of(folder) if "dispatch_id" in line)
    assert {name: line[name] for name in ("function", "host", "attempt", "trace_id")} == {
        "function": "charge",
        "host": bare.url,
        "attempt": 1,
        "trace_id": spans[0].trace,
    }


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url, env={}) as client:
        yield client


def run(client: Client, bare: Bare, **metadata: str) -> list[dict[str, str]]:
    """Run a call of an endpoint with metadata; returns the headers that the endpoint got."""
    client.wait(client.dispatch(new_call(bare.url, "f"), metadata=metadata), timeout=PATIENCE)
    return bare.headers


def test_a_service_without_opentelemetry_passes_a_trace_on(client: Client, bare: Bare):
    """To each attempt, and to the calls that the function makes."""
    child = new_call(bare.url, "child")
    bare.answers = [None, poll([child], min_results=1), None]
    found = run(client, bare, traceparent=PARENT, tracestate="a=1,b=2")
    assert [headers["function"] for headers in found] == ["f", "f", "child", "child", "f"]
    assert {headers["traceparent"] for headers in found} == {PARENT}
    assert {headers["tracestate"] for headers in found} == {"a=1,b=2"}
    assert not any("dispatch-creation-traceparent" in headers for headers in found)


def test_a_call_tells_its_trace(client: Client, bare: Bare):
    call = new_call(bare.url, "told")
    id = client.dispatch(call, metadata={"traceparent": PARENT, "tracestate": "a=1"})
    client.wait(id, timeout=PATIENCE)
    for info in (client.get(id), *client.list(function="told")):
        assert (info.trace_id, info.message.traceparent) == (TRACE, PARENT)
    assert f"trace     {TRACE}" in details(info)
    other = client.get(client.dispatch(new_call(bare.url, "f")))
    assert other.trace_id is None
    assert not any(line.startswith("trace ") for line in details(other))


def test_submitted_calls_have_a_trace_too(client: Client, bare: Bare):
    id = client.dispatch(
        new_call(bare.url, "f"), labels={"a": "b"}, metadata={"traceparent": PARENT}
    )
    client.wait(id, timeout=PATIENCE)
    assert [headers["traceparent"] for headers in bare.headers] == [PARENT]


def test_a_call_of_a_batch_may_have_a_trace_of_its_own(client: Client):
    own = f"00-{TRACE[::-1]}-b7ad6b7169203331-01"
    batch = client.batch()
    batch.add(new_call("http://127.0.0.1:9", "f"), trace=f"{own} a=1")
    batch.add(new_call("http://127.0.0.1:9", "f"))
    ids = batch.dispatch(metadata={"traceparent": PARENT})
    assert [client.get(id).message.traceparent for id in ids] == [own, PARENT]
    for wrong in ("", "x", PARENT + " ", PARENT.upper()):
        with pytest.raises(ConfigurationError, match="trace: a W3C traceparent such as"):
            batch.add(new_call("http://127.0.0.1:9", "f"), trace=wrong)


@pytest.mark.parametrize("given", ["", "x", PARENT[:-1], PARENT.upper(), f"00-{'0' * 32}-b7-01"])
def test_a_trace_that_is_none_is_left_out(client: Client, bare: Bare, given: str):
    (headers,) = run(client, bare, traceparent=given, tracestate="a=1")
    assert "traceparent" not in headers
    assert "tracestate" not in headers


def test_children_belong_below_the_run_that_made_them(client: Client, bare: Bare):
    """An endpoint tells its own span in a header of its answer."""
    own = PARENT.replace("b7ad6b7169203331", "1111111111111111")
    bare.answers = [poll([new_call(bare.url, "child")], min_results=1)]
    bare.tells = {"traceresponse": own}
    found = run(client, bare, traceparent=PARENT)
    assert [(headers["function"], headers["traceparent"]) for headers in found] == [
        ("f", PARENT),
        ("child", own),
        ("f", PARENT),
    ]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("1 2 3", "1 2 3"),
        ("4", "4 4 4"),
        ("1 2", "9 9 9"),  # not one for each
        ("1 2 x", "9 9 9"),
    ],
)
def test_an_endpoint_tells_the_trace_of_each_call(
    client: Client, bare: Bare, told: str, wanted: str
):
    contexts = {one: PARENT.replace("b7ad6b7169203331", one * 16) for one in "12349x"}
    children = [new_call(bare.url, f"child{index}") for index in range(3)]
    bare.answers = [poll(children, min_results=3)]
    bare.tells = {
        "traceresponse": contexts["9"],
        "dispatch-calls-traceparent": ",".join(contexts[one] for one in told.split()),
    }
    found = {headers["function"]: headers.get("traceparent") for headers in run(client, bare)}
    assert [found[f"child{index}"] for index in range(3)] == [
        contexts[one] for one in wanted.split()
    ]


def test_the_log_has_the_id_of_the_trace(
    client: Client, bare: Bare, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "dispatch_grpc.service")
    bare.answers = [None]
    run(client, bare, traceparent=PARENT)
    (record,) = (one for one in caplog.records if vars(one).get("host") == bare.url)
    assert vars(record)["trace_id"] == TRACE
    bare.answers = [None]
    caplog.clear()
    run(client, bare)
    (record,) = (one for one in caplog.records if vars(one).get("host") == bare.url)
    assert "trace_id" not in vars(record)


IMPORTS = """
import sys
from dispatch_grpc import AsyncClient, Client, Endpoint, new_call
import asyncio
client = Client("key-of-this-test", api_url=sys.argv[1], timeout=60)
client.wait(client.dispatch(new_call(sys.argv[2], "f")))
async def main():
    async with AsyncClient("key-of-this-test", api_url=sys.argv[1], timeout=60) as client:
        await client.wait(await client.dispatch(new_call(sys.argv[2], "f")))
asyncio.run(main())
Endpoint("bridge://here").app
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_is_imported_for_it(service: RunningService, bare: Bare):
    code = IMPORTS.replace("key-of-this-test", service.api_key)
    done = subprocess.run(
        [sys.executable, "-c", code, service.url, bare.url],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert not any("traceparent" in headers for headers in bare.headers)
