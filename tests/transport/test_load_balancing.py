"""`load_balancing`: gRPC sends requests to all addresses of a name in turn, or keeps to one."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest

from dispatch_grpc import ConfigurationError, new_call
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.testing import serve
from dispatch_grpc.transport.grpc import AsyncGRPCTransport, GRPCTransport
from tests.conftest import Driver

CALL = new_call("http://example.com", "f")


class Handler:
    """Answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def dispatch(self, request: Any, _: Any) -> DispatchResponse:
        return DispatchResponse(dispatch_ids=[self.name] * len(request.calls))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("policy", "names"), [("round_robin", 3), ("pick_first", 1), (None, 1)])
def test_requests_go_to_all_addresses_in_turn(policy: str | None, names: int, is_async: bool):
    driver, request = Driver("grpc", is_async=is_async), DispatchRequest(calls=[CALL])
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(Handler(str(number)))) for number in range(3)]
        stack.callback(driver.close)
        client = driver.client(servers[0].url, load_balancing=policy)
        # In place of a name, for which DNS gives three addresses.
        addresses = ",".join(server.url.removeprefix("http://") for server in servers)
        settings = client._settings.connection
        target = replace(settings.target, authority=f"ipv4:{addresses}")

        def make() -> Any:
            cls = AsyncGRPCTransport if is_async else GRPCTransport
            return cls(replace(settings, target=target))

        async def make_async() -> Any:
            return make()

        transport = driver.run(make_async) if is_async else make()
        stack.callback(lambda: driver.run(transport.close))
        metadata = client._settings.metadata
        seen: Counter[str] = Counter()
        # The connections are opened one after the other.
        for _ in range(1000):
            answer = driver.run(lambda: transport.call("Dispatch", request, metadata, 10))
            seen[answer.dispatch_ids[0]] += 1
            if len(seen) > 1 and len(seen) == names:
                break
        assert len(seen) == names


def test_what_is_not_allowed():
    def refused(**settings: Any) -> str:
        driver = Driver(settings.pop("protocol", "grpc"), is_async=False)
        with pytest.raises(ConfigurationError) as caught:
            driver.client("http://127.0.0.1:1", **settings)
        return str(caught.value)

    assert refused(load_balancing="random") == (
        "load_balancing: one of pick_first, round_robin or None is required; got 'random'"
    )
    assert refused(load_balancing="round_robin", protocol="connect") == (
        "load_balancing cannot be used with protocol='connect'"
    )
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert refused(load_balancing="round_robin", channel=channel) == (
            "load_balancing cannot be used with a channel, which has its own"
        )
