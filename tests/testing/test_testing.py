"""The test kit, as its users meet it."""

import subprocess
import sys
import threading

import pytest

from dispatch_grpc import Call, Client, Code, NotFoundError, new_call
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server, serve

pytest_plugins = ["pytester"]

A = new_call("http://example.com", "a", {"name": "Ada"})
B = new_call("http://example.com", "b", 2)


@pytest.fixture
def client(dispatch_server: Server):
    with Client("key", api_url=dispatch_server.url, metadata={"tenant": "t1"}) as client:
        yield client


def test_requests_that_match(client: Client, dispatch_recorder: CallRecorder):
    dispatch_recorder.assert_requests()
    client.dispatch(A)
    batch = client.batch()
    batch.add(A, B)
    batch.dispatch()
    dispatch_recorder.assert_requests(RecordedRequest([A]), RecordedRequest([A, B]))
    dispatch_recorder.assert_requests(
        RecordedRequest([A], {"tenant": "t1"}), RecordedRequest((A, B), {})
    )
    assert dispatch_recorder.calls == [A, A, B]
    assert [len(request.dispatch_ids) for request in dispatch_recorder.requests] == [1, 2]
    dispatch_recorder.clear()
    dispatch_recorder.assert_requests()


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ([], ["+request 0:", "+    function: a"]),
        ([RecordedRequest([B])], ["-    function: b", "+    function: a"]),
        ([RecordedRequest([A, A])], ["-  call 1:"]),
        ([RecordedRequest([])], ["+  call 0:"]),
        ([RecordedRequest([A]), RecordedRequest([A])], ["-request 1:"]),
        (
            [RecordedRequest([A], {"tenant": "t2"})],
            ["-  metadata tenant: t2", "+  metadata tenant: t1"],
        ),
        (
            [RecordedRequest([A], {"none": "x"})],
            ["-  metadata none: x", "+  metadata none: (missing)"],
        ),
        (
            [RecordedRequest([new_call("http://example.com", "a", {"name": "Bob"})])],
            ["-    input: {'name': 'Bob'}", "+    input: {'name': 'Ada'}"],
        ),
        (
            [RecordedRequest([Call(endpoint="http://example.com", function="a")])],
            ["+    input: {'name': 'Ada'}"],
        ),
        (
            [RecordedRequest([new_call("http://example.com", "a", {"name": "Ada"}, version="v")])],
            ["-    version: v"],
        ),
    ],
)
def test_the_difference_is_shown(
    client: Client, expected: list[RecordedRequest], lines: list[str], dispatch_recorder
):
    client.dispatch(A)
    with pytest.raises(AssertionError) as caught:
        dispatch_recorder.assert_requests(*expected)
    shown = str(caught.value).splitlines()
    assert shown[0] == "the recorded requests differ:"
    for line in lines:
        assert any(found.startswith(line) for found in shown), caught.value


def test_inputs_of_unknown_types_are_compared_by_their_bytes(client, dispatch_recorder):
    one, other = (new_call("http://example.com", "a", A.input) for _ in range(2))
    one.input.type_url = other.input.type_url = "example.com/Unknown"
    other.input.value = b"\xff"
    client.dispatch(one)
    dispatch_recorder.assert_requests(RecordedRequest([one]))
    with pytest.raises(AssertionError, match=r"example\.com/Unknown, ff"):
        dispatch_recorder.assert_requests(RecordedRequest([other]))


def test_failures_come_in_the_order_they_were_asked_for(client, dispatch_recorder):
    dispatch_recorder.fail_next(Code.NOT_FOUND, "one", times=2)
    dispatch_recorder.fail_next(Code.NOT_FOUND, "two")
    for message in ("one", "one", "two"):
        with pytest.raises(NotFoundError, match=message):
            client.dispatch(A)
    client.dispatch(A)
    assert (len(dispatch_recorder.refused), len(dispatch_recorder.requests)) == (3, 1)


def test_a_recorder_of_many_threads(dispatch_recorder: CallRecorder):
    with serve(dispatch_recorder) as one, serve(dispatch_recorder) as other:

        def work(url: str) -> None:
            with Client("key", api_url=url) as client:
                for _ in range(50):
                    client.dispatch(A)

        threads = [threading.Thread(target=work, args=(s.url,)) for s in (one, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ids = [request.dispatch_ids[0] for request in dispatch_recorder.requests]
    assert len(ids) == len(set(ids)) == 200


def test_a_server_stops_at_the_end_of_its_block(dispatch_recorder: CallRecorder):
    before = threading.active_count()
    with serve(dispatch_recorder) as server:
        assert server.url.startswith("http://127.0.0.1:")
    assert threading.active_count() == before
    with serve(dispatch_recorder), pytest.raises(RuntimeError, match="in the block"):
        raise RuntimeError("in the block")
    assert threading.active_count() == before


def test_the_fixtures_are_found_by_other_projects(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        from dispatch_grpc import Client, new_call
        from dispatch_grpc.testing import RecordedRequest

        def test_dispatch(dispatch_recorder, dispatch_server):
            call = new_call("http://example.com", "f", 23)
            with Client("key", api_url=dispatch_server.url) as client:
                client.dispatch(call)
            dispatch_recorder.assert_requests(RecordedRequest([call]))

        def test_each_test_has_its_own(dispatch_recorder):
            dispatch_recorder.assert_requests()
        """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_the_pytest_plugin_imports_nothing_heavy():
    """It is loaded in every run of pytest where the package is installed."""
    code = (
        "import sys, dispatch_grpc.testing.fixtures; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "{'grpc', 'google', 'dispatch', 'connectrpc', 'uvicorn', 'zttp', 'msgspec'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
