"""What the processes share: the values, the loops, and how the driver is obeyed.

A measurement takes a number of loops and returns samples: seconds for each call.
"""

import asyncio
import json
import logging
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import perf_counter
from typing import Any

Measurement = Callable[[int], list[float]]

KEY = "a-key-for-benchmarks"
ENDPOINT, FUNCTION = "http://example.com", "myFunction"
CONCURRENT = 64
INPUTS: list[Any] = [number if number % 2 else f"order {number}" for number in range(1000)]
"""What the calls of a batch are made from."""

INPUT = 23
"""Input of the functions that endpoints run."""
RUN_ID = "00000000-0000-4000-8000-000000000000"
"""Dispatch id in a request of `run_request`, to be replaced by one of the same length."""

VALUES: dict[str, Any] = {
    "int": 123_456_789,
    "str": "The quick brown fox jumps over the lazy dog.",
    "bytes": bytes(range(64)),
    "datetime": datetime(2025, 3, 14, 15, 9, 26, 535_897, tzinfo=UTC),
    "dict of 20": {
        f"field_{i}": (f"value {i}", i, i / 3, i % 2 == 0, f"text {i}")[i % 5] for i in range(20)
    },
    "list of 1,000 floats": [i / 7 for i in range(1000)],
    "10 KB document": {
        "cursor": None,
        "orders": [
            {
                "id": f"order-{i:08}",
                "total": i * 1.25,
                "paid": i % 3 == 0,
                "customer": {"name": f"Customer {i}", "email": f"customer{i}@example.com"},
                "items": [
                    {"sku": f"SKU-{i}-{j}", "quantity": j + 1, "price": 9.99 + j} for j in range(4)
                ],
                "note": None,
            }
            for i in range(30)
        ],
    },
}


def timed(operation: Callable[[], object], per: int = 1) -> Measurement:
    """Time each operation by itself; one is of `per` calls."""

    def measure(loops: int) -> list[float]:
        samples = []
        for _ in range(loops):
            start = perf_counter()
            operation()
            samples.append((perf_counter() - start) / per)
        return samples

    return measure


def applied(function: Callable[[Any], object], value: Any) -> Measurement:
    """Measure a function of one value, which takes too little time to be timed by itself."""

    def measure(loops: int) -> list[float]:
        start = perf_counter()
        for _ in range(loops):
            function(value)
        return [(perf_counter() - start) / loops]

    return measure


def concurrently(runner: asyncio.Runner, operation: Callable[[], Awaitable[object]]) -> Measurement:
    """Measure the throughput of 64 tasks, each of which awaits one operation after the other.

    The tasks share the loops, so that all are busy until the end.
    """

    async def together(loops: int) -> list[float]:
        todo = iter(range(loops))

        async def task() -> None:
            for _ in todo:
                await operation()

        start = perf_counter()
        await asyncio.gather(*(task() for _ in range(CONCURRENT)))
        return [(perf_counter() - start) / loops]

    return lambda loops: runner.run(together(loops))


def one_by_one(runner: asyncio.Runner, operation: Callable[[], Awaitable[object]]) -> Measurement:
    """Time each operation by itself, of one task."""

    async def measure(loops: int) -> list[float]:
        samples = []
        for _ in range(loops):
            start = perf_counter()
            await operation()
            samples.append(perf_counter() - start)
        return samples

    return lambda loops: runner.run(measure(loops))


def conversions(
    marshal: Callable[[Any], Any], unmarshal: Callable[[Any], Any]
) -> dict[str, Measurement]:
    """Measure both conversions of every value, having checked that they keep it."""
    measurements = {}
    for name, value in VALUES.items():
        message = marshal(value)
        assert unmarshal(message) == value, name
        measurements[f"marshal {name}"] = applied(marshal, value)
        measurements[f"unmarshal {name}"] = applied(unmarshal, message)
    return measurements


def obey(measurements: Mapping[str, Measurement], libraries: list[str]) -> None:
    """Print versions as a line of JSON; then read `[name, loops]` lines and print samples."""
    versions = {library: version(library) for library in libraries}
    print(json.dumps({"Python": platform.python_version(), **versions}), flush=True)
    for line in sys.stdin:
        name, loops = json.loads(line)
        print(json.dumps(measurements[name](loops)), flush=True)


def run_request(message: Any, call: Any) -> str:
    """What a service sends to have a call run, in hex."""
    now = datetime.now(UTC)
    request = message(
        function=call.function,
        input=call.input,
        dispatch_id=RUN_ID,
        root_dispatch_id=RUN_ID,
        creation_time=now,
        expiration_time=now + timedelta(days=1),
    )
    return bytes(request.SerializeToString()).hex()


def be_quiet(package: str) -> None:
    """Have a package not warn that requests are not verified."""
    logging.getLogger(package).setLevel(logging.ERROR)


def announce(port: int, requests: dict[str, str]) -> None:
    """Print where an endpoint serves, and the requests for its functions, as a line of JSON."""
    print(json.dumps({"port": port, "requests": requests}), flush=True)
