"""The memory of the service under what clients and endpoints may send."""

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import urllib3
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub

from dispatch_grpc import Call, CallState, Client, new_call
from dispatch_grpc.schema import DispatchRequest, GetCallRequest
from tests.conftest import KEY, data_dir
from tests.service.processes import Process, endpoint, service
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from /proc"),
]

MOST = 200  # MB over the idle process


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with endpoint(tmp_path_factory.mktemp("runs") / "runs") as process:
        yield process


def megabytes(process: Process, name: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise AssertionError


def long_texts(field: str, start: str) -> Callable[[Client, str, str], None]:
    """Calls as another client sends them: ours refuses them before."""

    def attack(client: Client, api_url: str, url: str) -> None:
        with grpc.insecure_channel(api_url.removeprefix("http://")) as channel:
            stub = DispatchServiceStub(channel)
            for number in range(60):
                call = Call(endpoint=url, function="f")
                setattr(call, field, f"{start}{number}{'x' * 3_900_000}")
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Dispatch(
                        DispatchRequest(calls=[call]),
                        metadata=[("authorization", f"Bearer {KEY}")],
                    )
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    return attack


def children(count: int, size: int) -> Callable[[Client, str, str], None]:
    def attack(client: Client, api_url: str, url: str) -> None:
        id = client.dispatch(new_call(url, "fan_out", [count, size]))
        assert client.wait(id, timeout=None) == count * size

    return attack


def inputs(count: int, size: int) -> Callable[[Client, str, str], None]:
    """Calls whose functions run at the same time, and take a while."""

    def attack(client: Client, api_url: str, url: str) -> None:
        data = bytes(size)
        ids = [client.dispatch(new_call(url, "weigh", data)) for _ in range(count)]
        assert [client.wait(id, timeout=None) for id in ids] == [size] * count

    return attack


def states(count: int, size: int) -> Callable[[Client, str, str], None]:
    """Polls with large states and large children."""

    def attack(client: Client, api_url: str, url: str) -> None:
        ids = [client.dispatch(new_call(url, "heavy", size)) for _ in range(count)]
        assert [client.wait(id, timeout=None) for id in ids] == [2 * size] * count

    return attack


def under_way(path: str, body: bytes, sent: int, count: int, api_url: str) -> list[socket.socket]:
    """Send requests at the same time, of whose bodies all but the ends; nobody reads answers."""
    host, _, port = api_url.removeprefix("http://").partition(":")
    lines = (
        f"POST /{path} HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {KEY}",
        "content-type: application/proto",
        "connect-protocol-version: 1",
        f"content-length: {len(body)}",
    )
    data = "\r\n".join([*lines, "", ""]).encode() + body[:sent]

    def send(sock: socket.socket) -> None:
        with suppress(OSError):  # it is closed at the end
            sock.sendall(data)

    sockets = [socket.create_connection((host, int(port)), 10) for _ in range(count)]
    for sock in sockets:
        threading.Thread(target=send, args=(sock,), daemon=True).start()
    time.sleep(3)  # what can arrive has
    return sockets


def uploads(count: int, size: int) -> Callable[[Client, str, str], None]:
    """Requests whose bodies do not end."""

    def attack(client: Client, api_url: str, url: str) -> None:
        body = DispatchRequest(calls=[new_call(url, "weigh", bytes(size))]).SerializeToString()
        path = "dispatch.sdk.v1.DispatchService/Dispatch"
        with ExitStack() as stack:
            for sock in under_way(path, body, len(body) - 1, count, api_url):
                stack.enter_context(sock)
            # Small requests pass meanwhile.
            assert client.wait(client.dispatch(new_call(url, "square", 3)), timeout=None) == 9

    return attack


def answers(count: int, size: int) -> Callable[[Client, str, str], None]:
    """Answers that nobody reads."""

    def attack(client: Client, api_url: str, url: str) -> None:
        id = client.dispatch(new_call(url, "large", size))
        until(lambda: client.list()[0].state is CallState.FINISHED)
        body = GetCallRequest(dispatch_id=id).SerializeToString()
        path = "dispatch.calls.v1.CallService/GetCall"
        with ExitStack() as stack:
            for sock in under_way(path, body, len(body), count, api_url):
                stack.enter_context(sock)
            assert client.wait(client.dispatch(new_call(url, "square", 3)), timeout=None) == 9

    return attack


def pages(count: int, size: int) -> Callable[[Client, str, str], None]:
    """Calls whose errors are large, looked at with a browser."""

    def attack(client: Client, api_url: str, url: str) -> None:
        def shown(path: str) -> str:
            headers = {"authorization": f"Bearer {KEY}"}
            answer = urllib3.request("GET", f"{api_url}{path}", headers=headers, timeout=60)
            assert answer.status == 200
            return answer.data.decode()

        id = client.dispatch(new_call(url, "complaints", [count, size]))
        tried = '<span class="word retried">TEMPORARY_ERROR'
        until(lambda: shown("/?function=complain").count(tried) == count)
        children = re.findall(r'<td><a class="id" href="([^"]+)"', shown(f"/calls/{id}"))
        assert len(children) == count
        assert re.search(r"The first [0-9,]+ of [0-9,]+ characters", shown(children[0]))
        client.cancel(id)

    return attack


ATTACKS: dict[str, Callable[[Client, str, str], None]] = {
    "60 endpoints of 3.9 MB": long_texts("endpoint", "http://h/"),
    "60 function names of 3.9 MB": long_texts("function", "f"),
    "100 children of 300 kB": children(100, 300_000),
    "30 children of 12 MB": children(30, 12_000_000),
    "60 inputs of 3.9 MB": inputs(60, 3_900_000),
    "12 states of 3 MB, and as much for a child": states(12, 3_000_000),
    "60 requests of 3.9 MB under way": uploads(60, 3_900_000),
    "60 answers of 12 MB under way": answers(60, 12_000_000),
    "a page of 50 errors of 8 MB": pages(50, 8_000_000),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_memory_has_a_bound(hosted: Process, name: str, record_property: Any):
    with (
        data_dir() as folder,
        service(folder) as process,
        Client(KEY, api_url=process.url) as client,
    ):
        client.wait(client.dispatch(new_call(hosted.url, "square", 1)), timeout=None)
        idle = megabytes(process, "VmRSS")
        ATTACKS[name](client, process.url, hosted.url)
        over = megabytes(process, "VmHWM") - idle
        record_property("MB over the idle process", over)
        assert over < MOST


@pytest.mark.timeout(300)
def test_small_calls_pass_large_ones(hosted: Process):
    """Also where each large value is larger than all the memory for them."""
    with (
        data_dir() as folder,
        service(folder, memory=1_000_000) as process,
        Client(KEY, api_url=process.url) as client,
    ):
        large = client.dispatch(new_call(hosted.url, "fan_out", [40, 4_000_000]))
        until(lambda: client.list(parent=large))
        ids = [client.dispatch(new_call(hosted.url, "square", number)) for number in range(20)]
        assert [client.wait(id, timeout=None) for id in ids] == [n * n for n in range(20)]
        assert client.get(large).state != "finished"
        assert client.wait(large, timeout=None) == 160_000_000
