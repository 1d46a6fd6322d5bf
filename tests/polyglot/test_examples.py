"""The stubs of each language at work: against the service, and called by it."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import Call, CallError, Client, Endpoint, Status, new_call, unmarshal, workflow
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.testing import serve_app
from tests.conftest import data_dir, run_service
from tests.polyglot.languages import Programs
from tests.polyglot.service import KEY, Service

pytestmark = pytest.mark.timeout(600)
LANGUAGES = pytest.mark.parametrize("programs", ["go", "ts", "java"], indirect=True)
ENDPOINTS = pytest.mark.parametrize("programs", ["go", "ts"], indirect=True)
URL = "http://example.com"


def fields(call: Call) -> dict[str, object]:
    """What is set in a call, by field."""
    found = {descriptor.name: value for descriptor, value in call.ListFields()}
    return {**found, "input": (call.input.type_url, unmarshal(call.input))}


@LANGUAGES
def test_a_call_and_a_batch_are_recorded(programs: Programs, service: Service):
    printed = programs.run("dispatch", **service.env).splitlines()

    call = new_call(
        URL, "myFunction", 23, expiration=timedelta(seconds=90.5), version=programs.language
    )
    batch = [new_call(URL, "greet", {"name": name}) for name in ("Ada", "Grace")]
    expected = [
        (protocol, name, calls)
        for protocol in programs.protocols
        for name, calls in (("call", [call]), ("batch", batch))
    ]
    requests = service.requests
    assert len(requests) == len(expected)
    for request, (protocol, name, calls), line in zip(requests, expected, printed, strict=True):
        assert [fields(found) for found in request.calls] == [fields(made) for made in calls]
        assert line == f"{protocol} {name}: {' '.join(request.dispatch_ids)}"
        content_type = {"grpc": "application/grpc", "connect": "application/proto"}[protocol]
        assert request.metadata["content-type"].startswith(content_type)
    keys = [request.metadata["idempotency-key"] for request in requests]
    assert len(set(keys)) == len(requests)
    assert all(re.fullmatch("[!-~]{16,255}", key) for key in keys)


@LANGUAGES
def test_another_key_is_refused(programs: Programs, service: Service):
    with pytest.raises(AssertionError, match=r"(?i)unauthenticated"):
        programs.run("dispatch", **{**service.env, "DISPATCH_API_KEY": KEY + "x"})
    assert service.requests == []


@dataclass(frozen=True)
class Durable:
    """The durable service, as it runs."""

    url: str
    api_key: str
    folder: Path

    def rows(self, dispatch_ids: Sequence[str]) -> list[Any]:
        """What its database holds of calls."""

        async def read() -> list[Any]:
            connection = await asyncpg.connect(
                host=str(self.folder / "postgres"), user="postgres", database="postgres"
            )
            try:
                return [
                    await connection.fetchrow(
                        "SELECT * FROM dispatch_grpc.every_call WHERE id = $1", id
                    )
                    for id in dispatch_ids
                ]
            finally:
                await connection.close()

        return asyncio.run(read())


@pytest.fixture(scope="module")
def durable() -> Iterator[Durable]:
    """The durable service, and where its database is.

    It retries an unknown function for half a second, in which a deploy would have to be through.
    """
    worker = Settings(limits=Limits(grace=timedelta(seconds=0.5)))
    with data_dir() as folder, run_service(folder, worker=worker) as running:
        yield Durable(running.url, running.api_key, folder)


@LANGUAGES
def test_the_service_keeps_what_was_dispatched(programs: Programs, durable: Durable):
    env = {"DISPATCH_API_URL": durable.url, "DISPATCH_API_KEY": durable.api_key}
    printed = programs.run("dispatch", **env).splitlines()
    assert len(printed) == 2 * len(programs.protocols)
    for line in printed:
        what, _, ids = line.partition(": ")
        rows = durable.rows(ids.split())
        assert {(row["endpoint"], row["parent_id"]) for row in rows} == {(URL, None)}
        inputs = [unmarshal(AnyProto.FromString(row["input"])) for row in rows]
        if what.endswith("call"):
            (row,) = rows
            assert inputs == [23]
            assert (row["function"], row["version"]) == ("myFunction", programs.language)
            assert row["expires_at"] - row["created_at"] == timedelta(seconds=90.5)
        else:
            assert inputs == [{"name": "Ada"}, {"name": "Grace"}]
            assert [row["function"] for row in rows] == ["greet", "greet"]
            assert len({row["created_at"] for row in rows}) == 1


@ENDPOINTS
def test_a_call_from_python_reaches_the_endpoint(programs: Programs, durable: Durable):
    """By the service, and what it answers comes back."""
    language = {"go": "Go", "ts": "TypeScript"}[programs.language]
    with programs.endpoint() as url, Client(durable.api_key, api_url=durable.url) as client:

        def result(function: str, input: Any) -> str:
            return client.wait(client.dispatch(new_call(url, function, input)), str)

        assert result("greet", {"name": "Ada Ω"}) == f"Hello, Ada Ω, from {language}"
        with pytest.raises(CallError) as caught:
            result("greet", 23)
        assert caught.value.status is Status.INVALID_ARGUMENT
        assert caught.value.message
        with pytest.raises(CallError, match="there is no function") as caught:
            result("other", None)
        assert caught.value.status is Status.NOT_FOUND


@ENDPOINTS
def test_a_workflow_in_python_waits_for_the_endpoint(programs: Programs, durable: Durable):
    """Its function is called by the service, for a workflow; a failure is told as well."""
    language = {"go": "Go", "ts": "TypeScript"}[programs.language]
    ours = Endpoint("http://127.0.0.1:1", env={})

    @ours.workflow
    async def welcome(url: str, names: list[str]) -> list[str]:
        greet = ours.remote(url, "greet", returns=str)
        found = [await greet.run({"name": name}) for name in names]
        try:
            await workflow.run(new_call(url, "greet", 23))
        except CallError as error:
            found.append(error.message)
        return found

    with (
        programs.endpoint() as url,
        serve_app(ours.app) as server,
        Client(durable.api_key, api_url=durable.url) as client,
    ):
        ours.url = server.url
        found = client.wait(client.dispatch(welcome.call(url, ["Ada", "Grace"])), list[str])
        assert found[:2] == [f"Hello, {name}, from {language}" for name in ("Ada", "Grace")]
        assert found[2]


@pytest.mark.parametrize("programs", ["go"], indirect=True)
def test_a_function_of_the_endpoint_waits_for_a_workflow_in_python(
    programs: Programs, durable: Durable
):
    """The function is given a call of the workflow, which calls the endpoint in turn."""
    ours = Endpoint("http://127.0.0.1:1", env={})

    @ours.workflow
    async def welcome(url: str, names: list[str]) -> list[str]:
        if not names:
            raise ValueError("nobody to welcome")
        greet = ours.remote(url, "greet", returns=str)
        return await asyncio.gather(*(greet.run({"name": name}) for name in names))

    with (
        programs.endpoint() as url,
        serve_app(ours.app) as server,
        Client(durable.api_key, api_url=durable.url) as client,
    ):
        ours.url = server.url

        def relay(call: Call) -> Any:
            id = client.dispatch(new_call(url, "relay", call))
            try:
                return client.wait(id, list[str])
            finally:
                (child,) = client.list(parent=id)
                assert (child.endpoint, child.function) == (ours.url, "welcome")

        found = relay(welcome.call(url, ["Ada", "Grace"]))
        assert found == [f"Hello, {name}, from Go" for name in ("Ada", "Grace")]
        with pytest.raises(CallError, match="nobody to welcome") as caught:
            relay(welcome.call(url, []))
        assert caught.value.type == "ValueError"
