"""Endpoints: hosting functions, calling them, decoding their input, running them to an answer."""

import asyncio
import contextlib
import enum
import functools
import gc
import inspect
import logging
import re
import socket
import ssl
import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypedDict

import msgspec
import pydantic
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.struct_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc import (
    AsyncClient,
    Call,
    CallError,
    Client,
    Code,
    ConfigurationError,
    Endpoint,
    EndpointError,
    Function,
    InvalidArgumentError,
    InvalidCallError,
    MarshalError,
    NotFoundError,
    PermanentError,
    Status,
    current_call,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc.client.dispatch_id import result_type
from dispatch_grpc.endpoint import CurrentCall
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.primitives import exit_, poll, tail_call
from dispatch_grpc.schema import PollResult, RunRequest, RunResponse
from dispatch_grpc.signature import new_key_pair, parse_verification_key
from dispatch_grpc.testing import CallRecorder, Runner, Server

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

URL = "http://127.0.0.1:8000"
KEYS = new_key_pair()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(URL, env={})


def request(name: str, input: Any = None, **fields: Any) -> RunRequest:
    """A request as a service makes it."""
    return RunRequest(function=name, input=marshal(input), dispatch_id="id", **fields)


def run(endpoint: Endpoint, name: str, input: Any = None, **fields: Any) -> RunResponse:
    """Run a function, in an event loop of its own."""
    return asyncio.run(endpoint.run(request(name, input, **fields)))


def status(response: RunResponse) -> Status:
    return Status(response.status)


def output(response: RunResponse) -> Any:
    """What a function returned that went well."""
    assert status(response) is Status.OK, response
    assert not response.exit.result.HasField("error")
    return unmarshal(response.exit.result.output)


def message(response: RunResponse, expected: Status) -> str:
    """The message of a function that failed."""
    assert status(response) is expected, response
    assert not response.exit.result.HasField("output")
    return response.exit.result.error.message


def soon(seconds: float = 0.05) -> Any:
    """An expiration time that tests can wait for."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


# Hosting


def test_a_hosted_function_is_still_the_python_function(endpoint: Endpoint):
    @endpoint.function
    def greet(name: str, *, mark: str = "!") -> str:
        """Says hello."""
        return f"Hello, {name}{mark}"

    assert greet("World") == "Hello, World!"
    assert greet("World", mark="?") == "Hello, World?"
    assert getattr(greet, "__name__", None) == "greet"
    assert greet.__doc__ == "Says hello."
    assert list(inspect.signature(greet).parameters) == ["name", "mark"]
    assert repr(greet) == f"<Function greet of {URL}>"
    assert repr(endpoint) == f"<Endpoint {URL} of 1 function>"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        greet()  # type: ignore[call-arg]


def test_a_hosted_async_function_is_still_the_python_function(endpoint: Endpoint):
    @endpoint.function
    async def double(x: int) -> int:
        return 2 * x

    assert asyncio.run(double(21)) == 42  # type: ignore[arg-type]


@pytest.mark.parametrize("decorator", ["function", "primitive"])
def test_the_decorators_take_arguments_or_none(endpoint: Endpoint, decorator: str):
    host = getattr(endpoint, decorator)

    @host
    def first(x):
        return x

    @host()
    def second(x):
        return x

    @host(name="a.third<one>")
    def third(x):
        return x

    assert [f.name for f in (first, second, third)] == ["first", "second", "a.third<one>"]
    assert dict(endpoint.functions) == {f.name: f for f in (first, second, third)}
    assert all(isinstance(f, Function) and f(1) == 1 for f in endpoint.functions.values())
    with pytest.raises(TypeError):
        endpoint.functions["fourth"] = first  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "f\n", "fünf", 'a"b', 7])
def test_names_that_a_call_cannot_carry_are_refused(endpoint: Endpoint, name: str):
    with pytest.raises(EndpointError, match=r"function: a name that matches .* pass name="):
        endpoint.function(name=name)(lambda: None)
    assert not endpoint.functions


def test_a_name_is_taken_once(endpoint: Endpoint):
    endpoint.function(name="f")(lambda: 1)
    for decorator in (endpoint.function, endpoint.primitive):
        with pytest.raises(EndpointError, match="already has a function 'f': pass another name="):
            decorator(name="f")(lambda: 2)
    assert output(run(endpoint, "f")) == 1


def generator():
    yield 1


async def async_generator():
    yield 1


class Generating:
    def __call__(self):
        yield 1


def take_all(*values: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (functools.partial(generator), "is a generator"),
        (Generating(), "is a generator"),
        (take_all, r"'f': \*args is not supported, .* accept a list"),
        (max, "'f': cannot determine its parameters"),
        ("a text", "a function is required; got str"),
    ],
)
def test_what_cannot_be_hosted_is_refused(endpoint: Endpoint, function: Any, reason: str):
    with pytest.raises(EndpointError, match=reason):
        endpoint.function(name="f")(function)
    assert not endpoint.functions


@pytest.mark.parametrize("function", [lambda: 1, functools.partial(take_all)])
def test_what_has_no_name_needs_one(endpoint: Endpoint, function: Callable[[], Any]):
    with pytest.raises(EndpointError, match="pass name="):
        endpoint.function(function)


class Adder:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, x: int) -> int:
        return self.number + x

    def method(self, x: int) -> int:
        return self.number + x

    @classmethod
    def of_class(cls, x: int) -> int:
        return cls(1)(x)

    @staticmethod
    def static(x: int) -> int:
        return 1 + x


class AsyncAdder(Adder):
    async def __call__(self, x: int) -> int:  # type: ignore[override]
        return self.number + x


def add(x: int, y: int) -> int:
    return x + y


async def async_add(x: int, y: int) -> int:
    return x + y


@functools.wraps(add)
def decorated(*args: Any, **kwargs: Any) -> Any:
    return add(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "input"),
    [
        (lambda x: x + 1, 41),
        (Adder(1), 41),
        (AsyncAdder(1), 41),
        (Adder(1).method, 41),
        (Adder.of_class, 41),
        (Adder.static, 41),
        (functools.partial(add, 1), 41),
        (functools.partial(add, y=1), {"x": 41}),
        (functools.partial(async_add, y=1), {"x": 41}),
        (functools.partial(AsyncAdder(1)), 41),
        (functools.partial(AsyncAdder(1).method, x=40), 41),
        (decorated, {"x": 41, "y": 1}),
        (Decimal, {"value": "42"}),
        (Endpoint(URL, env={}).function(add), {"x": 41, "y": 1}),
        (Endpoint(URL, env={}).function(async_add), {"x": 41, "y": 1}),
    ],
)
def test_everything_that_can_be_called_can_be_hosted(
    endpoint: Endpoint, function: Callable[..., Any], input: Any
):
    endpoint.function(name="f")(function)
    assert output(run(endpoint, "f", input)) in {42, "42"}
    response = run(endpoint, "f", {"x": "1", "y": 1})
    if function is Decimal or "lambda" in repr(function):
        assert status(response) is Status.TEMPORARY_ERROR
    else:  # annotations are found, too
        assert ": expected int, got " in message(response, Status.INVALID_ARGUMENT)


@pytest.mark.parametrize("cls", [Adder, AsyncAdder])
def test_a_class_is_called_and_not_its_objects(endpoint: Endpoint, cls: type):
    endpoint.function(cls)
    problem = message(run(endpoint, cls.__name__, 1), Status.INVALID_RESPONSE)
    assert f"{cls.__name__} has no representation" in problem
    assert "number: expected int, got str" in message(
        run(endpoint, cls.__name__, "x"), Status.INVALID_ARGUMENT
    )


# Calling


def json_of_any(kind: str, value: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.protobuf.{kind}Value", "value": value}


def one(x): ...
def none(): ...
def several(a, b=2, *, c: list[int] = [3]): ...  # noqa: B006
def positional(a, /, b): ...
def open_ended(a, **others): ...
def only_open(**others): ...
def defaulted(x=5): ...
def keyword_only(*, x): ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "input"),
    [
        (none, (), {}, AnyProto()),
        (one, (23,), {}, 23),
        (one, (), {"x": 23}, 23),
        (one, (None,), {}, None),
        (one, ({"a": 1},), {}, {"a": 1}),
        (one, (Call(function="f"),), {}, Call(function="f")),
        (one, (marshal(1),), {}, 1),
        (keyword_only, (), {"x": b"1"}, b"1"),
        (defaulted, (), {}, AnyProto()),
        (defaulted, (None,), {}, Value(null_value=0)),  # type: ignore[arg-type]
        (defaulted, (6,), {}, 6),
        (several, (1,), {}, 1),
        (several, (), {"a": None}, None),
        (several, (1, "x"), {"c": None}, {"a": 1, "b": "x", "c": None}),
        (
            several,
            (1.0, 2**60),
            {},
            {"a": json_of_any("Double", 1.0), "b": json_of_any("Int64", "1152921504606846976")},
        ),
        (positional, (1, 2), {}, {"a": 1, "b": 2}),
        (open_ended, (1,), {}, 1),
        (open_ended, ({},), {}, {"a": {}}),
        (open_ended, (1,), {"b": 2}, {"a": 1, "b": 2}),
        (only_open, (), {}, AnyProto()),
        (only_open, (), {"b": 2}, {"b": 2}),
    ],
)
def test_a_call_is_what_new_call_makes(
    endpoint: Endpoint, function: Callable[..., Any], args: Any, kwargs: Any, input: Any
):
    hosted = endpoint.function(function)
    assert hosted.call(*args, **kwargs) == new_call(URL, function.__name__, input)


def test_a_call_may_have_an_expiration_and_a_version(endpoint: Endpoint):
    hosted = endpoint.function(one)
    options: Any = {"expiration": timedelta(seconds=30), "version": "v2"}
    assert hosted.with_options(**options).call(1) == new_call(URL, "one", 1, **options)
    zero = hosted.with_options(expiration=timedelta(0)).call(1)
    assert zero.HasField("expiration")
    with pytest.raises(InvalidCallError, match="expiration: a timedelta of zero or more"):
        hosted.with_options(expiration=timedelta(-1)).call(1)
    with pytest.raises(InvalidCallError, match="version: a str"):
        hosted.with_options(version=2).call(1)  # type: ignore[arg-type]


def test_options_add_up_and_leave_the_function_as_it_is(endpoint: Endpoint):
    hosted = endpoint.function(one)
    later = hosted.with_options(expiration=timedelta(1))
    newer = later.with_options(version="v2")
    assert newer.call(1) == new_call(URL, "one", 1, expiration=timedelta(1), version="v2")
    assert newer.with_options(expiration=None).call(1) == new_call(URL, "one", 1, version="v2")
    assert later.call(1) == new_call(URL, "one", 1, expiration=timedelta(1))
    assert hosted.call(1) == new_call(URL, "one", 1)
    assert endpoint.functions["one"] is hosted
    assert newer(1) is None  # type: ignore[func-returns-value]
    assert isinstance(newer, Function)


def test_options_of_a_dispatch_go_to_the_client(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    env = {"DISPATCH_API_KEY": "key", "DISPATCH_API_URL": dispatch_server.url}
    hosted = (
        Endpoint(URL, env=env)
        .function(one)
        .with_options(
            metadata={"x-tenant": "a"}, idempotency_key="k", timeout=timedelta(seconds=30)
        )
    )

    async def main() -> None:
        await hosted.with_options(idempotency_key="l").dispatch_async(1)

    hosted.dispatch(1)
    asyncio.run(main())
    for request, key in zip(dispatch_recorder.requests, "kl", strict=True):
        assert list(request.calls) == [new_call(URL, "one", 1)]
        assert request.metadata["x-tenant"] == "a"
        assert request.metadata["idempotency-key"] == key
    with pytest.raises(ConfigurationError, match="timeout"):
        hosted.with_options(timeout=timedelta(0)).dispatch(1)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (none, (1,), {}),
        (one, (), {}),
        (one, (1, 2), {}),
        (one, (), {"y": 1}),
        (several, (1, 2, 3), {}),
        (several, (1,), {"a": 1}),
        (positional, (), {"a": 1, "b": 2}),
        (lambda a, /, **others: None, (1,), {"a": 2}),
    ],
)
def test_arguments_that_the_function_does_not_take_are_type_errors(
    endpoint: Endpoint, function: Callable[..., Any], args: Any, kwargs: Any
):
    hosted = endpoint.function(name="f")(function)
    with pytest.raises(TypeError):
        hosted.call(*args, **kwargs)


def test_an_argument_without_representation_is_an_error_that_says_where(endpoint: Endpoint):
    with pytest.raises(MarshalError, match=r"\$\.b: builtins\.object has no representation"):
        endpoint.function(several).call(1, object())


def test_a_primitive_is_called_with_its_input(endpoint: Endpoint):
    hosted = endpoint.primitive(name="f")(lambda request: exit_())
    assert hosted.call() == new_call(URL, "f")
    assert hosted.call([1]) == new_call(URL, "f", [1])
    for args, kwargs in (((1, 2), {}), ((), {"input": 1})):
        with pytest.raises(TypeError, match=r"f\(\) is a primitive: it accepts one argument"):
            hosted.call(*args, **kwargs)


def test_functions_dispatch_calls_by_the_clients_of_the_environment(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    env = {"DISPATCH_API_KEY": "key", "DISPATCH_API_URL": dispatch_server.url}
    endpoint = Endpoint(URL, env=env)
    hosted = endpoint.function(several)
    options: Any = {"expiration": timedelta(seconds=30), "version": "v2"}
    ids = [hosted.with_options(**options).dispatch(1, c=[4])]

    async def main() -> str:
        async with endpoint.async_client() as client:
            assert client is endpoint.async_client()
            return await hosted.with_options(**options).dispatch_async(1, c=[4])

    ids += [asyncio.run(main()) for _ in range(2)]  # one event loop after the other
    call = new_call(URL, "several", {"a": 1, "c": [4]}, **options)
    assert dispatch_recorder.calls == [call] * 3
    assert ids == [request.dispatch_ids[0] for request in dispatch_recorder.requests]
    assert endpoint.client() is endpoint.client()
    endpoint.client().close()
    with pytest.raises(TypeError):
        hosted.dispatch()  # type: ignore[call-overload]


def test_clients_of_past_event_loops_are_forgotten(dispatch_server: Server):
    env = {"DISPATCH_API_KEY": "key", "DISPATCH_API_URL": dispatch_server.url}
    endpoint = Endpoint(URL, env=env)
    hosted = endpoint.function(one)
    clients: list[weakref.ref[AsyncClient]] = []

    async def main() -> None:
        async with endpoint.async_client() as client:
            clients.append(weakref.ref(client))
            await hosted.dispatch_async(1)

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert [client() is None for client in clients] == [True, True, False]


def test_threads_share_one_client():
    together = threading.Barrier(2)

    class Environment(dict[str, str]):
        """Lets two threads read the key at the same time, if they try to."""

        def get(self, key: str, default: Any = None) -> Any:
            if key == "DISPATCH_API_KEY":
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(0.2)
            return super().get(key, default)

    endpoint = Endpoint(URL, env=Environment(DISPATCH_API_KEY="key"))
    found: list[Client] = []
    threads = [
        threading.Thread(target=lambda: found.append(endpoint.client()), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert found[0] is found[1] is endpoint.client()


def test_a_client_that_was_given_is_the_one_given_out():
    with Client("key") as client:
        assert Endpoint(URL, client=client, env={}).client() is client

    async def main() -> None:
        async with AsyncClient("key") as client:
            endpoint = Endpoint(URL, client=client, env={"DISPATCH_API_KEY": "key"})
            assert endpoint.async_client() is client

    asyncio.run(main())
    with pytest.raises(ConfigurationError, match="client: a Client, an AsyncClient or None"):
        Endpoint(URL, client="key", env={})


def test_the_client_that_was_given_is_never_replaced_by_another(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    env = {"DISPATCH_API_KEY": "of the environment", "DISPATCH_API_URL": dispatch_server.url}

    async def main() -> None:
        async with AsyncClient("key", api_url=dispatch_server.url) as client:
            endpoint = Endpoint(URL, client=client, env=env)
            hosted = endpoint.function(one)
            with pytest.raises(EndpointError, match=r"an AsyncClient: await dispatch_async\(\)"):
                hosted.dispatch(1)
            await hosted.dispatch_async(1)
            assert endpoint.async_client() is client
        with Client("key", api_url=dispatch_server.url) as other:
            endpoint = Endpoint(URL, client=other, env=env)
            hosted = endpoint.function(one)
            with pytest.raises(EndpointError, match=r"a Client, .* loop: use dispatch\(\)"):
                await hosted.dispatch_async(2)
            hosted.dispatch(2)

    asyncio.run(main())
    assert dispatch_recorder.calls == [new_call(URL, "one", 1), new_call(URL, "one", 2)]


def test_without_a_key_everything_works_but_the_client():
    endpoint = Endpoint(URL, env={})
    hosted = endpoint.function(one)
    assert hosted.call(1) == new_call(URL, "one", 1)
    assert output(run(endpoint, "one", 1)) is None
    missing = (
        r"the endpoint's client: an API key is required: "
        r"set .* DISPATCH_API_KEY or pass api_key= .*"
        r"\(or make it yourself and pass it to the Endpoint as client=\)"
    )
    with pytest.raises(ConfigurationError, match=missing):
        endpoint.client()
    with pytest.raises(ConfigurationError, match=missing):
        hosted.dispatch(1)

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=missing):
            endpoint.async_client()
        with pytest.raises(ConfigurationError, match=missing):
            await hosted.dispatch_async(1)

    asyncio.run(main())


# Settings


@pytest.mark.parametrize(
    ("argument", "env", "url"),
    [
        ("http://a", {}, "http://a"),
        ("http://a", {"DISPATCH_ENDPOINT_URL": "http://b"}, "http://a"),
        (None, {"DISPATCH_ENDPOINT_URL": "http://b"}, "http://b"),
        ("", {"DISPATCH_ENDPOINT_URL": "http://b"}, "http://b"),
        (" ", {"DISPATCH_ENDPOINT_URL": " http://b\n"}, "http://b"),
        ("https://a/path/", {}, "https://a/path"),
        ("bridge://session", {}, "bridge://session"),
        ("arn:aws:lambda:eu-west-1:1:function:f", {}, "arn:aws:lambda:eu-west-1:1:function:f"),
    ],
)
def test_the_url_is_the_argument_or_of_the_environment(
    argument: str | None, env: dict[str, str], url: str
):
    assert Endpoint(argument, env=env).url == url


def test_the_environment_is_the_one_of_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISPATCH_ENDPOINT_URL", "http://a")
    monkeypatch.setenv("DISPATCH_VERIFICATION_KEY", KEYS.verification_key)
    endpoint = Endpoint()
    assert endpoint.url == "http://a"
    assert endpoint.verification_key == parse_verification_key(KEYS.verification_key)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "set the environment variable DISPATCH_ENDPOINT_URL, or pass url="),
        ({"url": "", "env": {"DISPATCH_ENDPOINT_URL": " "}}, "an endpoint URL is required"),
        ({"url": "ftp://a"}, "url= endpoint: a URI .* got 'ftp://a'"),
        ({"url": "HTTP://a"}, "url= endpoint: a URI"),
        ({"url": "http://"}, "url= endpoint: a URI"),
        ({"url": "http://a b"}, "url= endpoint: a URI"),
        ({"url": 5}, "url: a str is required; got int"),
        ({"env": {"DISPATCH_ENDPOINT_URL": "a"}}, "DISPATCH_ENDPOINT_URL endpoint: a URI"),
        ({"url": URL, "max_request_bytes": 0}, "max_request_bytes: an int of 1 or more"),
        ({"url": URL, "max_request_bytes": "1"}, "max_request_bytes: an int of 1 or more"),
        ({"url": URL, "max_concurrency": 0}, "max_concurrency: an int of 1 or more"),
        ({"url": URL, "max_concurrency": None}, "max_concurrency: an int of 1 or more"),
        ({"url": URL, "max_concurrency": True}, "max_concurrency: an int of 1 or more"),
        ({"url": URL, "verification_key": "x"}, "the verification key from verification_key="),
        (
            {"url": URL, "env": {"DISPATCH_VERIFICATION_KEY": "x"}},
            "the verification key from DISPATCH_VERIFICATION_KEY",
        ),
    ],
)
def test_settings_that_are_missing_or_wrong_are_errors_that_name_them(
    settings: dict[str, Any], reason: str
):
    with pytest.raises(ConfigurationError, match=reason):
        Endpoint(**{"env": {}, **settings})


@pytest.mark.parametrize(
    ("argument", "variable"),
    [
        (KEYS.verification_key, ""),
        (KEYS.verification_key.encode(), ""),
        (parse_verification_key(KEYS.verification_key), ""),
        (KEYS.verification_key, new_key_pair().verification_key),
        (None, f" {KEYS.verification_key}\n"),
        ("", KEYS.verification_key),
        (b" ", KEYS.verification_key),
    ],
    ids=lambda value: type(value).__name__,  # the keys are new in each process
)
def test_the_verification_key_is_the_argument_or_of_the_environment(argument: Any, variable: str):
    env = {"DISPATCH_VERIFICATION_KEY": variable}
    endpoint = Endpoint(URL, verification_key=argument, env=env)
    assert endpoint.verification_key == parse_verification_key(KEYS.verification_key)


@pytest.mark.parametrize(
    ("url", "key", "warnings"),
    [
        (URL, None, 1),
        (URL, "", 1),
        ("bridge://session", None, 0),
        (URL, KEYS.verification_key, 0),
    ],
    ids=["no key", "empty", "bridge", "key"],
)
def test_an_endpoint_that_verifies_nothing_warns_once(
    url: str, key: str | None, warnings: int, caplog: pytest.LogCaptureFixture
):
    endpoint = Endpoint(url, verification_key=key, env={})
    assert endpoint.app is endpoint.app
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(records) == warnings
    assert all("DISPATCH_VERIFICATION_KEY" in record.getMessage() for record in records)


# Decoding


@dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    name: str
    year: int


class User(pydantic.BaseModel):
    name: str
    age: int = 0


class Order(msgspec.Struct):
    items: list[str]
    paid: bool = False


class Color(enum.Enum):
    RED = "red"


class Picky(pydantic.BaseModel):
    """Has a validator that fails as its code likes to."""

    kind: str

    @pydantic.field_validator("kind")
    @classmethod
    def fail(cls, value: str) -> str:
        raise {"exit": SystemExit, "net": ConnectionError, "odd": ValueError}[value]("\udcff")


WHEN = datetime(2026, 11, 22, 12, 30, 0, 123456, tzinfo=UTC)


def typed(wanted: Any, **options: Any) -> Callable[..., Any]:
    """A function of one parameter with an annotation."""

    def f(x): ...

    f.__annotations__["x"] = wanted
    for name, value in options.items():
        setattr(f, name, value)
    return f


def received(endpoint: Endpoint, function: Callable[..., Any], input: AnyProto) -> Any:
    """The arguments with which a function is called for an input, by position and by name."""
    found: list[Any] = []

    @functools.wraps(function)
    def spy(*args: Any, **kwargs: Any) -> None:
        found.append((args, kwargs))

    hosted = endpoint.function(name=f"f{len(endpoint.functions)}")(spy)
    response = asyncio.run(endpoint.run(RunRequest(function=hosted.name, input=input)))
    if status(response) is not Status.OK:
        return message(response, Status.INVALID_ARGUMENT)
    ((args, kwargs),) = found
    assert inspect.signature(function).bind(*args, **kwargs)
    return args, kwargs


@pytest.mark.parametrize(
    ("wanted", "given", "value"),
    [
        (inspect.Parameter.empty, {"a": [1, 2.5]}, {"a": [1, 2.5]}),
        (Any, b"1", b"1"),
        (object, {"a": 1}, {"a": 1}),
        (int, 23, 23),
        (float, 23, 23.0),
        (str, "x", "x"),
        (bytes, b"\0", b"\0"),
        (None, None, None),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, 23, 23),
        (list[int], [1, 2], [1, 2]),
        (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (datetime, WHEN, WHEN),
        (timedelta, timedelta(microseconds=-1), timedelta(microseconds=-1)),
        (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)),
        (Decimal, "1.50", Decimal("1.50")),
        (Color, "red", Color.RED),
        (Point, Point(1, 2), Point(1, 2)),
        (Point, {"x": 1}, Point(1)),
        (Movie, {"name": "M", "year": 1931}, {"name": "M", "year": 1931}),
        (User, User(name="Ada", age=36), User(name="Ada", age=36)),
        (list[User], [{"name": "Ada"}], [User(name="Ada")]),
        (Order, Order(["a"]), Order(["a"])),
        (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
        (Call, Call(function="f"), Call(function="f")),
        (Call | None, Call(function="f"), Call(function="f")),
        (Call | None, None, None),
        (AnyProto, 23, marshal(23)),
        ("Point", {"x": 1}, Point(1)),
        ("list['Point']", [{"x": 1}], [Point(1)]),
    ],
)
def test_an_input_is_decoded_by_the_annotation(
    endpoint: Endpoint, wanted: Any, given: Any, value: Any
):
    args, kwargs = received(endpoint, typed(wanted), marshal(given))
    assert (args, kwargs) == ((value,), {})
    assert type(args[0]) is type(value)


@pytest.mark.parametrize(
    ("wanted", "given", "reason"),
    [
        (int, "23", "x: expected int, got str"),
        (int, None, "x: expected int, got null"),
        (int, 2.5, "x: expected int, got float"),
        (list[int], [1, "a"], "x: not list[int]: Expected `int`, got `str` - at `$[1]`"),
        (None, 1, "x: not NoneType: Expected `null`, got `int`"),
        (Point, {"y": 1}, "x: not Point: Object missing required field `x`"),
        (Movie, {"name": 1, "year": 1}, "x: not Movie: Expected `str`, got `int` - at `$.name`"),
        (User, {"age": 1}, "x: not User: name: Field required"),
        (Order, {}, "x: not Order: Object missing required field `items`"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "Expected `int` >= 1"),
        (datetime, 1, "x: expected datetime, got int"),
        (Call, 23, "x: expected the message dispatch.sdk.v1.Call, found google.protobuf.Int64"),
        (Picky, {"kind": "odd"}, "x: not Picky"),
    ],
)
def test_an_input_of_another_type_is_an_error_that_says_what_was_expected(
    endpoint: Endpoint, wanted: Any, given: Any, reason: str
):
    assert reason in received(endpoint, typed(wanted), marshal(given))


def test_a_long_reason_loses_its_middle(endpoint: Endpoint):
    class Wordy(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def fail(cls, value: int) -> int:
            raise ValueError("so it goes " * 100_000)

    endpoint.function(name="f")(typed(Wordy))
    problem = message(run(endpoint, "f", {"number": 1}), Status.INVALID_ARGUMENT)
    assert problem.startswith("x: not ")
    assert "(cut here)" in problem
    assert len(problem) < 70_000


@pytest.mark.parametrize(
    ("kind", "expected"), [("exit", Status.TEMPORARY_ERROR), ("net", Status.TCP_ERROR)]
)
def test_a_type_that_fails_to_decode_itself_fails_as_the_function_would(
    endpoint: Endpoint, kind: str, expected: Status
):
    endpoint.function(name="f")(typed(Picky))
    assert message(run(endpoint, "f", {"kind": kind}), expected) == "\\udcff"


@pytest.mark.parametrize(
    "input",
    [
        AnyProto(type_url="type.googleapis.com/google.protobuf.Int64Value", value=b"\xff"),
        AnyProto(type_url="type.googleapis.com/no.such.Type"),
        AnyProto(type_url="/", value=b"1"),
        AnyProto(type_url="type.googleapis.com/google.protobuf.Value"),
    ],
)
@pytest.mark.parametrize("function", [none, one, defaulted, several, only_open])
def test_an_input_that_is_malformed_is_an_error(
    endpoint: Endpoint, function: Callable[..., Any], input: AnyProto
):
    found = received(endpoint, function, input)
    assert isinstance(found, str)  # the message
    assert "type" in found or "Value" in found


def in_order(a: int = 1, b: int = 2, /) -> None: ...
def unfit(a: int, b: str = None, *, c: int = 5) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def unfit_single(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def numbered(**others: int) -> int: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "input", "arguments"),
    [
        (none, None, ((), {})),
        (keyword_only, 1, ((), {"x": 1})),
        (lambda x, /: 0, 1, ((1,), {})),
        (defaulted, 6, ((6,), {})),
        (defaulted, None, ((None,), {})),
        (unfit_single, None, ((), {})),
        (several, {"a": 1}, ((), {"a": 1})),
        (several, {"c": [1], "b": None, "a": 0}, ((), {"a": 0, "b": None, "c": [1]})),
        (positional, {"b": 2, "a": 1}, ((1,), {"b": 2})),
        (in_order, {"b": 5}, ((1, 5), {})),
        (in_order, {}, ((1, 2), {})),
        (in_order, None, ((1, 2), {})),
        (unfit, {"a": 1, "b": None, "c": None}, ((), {"a": 1})),
        (unfit, 1, ((1,), {})),
        (several, 1, ((1,), {})),
        (several, None, ((None,), {})),
        (several, {"x": 1}, (({"x": 1},), {})),
        (open_ended, 1, ((1,), {})),
        (in_order, 5, ((5,), {})),
        (open_ended, {"a": 1, "b": 2}, ((), {"a": 1, "b": 2})),
        (only_open, None, ((), {})),
        (numbered, {"a": 1, "return": 2}, ((), {"a": 1, "return": 2})),
    ],
)
def test_an_input_gives_the_arguments_by_their_names(
    endpoint: Endpoint, function: Callable[..., Any], input: Any, arguments: Any
):
    assert received(endpoint, function, marshal(input)) == arguments


@pytest.mark.parametrize(
    ("function", "input", "reason"),
    [
        (none, 1, "accepts no input; got int 1"),
        (none, {}, "accepts no input; got dict {}"),
        (positional, 1, "requires a dict of its arguments (a, b); got int 1"),
        (positional, None, "requires a dict of its arguments (a, b); got NoneType None"),
        (positional, {"x": 1, "y": 2}, "missing: 'a', 'b' and unknown: 'x', 'y'"),
        (unfit, "x", "a: expected int, got str"),
        (unfit, None, "a: expected int, got null"),
        (
            unfit,
            {"b": "x", "y": 2},
            "requires a dict of its arguments (a, b, c); missing: 'a' and unknown: 'y'; "
            "a: expected int, got object",
        ),
        (several, {"a": 1, "x": 2}, "requires a dict of its arguments (a, b, c); unknown: 'x'"),
        (several, {"a": 1, "c": 1}, "c: not list[int]: Expected `array`, got `int`"),
        (several, {"a": 1, "c": ["x"]}, "c: not list[int]: Expected `int`, got `str` - at `$[0]`"),
        (unfit, {"a": None}, "a: expected int, got null"),
        (open_ended, {"b": 1}, "missing: 'a'"),
        (numbered, {"b": None}, "b: expected int, got null"),
        (numbered, {"return": "x"}, "return: expected int, got str"),
    ],
)
def test_an_input_without_the_arguments_is_an_error_that_says_what_is_taken(
    endpoint: Endpoint, function: Callable[..., Any], input: Any, reason: str
):
    assert reason in received(endpoint, function, marshal(input))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (none, ((), {})),
        (one, ((None,), {})),
        (defaulted, ((), {})),
        (typed(AnyProto), ((marshal(None),), {})),
        (only_open, ((), {})),
        (in_order, ((1, 2), {})),
        (typed(int), "x: expected int, got null"),
        (several, "missing: 'a'"),
    ],
)
def test_an_input_that_is_set_but_holds_nothing_is_that_of_defaults(
    endpoint: Endpoint, function: Callable[..., Any], arguments: Any
):
    found = received(endpoint, function, AnyProto())
    assert found == arguments or (isinstance(found, str) and arguments in found)


def test_an_annotation_may_name_what_is_defined_later(endpoint: Endpoint):
    @endpoint.function
    def f(x: "Later", y: "list[Later]") -> int:
        return x.number + len(y)

    assert output(run(endpoint, "f", {"x": {"number": 1}, "y": []})) == 1


@dataclass
class Later:
    number: int


class Mover:
    """Its annotations are texts, as those of modules with `from __future__ import annotations`."""

    def __init__(self, point: "Point") -> None:
        self.x = point.x

    def __call__(self, point: "Point") -> int:
        return self.x + point.x

    def move(self, point: "Point") -> int:
        return self(point)


@pytest.mark.parametrize(
    "function",
    [
        Mover(Point(1)),
        Mover(Point(1)).move,
        functools.partial(Mover.move, Mover(Point(1))),
        functools.partial(functools.partial(Mover(Point(1)))),
    ],
)
def test_texts_of_annotations_are_found_in_the_module_of_the_function(
    endpoint: Endpoint, function: Callable[..., Any]
):
    endpoint.function(name="f")(function)
    assert output(run(endpoint, "f", {"x": 41})) == 42


def test_texts_of_annotations_are_found_in_the_module_of_a_class(endpoint: Endpoint):
    endpoint.function(name="f")(Mover)
    assert "Mover has no representation" in message(
        run(endpoint, "f", {"x": 1}), Status.INVALID_RESPONSE
    )


def test_the_type_of_the_result_need_not_be_known(endpoint: Endpoint):
    @endpoint.function
    def f(x: int) -> "Unknown":
        return x

    assert output(run(endpoint, "f", 1)) == 1
    assert "expected int, got str" in message(run(endpoint, "f", "x"), Status.INVALID_ARGUMENT)


@pytest.mark.parametrize("annotation", ["Unknown", "functools.unknown", "1 +", "int[5]"])
def test_an_annotation_that_is_never_known_is_an_error_of_every_run(
    endpoint: Endpoint, annotation: str
):
    hosted = endpoint.function(name="f")(typed(annotation))
    assert hosted.call(1) == new_call(URL, "f", 1)
    for _ in range(2):
        problem = message(run(endpoint, "f", 1), Status.TEMPORARY_ERROR)
        assert problem.startswith("function 'f': cannot resolve the type of a parameter: ")


def test_an_annotation_that_nothing_decodes_into_is_named(endpoint: Endpoint):
    hosted = endpoint.function(name="f")(typed(threading.Thread))
    assert "Thread" in message(run(endpoint, hosted.name, 1), Status.INVALID_ARGUMENT)


INT64 = st.integers(-(2**63), 2**64 - 1)
EXACT = st.integers(-(2**53), 2**53)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
SPANS = st.timedeltas(timedelta(days=-10000), timedelta(days=10000))
PLAIN = st.recursive(
    st.none() | st.booleans() | EXACT | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(value=PLAIN | INT64 | st.binary() | TIMES | SPANS)
def test_one_argument_arrives_as_it_was_given(value: Any):
    endpoint = Endpoint(URL, env={})
    found: list[Any] = []
    hosted = endpoint.function(name="f")(lambda x: found.append(x))
    assert (
        output(asyncio.run(endpoint.run(RunRequest(function="f", input=hosted.call(value).input))))
        is None
    )
    assert found == [value]


@settings(deadline=None)
@given(
    args=st.tuples(EXACT, st.none() | st.text()),
    kwargs=st.fixed_dictionaries(
        {"when": TIMES, "spans": st.lists(SPANS)},
        optional={
            "data": st.binary(),
            "number": FINITE,
            "points": st.lists(st.builds(Point, EXACT, EXACT)),
            "key": st.uuids(),
            "anything": PLAIN,
            "other": EXACT,
        },
    ),
)
def test_several_arguments_arrive_as_they_were_given(args: Any, kwargs: Any):
    endpoint = Endpoint(URL, env={})
    found: list[Any] = []

    @endpoint.function
    def f(
        a: int,
        b: str | None = None,
        /,
        data: bytes = b"",
        number: float = 0.5,
        *,
        when: datetime,
        spans: list[timedelta],
        points: list[Point] = [],  # noqa: B006
        key: uuid.UUID | None = None,
        anything=None,
        **others: int,
    ) -> None:
        found.append((a, b, data, number, when, spans, points, key, anything, others))

    f(*args, **kwargs)
    response = asyncio.run(
        endpoint.run(RunRequest(function="f", input=f.call(*args, **kwargs).input))
    )
    assert output(response) is None
    direct, hosted = found
    assert hosted == direct
    assert list(map(type, hosted)) == list(map(type, direct)) or kwargs.get("anything") is not None


# Running


def own(status: Any) -> Exception:
    """An exception that tells its status itself."""
    error = RuntimeError("own")
    error.status = status  # type: ignore[attr-defined]
    return error


ERRORS: list[tuple[BaseException, Status]] = [
    (TimeoutError("x"), Status.TIMEOUT),
    (TypeError("x"), Status.TEMPORARY_ERROR),
    (ValueError("x"), Status.TEMPORARY_ERROR),
    (MarshalError("x"), Status.TEMPORARY_ERROR),
    (ConnectionResetError("x"), Status.TCP_ERROR),
    (socket.gaierror("x"), Status.DNS_ERROR),
    (ssl.SSLError("x"), Status.TLS_ERROR),
    (ssl.SSLCertVerificationError("x"), Status.TLS_ERROR),
    (PermissionError("x"), Status.TEMPORARY_ERROR),
    (FileNotFoundError("x"), Status.TEMPORARY_ERROR),
    (MemoryError("x"), Status.TEMPORARY_ERROR),
    (EOFError("x"), Status.TEMPORARY_ERROR),
    (InterruptedError("x"), Status.TEMPORARY_ERROR),
    (OSError("x"), Status.TEMPORARY_ERROR),
    (KeyError("x"), Status.TEMPORARY_ERROR),
    (RuntimeError("x"), Status.TEMPORARY_ERROR),
    (PermanentError("x"), Status.PERMANENT_ERROR),
    (own(Status.THROTTLED), Status.THROTTLED),
    (own(Status.OK), Status.TEMPORARY_ERROR),
    (own(Status.UNSPECIFIED), Status.TEMPORARY_ERROR),
    (own(404), Status.TEMPORARY_ERROR),
    (own(1), Status.TEMPORARY_ERROR),
    (rpc_error(Code.UNAVAILABLE, "x"), Status.TEMPORARY_ERROR),
    (rpc_error(Code.RESOURCE_EXHAUSTED, "x"), Status.THROTTLED),
    (rpc_error(Code.NOT_FOUND, "x"), Status.NOT_FOUND),
    (rpc_error(Code.UNAUTHENTICATED, "x"), Status.UNAUTHENTICATED),
    (rpc_error(Code.DATA_LOSS, "x"), Status.PERMANENT_ERROR),
    # Those that usually end a thread or a program, and the request that runs here.
    (KeyboardInterrupt("x"), Status.TEMPORARY_ERROR),
    (SystemExit("x"), Status.TEMPORARY_ERROR),
    (GeneratorExit("x"), Status.TEMPORARY_ERROR),
    (asyncio.CancelledError("x"), Status.TEMPORARY_ERROR),
    (BaseException("x"), Status.TEMPORARY_ERROR),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("error", "expected"), ERRORS, ids=[f"{type(e).__name__}-{s.name}" for e, s in ERRORS]
)
def test_what_a_function_raises_becomes_an_error_and_a_status(
    endpoint: Endpoint, error: BaseException, expected: Status, is_async: bool
):
    def f() -> None:
        raise error.with_traceback(None)

    async def async_f() -> None:
        f()

    endpoint.function(name="f")(async_f if is_async else f)
    response = run(endpoint, "f")
    assert message(response, expected) == str(error)
    told = response.exit.result.error
    assert told.type.rpartition(".")[2] == type(error).__qualname__
    text = told.traceback.decode()
    assert text.startswith("Traceback (most recent call last):")
    assert "raise error.with_traceback" in text
    assert "dispatch_grpc/" not in text  # only frames of the function
    assert response.WhichOneof("directive") == "exit"


def test_the_type_of_an_error_is_named_with_its_module(endpoint: Endpoint):
    for error in (pydantic.PydanticUserError("x", code=None), KeyError(), InvalidCallError()):

        def f(error: Exception = error) -> None:
            raise error

        endpoint.function(name=type(error).__name__)(f)
        told = run(endpoint, type(error).__name__, AnyProto()).exit.result.error
        module = "" if type(error) is KeyError else f"{type(error).__module__}."
        assert told.type == f"{module}{type(error).__qualname__}"


def test_a_stop_iteration_is_an_error_too(endpoint: Endpoint):
    @endpoint.function
    def f() -> None:
        next(iter(()))

    assert message(run(endpoint, "f"), Status.TEMPORARY_ERROR) == ""


class NoTextError(Exception):
    def __str__(self) -> str:
        raise self.args[0]


class NoStatusError(Exception):
    @property
    def status(self) -> Status:
        raise self.args[0]


@pytest.mark.parametrize("inner", [ValueError("inner"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("cls", [NoTextError, NoStatusError])
def test_errors_whose_own_code_fails_are_told_all_the_same(
    endpoint: Endpoint, cls: type[Exception], inner: BaseException
):
    @endpoint.function
    def f() -> None:
        raise cls(inner)

    response = run(endpoint, "f")
    text = "(the error has no message: its __str__ fails)" if cls is NoTextError else str(inner)
    assert message(response, Status.TEMPORARY_ERROR) == text
    assert b"raise cls(inner)" in response.exit.result.error.traceback


class NoTracebackError(Exception):
    @property
    def __suppress_context__(self) -> bool:  # type: ignore[override]  # read for every traceback
        raise RuntimeError


def test_an_error_whose_traceback_cannot_be_written_is_told_without(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL, "dispatch_grpc")  # logging it fails, too

    @endpoint.function
    def f() -> None:
        raise NoTracebackError("odd")

    response = run(endpoint, "f")
    assert message(response, Status.TEMPORARY_ERROR) == "odd"
    assert response.exit.result.error.traceback == b""


def test_lone_surrogates_in_messages_are_escaped(endpoint: Endpoint):
    @endpoint.function
    def f() -> None:
        raise ValueError("bad \udcff byte")

    response = run(endpoint, "f")
    assert message(response, Status.TEMPORARY_ERROR) == r"bad \udcff byte"
    assert rb"bad \udcff byte" in response.exit.result.error.traceback


def test_long_messages_and_tracebacks_lose_their_middle(endpoint: Endpoint):
    @endpoint.function
    def f() -> None:
        raise ValueError("first " + "€" * 1_000_000 + " last")

    response = run(endpoint, "f")
    told = response.exit.result.error
    assert response.ByteSize() < 150_000
    assert told.message.startswith("first €€€")
    assert told.message.endswith("€€€ last")
    assert "(cut here)" in told.message
    assert "\\x" not in told.message  # no character is cut in two
    text = told.traceback.decode()
    assert text.startswith("Traceback (most recent call last):")
    assert "in f\n" in text
    assert text.endswith("€€€ last\n")


def test_a_long_chain_of_errors_is_told(endpoint: Endpoint):
    @endpoint.function
    def f() -> None:
        error: Exception = KeyError("the first one")
        for number in range(2000):
            error.__cause__, error = None, Exception(number)
            try:
                raise error from KeyError(number)
            except Exception as again:
                error = again
        raise RuntimeError("the last one") from error

    @endpoint.function
    def deep(number: int = 10**9) -> int:
        return deep(number - 1)

    assert message(run(endpoint, "f"), Status.TEMPORARY_ERROR) == "the last one"
    text = message(run(endpoint, "deep", AnyProto()), Status.TEMPORARY_ERROR)
    assert text.startswith("maximum recursion depth exceeded")


@dataclass
class Unreadable:
    """Fails in its own code when it is marshalled."""

    error: Any

    def __getattribute__(self, name: str) -> Any:
        if name == "error":
            raise object.__getattribute__(self, name)
        return object.__getattribute__(self, name)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (object(), "the result of f: $: builtins.object has no representation"),
        ({"a": [object()]}, "the result of f: $.a[0]: builtins.object has no"),
        ({1: 2}, "the result of f: $[1]: keys must be str; got int 1"),
        (2**64, "the result of f: $: an int must be from -2**63"),
        (datetime(2026, 1, 1), "the result of f: $: a datetime must have a time zone"),
        ("\udcff", "the result of f: $: a str must be valid Unicode"),
        (float, "the result of f: $: builtins.type has no"),
        (Unreadable(ValueError("from within")), "from within"),
        (Unreadable(SystemExit("from within")), "from within"),
    ],
)
def test_a_result_without_representation_is_an_error(endpoint: Endpoint, result: Any, reason: str):
    endpoint.function(name="f")(lambda: result)
    assert reason in message(run(endpoint, "f"), Status.INVALID_RESPONSE)


@pytest.mark.parametrize(
    "result", [None, 1, "x", b"x", {"a": [1, None]}, WHEN, Call(function="f"), Point(1)]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_result_is_marshalled(endpoint: Endpoint, result: Any, is_async: bool):
    async def async_f() -> Any:
        return result

    endpoint.function(name="f")(async_f if is_async else lambda: result)
    response = run(endpoint, "f")
    assert response.exit.result.output == marshal(result)
    assert status(response) is Status.OK


def test_a_result_that_is_too_large_is_an_error():
    endpoint = Endpoint(URL, max_request_bytes=1000, env={})
    endpoint.function(name="f")(lambda size: b"." * size)
    fits = next(
        size for size in range(1000, 0, -1) if status(run(endpoint, "f", size)) == Status.OK
    )
    assert run(endpoint, "f", fits).ByteSize() == 1000
    assert message(run(endpoint, "f", fits + 1), Status.INVALID_RESPONSE) == (
        "the answer of f has 1001 bytes; max_request_bytes allows 1000"
    )
    endpoint.primitive(name="p")(lambda request: exit_(b"." * 1000))
    assert "the answer of p has" in message(run(endpoint, "p"), Status.INVALID_RESPONSE)


def test_a_plain_function_has_nothing_to_resume(endpoint: Endpoint):
    endpoint.function(name="f")(lambda: pytest.fail("it was run"))
    request = RunRequest(function="f", poll_result=PollResult())
    response = asyncio.run(endpoint.run(request))
    problem = message(response, Status.INCOMPATIBLE_STATE)
    assert problem == "f cannot be resumed: it never polls"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("greeet", f"there is no function 'greeet' at {URL}; did you mean 'greet'?"),
        ("zzz", f"there is no function 'zzz' at {URL}"),
        ("", f"there is no function '' at {URL}"),
    ],
)
def test_a_function_that_is_unknown_is_an_error_with_the_nearest(
    endpoint: Endpoint, name: str, text: str
):
    endpoint.function(name="greet")(one)
    endpoint.function(name="other")(one)
    with pytest.raises(NotFoundError) as caught:
        run(endpoint, name)
    assert caught.value.message == text


def test_a_long_name_is_neither_repeated_nor_compared(endpoint: Endpoint):
    endpoint.function(one)
    with pytest.raises(NotFoundError) as caught:
        run(endpoint, "one" * 1_000_000)
    assert len(str(caught.value)) < 500


def test_a_request_without_directive_is_an_error(endpoint: Endpoint):
    endpoint.function(one)
    with pytest.raises(InvalidArgumentError, match="directive: one of input and poll_result"):
        asyncio.run(endpoint.run(RunRequest(function="one")))


def test_failures_are_logged_and_results_are_not(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
):
    endpoint.function(name="f")(lambda x: 1 / x)
    run(endpoint, "f", 1)
    assert not caplog.records
    run(endpoint, "f", 0)
    run(endpoint, "f", AnyProto(type_url="x/no.such.Type"))
    failed, refused = caplog.records
    assert failed.getMessage() == "function f failed with TEMPORARY_ERROR"
    assert "ZeroDivisionError" in caplog.text
    assert "unknown type 'no.such.Type'" in refused.getMessage()


# What a function knows of its call


def test_a_function_knows_its_call(endpoint: Endpoint):
    found: list[CurrentCall] = []

    def look() -> None:
        found.append(current_call())

    async def look_async() -> None:
        look()
        await asyncio.create_task(nested())
        await asyncio.to_thread(look)

    async def nested() -> None:
        look()

    endpoint.function(look)
    endpoint.function(look_async)
    endpoint.primitive(name="p")(lambda request: exit_(look()))  # type: ignore[func-returns-value]
    expires = datetime.now(UTC) + timedelta(seconds=60)
    known: Any = {
        "parent_dispatch_id": "parent",
        "root_dispatch_id": "root",
        "creation_time": WHEN,
        "expiration_time": expires,
    }
    for name in ("look", "look_async", "p"):
        assert status(run(endpoint, name, **known)) is Status.OK
    names = ("look", *["look_async"] * 3, "p")
    assert found == [CurrentCall(dispatch_id="id", function=name, **known) for name in names]
    found.clear()
    assert status(run(endpoint, "look")) is Status.OK
    assert found == [CurrentCall("id", "", "", None, None, function="look")]


def test_a_time_out_of_range_is_none(endpoint: Endpoint):
    endpoint.function(name="f")(
        lambda: [current_call().creation_time, current_call().expiration_time]
    )
    odd = request("f")
    odd.creation_time.seconds = 2**60
    odd.expiration_time.nanos = -1
    assert output(asyncio.run(endpoint.run(odd))) == [None, None]


def test_functions_that_run_at_once_know_their_own_calls(endpoint: Endpoint):
    @endpoint.function
    async def f() -> str:
        await together.wait()
        return current_call().dispatch_id

    async def main() -> list[Any]:
        requests = [request("f") for _ in range(10)]
        for number, each in enumerate(requests):
            each.dispatch_id = str(number)
        return await asyncio.gather(*map(endpoint.run, requests))

    together = asyncio.Barrier(10)
    assert [output(response) for response in asyncio.run(main())] == list(map(str, range(10)))


def test_outside_of_a_function_there_is_no_call(endpoint: Endpoint):
    endpoint.function(name="f")(current_call)
    run(endpoint, "f")
    with pytest.raises(EndpointError, match="no function of an endpoint runs here"):
        current_call()


# The deadline


def test_an_async_function_is_cancelled_when_its_call_expires(endpoint: Endpoint):
    ended: list[str] = []

    @endpoint.function
    async def f() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            ended.append("finally")

    response = run(endpoint, "f", expiration_time=soon())
    problem = message(response, Status.TIMEOUT)
    assert problem.startswith("the call has expired: the function did not end by 20")
    assert response.exit.result.error.type == "TimeoutError"
    assert ended == ["cancelled", "finally"]


def test_an_async_function_that_refuses_to_be_cancelled_is_not_waited_for(endpoint: Endpoint):
    ended: list[str] = []

    @endpoint.function
    async def f() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()
            ended.append("late")

    async def main() -> None:
        response = await asyncio.wait_for(
            endpoint.run(request("f", expiration_time=soon())), timeout=30
        )
        assert status(response) is Status.TIMEOUT
        assert not ended
        release.set()
        while not ended:
            await asyncio.sleep(0)

    release = asyncio.Event()
    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_sync_function_is_not_waited_for_when_its_call_expires(endpoint: Endpoint):
    release, ended = threading.Event(), threading.Event()

    @endpoint.function
    def f() -> None:
        release.wait(60)
        ended.set()

    response = run(endpoint, "f", expiration_time=soon())
    assert "did not end by" in message(response, Status.TIMEOUT)
    assert not ended.is_set()
    release.set()
    assert ended.wait(30)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("seconds", [0, -0.001, -(10**6)])
def test_a_call_that_has_expired_is_not_run(endpoint: Endpoint, is_async: bool, seconds: float):
    calls: list[None] = []

    async def async_f() -> None:
        calls.append(None)

    endpoint.function(name="f")(async_f if is_async else lambda: calls.append(None))
    response = run(endpoint, "f", expiration_time=soon(seconds))
    assert message(response, Status.TIMEOUT) == "the call expired before it ran"
    assert not calls


@pytest.mark.parametrize("expires", [datetime.now(UTC) + timedelta(hours=1), datetime.max])
def test_a_call_that_has_time_is_run(endpoint: Endpoint, expires: datetime):
    endpoint.function(name="f")(lambda: 1)
    assert output(run(endpoint, "f", expiration_time=expires)) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_timeout_of_the_function_itself_is_told_as_its_own(endpoint: Endpoint, is_async: bool):
    async def async_f() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    def f() -> None:
        raise TimeoutError("of the database")

    endpoint.function(name="f")(async_f if is_async else f)
    response = run(endpoint, "f", expiration_time=soon(60))
    assert "expired" not in message(response, Status.TIMEOUT)
    assert response.exit.result.error.traceback


# Concurrency


def test_sync_functions_run_at_once_up_to_a_bound_and_expire_in_the_queue():
    endpoint = Endpoint(URL, max_concurrency=2, env={})
    entered: list[int] = []
    running, release = threading.Semaphore(0), threading.Event()

    @endpoint.function
    def f(number: int) -> int:
        entered.append(number)
        running.release()
        release.wait(60)
        return number

    async def main() -> None:
        first = [asyncio.create_task(endpoint.run(request("f", number))) for number in (1, 2)]
        for _ in first:
            assert await asyncio.to_thread(running.acquire, timeout=30)
        # Two run, so these wait, and expire.
        queued = [request("f", number, expiration_time=soon()) for number in (3, 4, 5)]
        for response in await asyncio.gather(*map(endpoint.run, queued)):
            assert status(response) is Status.TIMEOUT
        # Nobody waits for this one any more.
        abandoned = asyncio.create_task(endpoint.run(request("f", 6)))
        await asyncio.sleep(0)
        abandoned.cancel()
        await asyncio.wait([abandoned])
        assert abandoned.cancelled()
        last = asyncio.create_task(endpoint.run(request("f", 7)))
        release.set()
        responses = await asyncio.wait_for(asyncio.gather(*first, last), 30)
        assert [output(response) for response in responses] == [1, 2, 7]

    asyncio.run(main())
    assert sorted(entered[:2]) == [1, 2]
    assert entered[2:] == [7]


def test_threads_are_used_again():
    endpoint = Endpoint(URL, max_concurrency=8, env={})
    endpoint.function(name="f")(lambda: threading.get_ident())

    async def main() -> set[int]:
        found = set()
        for _ in range(50):
            found.add(output(await endpoint.run(request("f"))))
        return found

    assert len(asyncio.run(main())) == 1


def test_without_a_thread_the_call_may_be_tried_again(endpoint: Endpoint):
    release, entered = threading.Event(), threading.Event()

    @endpoint.function
    def f(wait: bool) -> bool:
        entered.set()
        return not wait or release.wait(60)

    usual = threading.stack_size()
    too_large = 2**60  # more than there are addresses

    async def main() -> None:
        threading.stack_size(too_large)
        response = await endpoint.run(request("f", False))
        assert "cannot start a thread for the function" in message(response, Status.TEMPORARY_ERROR)
        threading.stack_size(usual)
        first = asyncio.create_task(endpoint.run(request("f", True)))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        threading.stack_size(too_large)
        second = asyncio.create_task(endpoint.run(request("f", False)))  # waits for the first
        await asyncio.sleep(0)
        release.set()
        assert [output(await task) for task in (first, second)] == [True, True]

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        threading.stack_size(usual)


def test_async_functions_run_at_once_without_a_bound():
    endpoint = Endpoint(URL, max_concurrency=1, env={})
    together = asyncio.Barrier(100)

    @endpoint.function
    async def f() -> int:
        return await together.wait()

    async def main() -> list[RunResponse]:
        return await asyncio.gather(*(endpoint.run(request("f")) for _ in range(100)))

    responses = asyncio.run(asyncio.wait_for(main(), 60))
    assert sorted(output(response) for response in responses) == list(range(100))


def test_a_request_that_is_cancelled_cancels_the_async_function(endpoint: Endpoint):
    ended: list[str] = []

    @endpoint.function
    async def f() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("finally")

    async def main() -> None:
        task = asyncio.create_task(endpoint.run(request("f")))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not ended:
            await asyncio.sleep(0)

    started = asyncio.Event()
    asyncio.run(asyncio.wait_for(main(), 30))


def test_one_endpoint_serves_several_event_loops(endpoint: Endpoint):
    @endpoint.function
    async def f() -> int:
        await asyncio.sleep(0)
        return 1

    endpoint.function(name="g")(lambda: 2)
    for _ in range(3):
        assert output(run(endpoint, "f")) == 1
        assert output(run(endpoint, "g")) == 2


# Primitives


def test_a_primitive_gets_the_request_and_gives_the_response(endpoint: Endpoint):
    seen: list[RunRequest] = []

    @endpoint.primitive
    def total(request: RunRequest) -> RunResponse:
        seen.append(request)
        if request.HasField("input"):
            return poll([Call(function="f", correlation_id=1)], state=b"s")
        results = [unmarshal(result.output) for result in request.poll_result.results]
        return exit_(sum(results))

    @endpoint.primitive
    async def replace(request: RunRequest) -> RunResponse:
        return tail_call(total.call(5))

    first = run(endpoint, "total", 7)
    assert first == poll([Call(function="f", correlation_id=1)], state=b"s")
    assert seen == [request("total", 7)]
    resumed = RunRequest(function="total", poll_result=PollResult(coroutine_state=b"s"))
    for number in (1, 2):
        resumed.poll_result.results.add(output=marshal(number))
    assert output(asyncio.run(endpoint.run(resumed))) == 3
    assert run(endpoint, "replace").exit.tail_call == total.call(5)


def with_poll(**fields: Any) -> RunResponse:
    """A good Poll, but for some fields."""
    response = poll([Call(function="f")])
    for name, value in fields.items():
        if name == "seconds":
            response.poll.max_wait.seconds = value
        elif name == "nanos":
            response.poll.max_wait.nanos = value
        else:
            setattr(response.poll, name, value)
    return response


def with_call(call: Call) -> RunResponse:
    response = poll()
    response.poll.calls.add().CopyFrom(Call(function="f"))
    response.poll.calls.add().CopyFrom(call)
    return response


def with_tail_call(call: Call) -> RunResponse:
    response = exit_()
    response.exit.tail_call.CopyFrom(call)
    return response


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "f is a primitive: a RunResponse is required; got NoneType"),
        (5, "a RunResponse is required; got int"),
        (RunResponse, f"a RunResponse is required; got {type(RunResponse).__name__}"),
        (Call(), "a RunResponse is required; got Call"),
        (RunResponse(), "the answer of f: status: one is required; got none"),
        (RunResponse(status=99), "the answer of f: status: one is required; got 99"),  # type: ignore[arg-type]
        (RunResponse(status=-1), "the answer of f: status: one is required; got -1"),  # type: ignore[arg-type]
        (with_poll(min_results=0), "min_results: an int from 1 to 1000 is required; got 0"),
        (with_poll(min_results=1001), "min_results: an int from 1 to 1000 is required; got 1001"),
        (with_poll(max_results=0), "max_results: an int from 1 to 1000 is required; got 0"),
        (with_poll(max_results=1001), "max_results: an int from 1 to 1000 is required"),
        (with_poll(min_results=5, max_results=4), r"max_results: min_results \(5\) or more"),
        (with_poll(seconds=0), "max_wait: a duration of 1 second or more is required"),
        (with_poll(seconds=0, nanos=999_999_999), "max_wait: a duration of 1 second or more"),
        (with_poll(seconds=-5), "max_wait: a duration of 1 second or more"),
        (with_poll(nanos=-1), "max_wait: a duration of 1 second or more"),
        (with_poll(nanos=1_000_000_000), "max_wait: a duration of 1 second or more"),
        (with_poll(seconds=2**60), "max_wait: a duration of 1 second or more"),
        (with_call(Call()), r"calls\[1\]\.function: a name"),
        (with_call(Call(function="f", endpoint="ftp://x")), r"calls\[1\]\.endpoint: a URI"),
        (with_tail_call(Call()), r"the answer of f: tail_call\.function: a name"),
        (with_tail_call(Call(function="f", endpoint="x")), r"tail_call\.endpoint: a URI"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_answer_that_breaks_a_rule_is_not_given(
    endpoint: Endpoint, answer: Any, reason: str, is_async: bool
):
    async def async_f(request: RunRequest) -> Any:
        return answer

    endpoint.primitive(name="f")(async_f if is_async else lambda request: answer)
    response = run(endpoint, "f")
    assert re.search(reason, message(response, Status.INVALID_RESPONSE))


@pytest.mark.parametrize(
    "answer",
    [
        with_poll(min_results=1, max_results=1, seconds=1),
        with_poll(min_results=1000, max_results=1000),
        RunResponse(status="STATUS_THROTTLED"),
        RunResponse(status="STATUS_OK"),
        with_tail_call(Call(function="f")),
        with_call(Call(function="f", endpoint=URL)),
    ],
)
def test_an_answer_within_the_rules_is_given_as_it_is(endpoint: Endpoint, answer: RunResponse):
    endpoint.primitive(name="f")(lambda request: answer)
    assert run(endpoint, "f") == answer


def test_a_primitive_that_raises_has_failed_as_a_function_has(endpoint: Endpoint):
    @endpoint.primitive
    def f(request: RunRequest) -> RunResponse:
        raise ConnectionError("lost")

    @endpoint.primitive
    def g(request: RunRequest) -> RunResponse:
        return poll(min_results=0)

    assert message(run(endpoint, "f"), Status.TCP_ERROR) == "lost"
    assert "min_results" in message(run(endpoint, "g"), Status.TEMPORARY_ERROR)


def test_a_result_that_is_an_any_stays_as_it_is(endpoint: Endpoint):
    @endpoint.function
    def give() -> AnyProto:
        return marshal("as it is")

    response = run(endpoint, "give")
    assert response.exit.result.output == marshal("as it is")


def test_a_parameter_may_have_the_name_of_an_option(endpoint: Endpoint):
    @endpoint.function
    def deploy(name: str, version: str = "1") -> None:
        pass

    call = deploy.with_options(version="v2").call("x", version="2")
    assert unmarshal(call.input) == {"name": "x", "version": "2"}
    assert call.version == "v2"
    with pytest.raises(TypeError, match="unexpected keyword argument 'expiration'"):
        deploy.call("x", expiration=timedelta(1))  # type: ignore[call-arg]


@pytest.mark.parametrize("option", [*inspect.signature(Function.with_options).parameters][1:])
def test_an_option_among_the_arguments_is_told_where_it_belongs(endpoint: Endpoint, option: str):
    hosted: Any = endpoint.function(name="hosted")(lambda name: name)
    with pytest.raises(TypeError) as caught:
        hosted.dispatch("x", **{option: None})
    assert str(caught.value) == (
        f"hosted(): got an unexpected keyword argument '{option}': "
        f"an option of the call goes into with_options({option}=…)"
    )


def test_arguments_that_do_not_match_name_the_function(endpoint: Endpoint):
    hosted: Any = endpoint.function(name="hosted")(lambda name: name)
    for arguments, problem in (((), "missing a required argument"), ((1, 2), "too many")):
        with pytest.raises(TypeError, match=rf"^hosted\(\): {problem}[^:]*(: 'name')?$"):
            hosted.call(*arguments)


# Which errors are final


class NoSuchAccountError(PermanentError):
    status = Status.NOT_FOUND


FINAL: list[tuple[BaseException, dict[str, Any], Status]] = [
    (PermanentError("x"), {}, Status.PERMANENT_ERROR),
    (NoSuchAccountError("x"), {}, Status.NOT_FOUND),
    (ValueError("x"), {}, Status.TEMPORARY_ERROR),
    (ValueError("x"), {"permanent": ValueError}, Status.PERMANENT_ERROR),
    (UnicodeError("x"), {"permanent": (KeyError, ValueError)}, Status.PERMANENT_ERROR),
    (TypeError("x"), {"permanent": (KeyError, ValueError)}, Status.TEMPORARY_ERROR),
    (TimeoutError("x"), {"permanent": OSError}, Status.PERMANENT_ERROR),
    (NoSuchAccountError("x"), {"permanent": Exception}, Status.NOT_FOUND),  # as final as before
    (ExceptionGroup("x", [KeyError(), ValueError()]), {}, Status.TEMPORARY_ERROR),
    (
        ExceptionGroup("x", [KeyError(), ValueError()]),
        {"permanent": ValueError},
        Status.PERMANENT_ERROR,
    ),
    (ValueError("x"), {"retry": False}, Status.PERMANENT_ERROR),
    (TimeoutError("x"), {"retry": False}, Status.PERMANENT_ERROR),
    (NoSuchAccountError("x"), {"retry": False}, Status.NOT_FOUND),
]


@pytest.mark.parametrize("decorator", ["function", "primitive"])
@pytest.mark.parametrize(("error", "options", "expected"), FINAL, ids=repr)
def test_errors_are_tried_again_unless_they_are_final(
    endpoint: Endpoint,
    decorator: str,
    error: BaseException,
    options: dict[str, Any],
    expected: Status,
):
    def f(x: Any) -> None:
        raise error.with_traceback(None)

    getattr(endpoint, decorator)(name="f", **options)(f)
    assert message(run(endpoint, "f"), expected).startswith("x")


@pytest.mark.parametrize("permanent", ["ValueError", int, (ValueError, 5), [ValueError], None])
def test_what_is_permanent_are_types_of_exceptions(endpoint: Endpoint, permanent: Any):
    with pytest.raises(EndpointError, match="permanent: classes of exceptions are required"):
        endpoint.function(permanent=permanent)(one)
    assert not endpoint.functions


def test_a_call_that_was_not_run_is_tried_again_whatever_the_function_says(endpoint: Endpoint):
    endpoint.function(name="f", retry=False)(one)
    response = run(endpoint, "f", expiration_time=soon(-1))
    assert status(response) is Status.TIMEOUT


def test_a_group_tells_what_is_in_it(endpoint: Endpoint):
    @endpoint.function
    async def f() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(KeyError("a")))
            group.create_task(fail(ExceptionGroup("inner", [NoSuchAccountError(), OSError("b")])))

    async def fail(error: Exception) -> None:
        raise error

    response = run(endpoint, "f")
    assert message(response, Status.NOT_FOUND) == (
        "unhandled errors in a TaskGroup (2 sub-exceptions): KeyError: 'a'; "
        f"{__name__}.NoSuchAccountError; OSError: b"
    )
    assert response.exit.result.error.type == "ExceptionGroup"
    assert b"Exception Group Traceback" in response.exit.result.error.traceback


def test_a_large_group_is_told_in_part(endpoint: Endpoint):
    @endpoint.function
    def f() -> None:
        raise BaseExceptionGroup("many", [ValueError("x" * 1000) for _ in range(1000)])

    @endpoint.function
    def deep() -> None:
        error: BaseException = NoTextError(KeyError())
        for _ in range(5000):
            error = BaseExceptionGroup("", [error])
        raise error

    text = message(run(endpoint, "f"), Status.TEMPORARY_ERROR)
    assert text.startswith("many (1000 sub-exceptions): ValueError: xxx")
    assert text.endswith("x…; and 990 more")
    assert len(text) < 3000
    assert "NoTextError: (the error has no message" in message(
        run(endpoint, "deep"), Status.TEMPORARY_ERROR
    )


def test_a_function_knows_its_attempt(endpoint: Endpoint):
    endpoint.function(name="f")(lambda: current_call().attempt)
    assert output(asyncio.run(endpoint.run(request("f"), attempt=3))) == 3
    assert output(run(endpoint, "f")) is None


def test_passwords_in_urls_are_not_shown(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    url = "http://user:sesame@127.0.0.1:8000/x"
    endpoint = Endpoint(url, env={})
    hosted = endpoint.function(one)
    assert hosted.call(1).endpoint == url
    _ = endpoint.app
    texts = [repr(endpoint), repr(hosted), repr(hosted.with_options(version="2")), caplog.text]
    with pytest.raises(NotFoundError) as missing:
        run(endpoint, "other")
    texts.append(str(missing.value))
    with pytest.raises(ConfigurationError) as twice:
        Runner(endpoint, Endpoint(url, env={}))
    texts.append(str(twice.value))
    for call in (new_call(url + "/y", "one"), new_call(url, "other")):
        with pytest.raises(CallError) as failed:
            Runner(endpoint).run(call)
        texts.append(str(failed.value))
    for bad in ("http://user:sesame@", "ftp://user:sesame@x", " http://user:sesame@a b"):
        with pytest.raises(ConfigurationError) as refused:
            Endpoint(bad, env={})
        texts.append(str(refused.value))
        with pytest.raises(InvalidCallError) as invalid:
            new_call(bad, "f")
        texts.append(str(invalid.value))
    for text in texts:
        assert "sesame" not in text
        assert "********@" in text


def test_an_id_remembers_the_type_of_the_result(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    env = {"DISPATCH_API_KEY": "key", "DISPATCH_API_URL": dispatch_server.url}
    endpoint = Endpoint(URL, env=env)

    def unknown() -> "Unknown": ...
    def point() -> "Point": ...  # type: ignore[empty-body]
    async def points() -> "list[Point]": ...  # type: ignore[empty-body]
    def nothing() -> None: ...

    expected: list[Any] = [(one, None), (unknown, None), (point, Point), (points, list[Point])]
    for function, wanted in [*expected, (nothing, type(None))]:
        hosted = endpoint.function(function)
        arguments = (1,) if function is one else ()
        found: Any = hosted.dispatch(*arguments)
        assert result_type(found) == wanted
        assert result_type(asyncio.run(hosted.dispatch_async(*arguments))) == wanted
        assert isinstance(found, str)
    primitive = endpoint.primitive(name="p")(lambda request: exit_())
    assert result_type(primitive.dispatch()) is None
