"""The guide 'calling remote functions', from end to end on this machine.

Start the durable service with its embedded database, and an endpoint with two functions;
dispatch a call and a batch, by gRPC and by Connect; wait for the results.
"""

import os
import subprocess
import sys
import tempfile

from dispatch_grpc import Client, Endpoint
from dispatch_grpc.testing import serve_app

KEY = "a-key-for-this-example"
endpoint = Endpoint("http://127.0.0.1:8000")


@endpoint.function
def greet(name: str) -> str:
    return f"Hello, {name}!"


@endpoint.function(name="sum.squares")
async def sum_squares(values: list[int]) -> int:
    return sum(value * value for value in values)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serve_app(endpoint.app) as server:
        endpoint.url = server.url  # a free port, instead of 8000
        service = subprocess.Popen(
            [sys.executable, "-m", "dispatch_grpc", "serve", "--port=0", f"--data-dir={folder}"],
            env={**os.environ, "DISPATCH_API_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert service.stdout is not None
            line = service.stdout.readline()
            if not line:  # the reason is on stderr
                sys.exit(1)
            url = line.split()[-1]
            print(f"A Dispatch service listens on {url}, an endpoint on {endpoint.url}\n")
            for protocol in ("grpc", "connect"):
                with Client(KEY, api_url=url, protocol=protocol) as client:
                    dispatch_and_wait(client, protocol)
        finally:
            service.terminate()
            service.wait(timeout=30)
            assert service.stdout is not None
            service.stdout.close()


def dispatch_and_wait(client: Client, protocol: str) -> None:
    dispatch_id = client.dispatch(greet.call("World"))
    print(f"{protocol}: dispatched a call: {dispatch_id}")
    print(f"{protocol}: its result: {client.wait(dispatch_id, str)}\n")

    batch = client.batch()
    batch.add(greet.call("Ada"), sum_squares.call([1, 2, 3]), greet.call("Grace"))
    ids = batch.dispatch()
    print(f"{protocol}: dispatched a batch: {', '.join(ids)}")
    print(f"{protocol}: its results: {[client.wait(one) for one in ids]}\n")


if __name__ == "__main__":
    main()
