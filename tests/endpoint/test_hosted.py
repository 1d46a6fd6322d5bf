"""Hosted functions where Python functions are used: frameworks, classes, processes, forks."""

import asyncio
import copy
import functools
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from dispatch_grpc import Endpoint, Function, Status, current_call, marshal, unmarshal
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.testing import serve_app
from tests.serving.test_server import post

URL = "http://127.0.0.1:8000"
module_endpoint = Endpoint(URL, env={})


@module_endpoint.function
def double(x: int) -> int:
    """Doubles."""
    return 2 * x


@module_endpoint.function
async def double_async(x: int) -> int:
    return 2 * x


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(URL, env={})


def run(endpoint: Endpoint, name: str, input: Any = None) -> Any:
    """Run a function, in an event loop of its own, and return its output."""
    request = RunRequest(function=name, input=marshal(input), dispatch_id="id")
    return output(asyncio.run(asyncio.wait_for(endpoint.run(request), 60)))


def output(response: RunResponse) -> Any:
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


# Awaitables


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them: it does not know of async functions."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def of_call(x: int) -> str:
    await asyncio.sleep(0)
    return f"{current_call().dispatch_id} {x}"


class Awaitable:
    def __init__(self, x: int) -> None:
        self.x = x

    def __await__(self) -> Any:
        return of_call(self.x).__await__()


@pytest.mark.parametrize(
    "function",
    [
        of_call,
        logged(of_call),
        logged(logged(of_call)),
        functools.partial(logged(of_call)),
        lambda x: of_call(x),
        lambda x: Awaitable(x),
    ],
)
def test_what_is_awaitable_is_awaited(endpoint: Endpoint, function: Callable[..., Any]):
    endpoint.function(name="f")(function)
    assert run(endpoint, "f", 1) == "id 1"


def test_a_decorated_async_function_is_cancelled_with_its_request(endpoint: Endpoint):
    ended = threading.Event()

    @endpoint.function
    @logged
    async def f() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        request = RunRequest(function="f", input=marshal(None))
        task = asyncio.create_task(endpoint.run(request))
        await asyncio.wait_for(started.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = asyncio.Event()
    asyncio.run(main())
    assert ended.is_set()


def test_an_awaitable_that_comes_after_the_deadline_is_not_awaited(endpoint: Endpoint):
    release = threading.Event()

    @endpoint.function
    @logged
    def f() -> Any:
        release.wait(60)
        return of_call(1)  # a warning that it is never awaited would be an error here

    async def main() -> None:
        request = RunRequest(function="f", input=marshal(None))
        request.expiration_time.FromSeconds(int(time.time()) + 1)
        response = await endpoint.run(request)
        assert Status(response.status) is Status.TIMEOUT
        release.set()
        while any(thread.name == "dispatch-function" for thread in busy(threads())):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 60))


def threads() -> list[threading.Thread]:
    return threading.enumerate()


def busy(all_threads: list[threading.Thread]) -> list[threading.Thread]:
    """Those that wait for a function and not for work."""
    frames = sys._current_frames()
    return [t for t in all_threads if t.ident in frames and "f" in names(frames[t.ident])]


def names(frame: Any) -> set[str]:
    found = set()
    while frame:
        found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found


class AsyncAdder:
    async def __call__(self, x: int) -> int:
        return x + 1

    async def add(self, x: int) -> int:
        return x + 1


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (of_call, True),
        (functools.partial(of_call), True),
        (AsyncAdder(), True),
        (AsyncAdder().add, True),
        (functools.partial(AsyncAdder()), True),
        (double_async, True),
        (lambda x: x, False),
        (logged(of_call), False),
        (functools.partial(double), False),
        (AsyncAdder, False),
    ],
)
def test_a_hosted_async_function_is_recognised_as_one(
    endpoint: Endpoint, function: Callable[..., Any], is_async: bool
):
    hosted = endpoint.function(name="f")(function)
    assert inspect.iscoroutinefunction(hosted) is is_async
    assert inspect.iscoroutinefunction(functools.partial(hosted)) is is_async
    assert inspect.iscoroutinefunction(hosted.with_options(version="2")) is is_async
    assert inspect.signature(hosted) == inspect.signature(function)


