"""An endpoint of dispatch-py 0.8, run by its own virtual environment. It prints its port."""

import asyncio
import sys
from importlib import import_module
from typing import Any

# Not by the import statement: where types are checked, `dispatch` is the package of our stubs.
dispatch: Any = import_module("dispatch")
dispatch_http: Any = import_module("dispatch.http")
proto: Any = import_module("dispatch.proto")


async def shout(input: Any) -> Any:
    """A primitive: it takes any input. Ordinary functions take pickled arguments only."""
    return proto.Output.value(f"{input.input['text'].upper()}!")


async def main() -> None:
    registry = dispatch.Registry(
        "peer", client=dispatch.Client("key"), endpoint="http://127.0.0.1:1"
    )
    registry.primitive_function(shout)
    registry.function(ordinary)
    async with dispatch_http.Server("127.0.0.1", 0, dispatch_http.Dispatch(registry)) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def ordinary(text: str) -> str:
    return text


if __name__ == "__main__":
    asyncio.run(main())
