"""An endpoint of ours, served by `Endpoint.serve`. Argument: a verification key, or none."""

import os
import signal
import socket
import sys
import threading
import time

from benchmarks import workload
from benchmarks.workload import INPUT
from dispatch_grpc import Endpoint
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.serving.sockets import listen


async def noop(value: int) -> int:
    return value


def noop_sync(value: int) -> int:
    return value


def obey(port: int, requests: dict[str, str]) -> None:
    """Tell of the endpoint once it serves; end it when the input ends."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            break
    workload.announce(port, requests)
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(verification_key: str | None = None) -> None:
    workload.be_quiet("dispatch_grpc")
    with listen() as free:
        port: int = free.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}", verification_key=verification_key, env={})
    calls = {
        "async": endpoint.function(noop).call(INPUT),
        "sync": endpoint.function(noop_sync).call(INPUT),
    }
    requests = {what: workload.run_request(RunRequest, call) for what, call in calls.items()}
    threading.Thread(target=obey, args=(port, requests), daemon=True).start()
    endpoint.serve(f"127.0.0.1:{port}")


if __name__ == "__main__":
    main(*sys.argv[1:])
