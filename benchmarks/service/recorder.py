"""The recorder of `dispatch_grpc.testing`, served as the service is: on uvloop. Argument: API key.

It prints its URL as a line of JSON, and serves until its input ends.
"""

import asyncio
import json
import sys

import uvloop

from dispatch_grpc.server import dispatch_app
from dispatch_grpc.serving import one_port, sockets
from dispatch_grpc.testing import CallRecorder


async def main(key: str) -> None:
    listener = sockets.listen()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    app = dispatch_app(CallRecorder(), api_keys=[key])

    async def until() -> None:
        await asyncio.to_thread(sys.stdin.read)

    await one_port.serve(app, listener, until=until)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
