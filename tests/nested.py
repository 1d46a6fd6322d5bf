"""A workflow whose calls make calls and fail, for tests of what shows trees of calls."""

from typing import Any

from dispatch_grpc import CallError, Endpoint, Function


def host_nested(endpoint: Endpoint, fails: Function[..., Any]) -> Function[[], Any]:
    """Host `outer`, which runs `inner` twice; each runs a function that fails."""

    @endpoint.workflow
    async def inner(name: str) -> str:
        try:
            await fails.run(name)
        except CallError:
            return name
        return "taken"

    @endpoint.workflow
    async def outer() -> list[str]:
        return [await inner.run("first"), await inner.run("second")]

    return outer
