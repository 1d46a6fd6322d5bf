"""The stubs of each language at work: against the service, and called by it."""

import re
from datetime import timedelta

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from dispatch.sdk.v1.status_pb2 import STATUS_INVALID_ARGUMENT, STATUS_OK

from dispatch_grpc import Call, Client, new_call, unmarshal
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


@ENDPOINTS
def test_a_call_from_python_reaches_the_endpoint(programs: Programs, service: Service):
    language = {"go": "Go", "ts": "TypeScript"}[programs.language]
    with programs.endpoint() as url, Client(KEY, api_url=service.url) as client:
        response = service.result(client.dispatch(new_call(url, "greet", {"name": "Ada Ω"})))
        assert response.status == STATUS_OK
        result = response.exit.result
        assert not result.HasField("error")
        assert unmarshal(result.output, str) == f"Hello, Ada Ω, from {language}"

        response = service.result(client.dispatch(new_call(url, "greet", 23)))
        assert response.status == STATUS_INVALID_ARGUMENT
        assert response.exit.result.error.message
        assert not response.exit.result.HasField("output")

        with pytest.raises(ConnectError, match="there is no function") as caught:
            service.result(client.dispatch(new_call(url, "other", None)))
        assert caught.value.code == Code.NOT_FOUND