def test_frameworks_run_hosted_functions(endpoint: Endpoint):
    found: list[int] = []

    @endpoint.function
    async def note(x: int) -> int:
        found.append(x)
        return x

    @endpoint.function
    def note_sync(x: int) -> int:
        found.append(x)
        return x

    async def main() -> None:
        await BackgroundTask(note, 1)()
        await BackgroundTask(note_sync, 2)()
        assert await run_in_threadpool(note_sync, 3) == 3

    asyncio.run(main())
    assert found == [1, 2, 3]
    app = FastAPI()
    app.get("/async")(note)
    app.get("/sync")(note_sync)
    with serve_app(app) as server:
        for path in ("/async?x=4", "/sync?x=5"):
            response, content = post(server.url, b"", "", path, "GET")
            assert (response.status, content) == (200, path[-1:].encode())
    assert found == [1, 2, 3, 4, 5]


# Attributes, methods, pickling


def test_attributes_are_those_that_functools_wraps_copies(endpoint: Endpoint):
    def f(x: int) -> int:
        """Doc."""
        return x

    f.tags = ["a"]  # type: ignore[attr-defined]
    f.call = "not the method"  # type: ignore[attr-defined]
    hosted: Any = endpoint.function(name="g")(f)
    for name in (*functools.WRAPPER_ASSIGNMENTS, "tags"):
        assert getattr(hosted, name) is getattr(f, name), name
    assert hosted.__wrapped__ is f
    assert hosted.name == "g"
    assert hosted.call(1).function == "g"
    with pytest.raises(AttributeError, match="'Function' object has no attribute 'dispach'"):
        hosted.dispach  # noqa: B018


def test_a_function_in_a_class_is_a_method(endpoint: Endpoint):
    class Shop:
        factor = 3

        @endpoint.function
        def price(self, x: int) -> int:
            return self.factor * x

        @staticmethod
        @endpoint.function
        def static(x: int) -> int:
            return x

        @classmethod
        @endpoint.function
        def of_class(cls, x: int) -> int:
            return cls.factor * x

        double = double

    assert Shop().price(2) == 6
    assert Shop.price(Shop(), 2) == 6
    assert isinstance(Shop.price, Function)
    assert Shop.static(2) == Shop().static(2) == 2
    assert Shop.of_class(2) == Shop().of_class(2) == 6  # type: ignore[call-arg]
    assert Shop.double(2) == 4
    bound: Any = Shop().price
    assert inspect.ismethod(bound)


@pytest.mark.parametrize("hosted", [double, double_async])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_function_is_pickled_by_reference(hosted: Any, protocol: int):
    assert pickle.loads(pickle.dumps(hosted, protocol)) is hosted
    assert copy.copy(hosted) is copy.deepcopy(hosted) is hosted


def test_a_function_goes_to_another_process():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(double, 21).result(60) == 42


def test_a_function_that_cannot_be_found_by_its_name_is_not_pickled(endpoint: Endpoint):
    for hosted in (
        endpoint.function(name="f")(lambda x: x),
        endpoint.function(name="g")(of_call),  # of this name there is the function itself
        endpoint.function(name="h")(functools.partial(of_call, 1)),
        double.with_options(version="2"),
    ):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(hosted)


def test_the_page_about_hosting():
    page = (Path(__file__).parents[2] / "docs" / "hosting.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "hosting.md", "exec"), names)
    assert names["call"].expiration.seconds == 300
    response = asyncio.run(
        names["endpoint"].run(
            RunRequest(function="charge", input=names["call"].input, dispatch_id="7")
        )
    )
    assert output(response) == "Ada paid 250 EUR for call 7"
    for name, input in (("charge", {"customer": "x", "cents": 0}), ("report", "x")):
        request = RunRequest(function=name, input=marshal(input))
        response = asyncio.run(names["endpoint"].run(request))
        assert Status(response.status) is Status.PERMANENT_ERROR


# Forks

FORK = """
import asyncio, os, sys, threading
from dispatch_grpc import Endpoint, marshal, unmarshal
from dispatch_grpc.schema import RunRequest

endpoint = Endpoint("http://127.0.0.1:8000", max_concurrency=2, env={"DISPATCH_API_KEY": "key"})

@endpoint.function
def work(x: int) -> int:
    return x + 1

def run(x):
    request = RunRequest(function="work", input=marshal(x))
    return unmarshal(asyncio.run(endpoint.run(request)).exit.result.output)

assert run(1) == 2
held = threading.Event()

def hold():  # what a fork finds locked: nobody opens it in the child
    with endpoint._clients._lock, endpoint._executor._threads._lock:
        held.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    assert [run(x) for x in range(5)] == [1, 2, 3, 4, 5]
    assert endpoint.client() is endpoint.client()
    os.write(1, b"child\\n")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
os.write(1, b"parent\\n")
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_threads_and_locks_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "child\nparent\n"), done.stderr
