"""A workflow continues after its endpoint was killed between two steps.

Start the durable service, and an endpoint in a process of its own. Kill the endpoint (SIGKILL)
while the workflow waits between its steps, start it again, and wait for the result.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from dispatch_grpc import Client, Endpoint, workflow

KEY = "a-key-for-this-example"
endpoint = Endpoint(env={}, url=os.environ.get("TRIP_URL", "http://127.0.0.1:8000"))


@dataclass
class Trip:
    hotel: str
    flight: str
    invoice: str
    processes: list[int]


@endpoint.function
def book(what: str) -> str:
    return f"a {what} is booked"


def print_invoice(number: int) -> str:
    print(f"  process {os.getpid()} prints invoice {number}", flush=True)
    return f"invoices 1 to {number}"


@endpoint.workflow
async def plan_trip() -> Trip:
    hotel = await book.run("hotel")
    await workflow.step(print_invoice, 1)
    first = await workflow.step(os.getpid)
    await asyncio.sleep(2)  # here the process is killed
    flight = await book.run("flight")
    invoice = await workflow.step(print_invoice, 2)
    return Trip(hotel, flight, invoice, [first, await workflow.step(os.getpid)])


def start(*command: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().rstrip()
    if not line:  # the reason is on stderr
        sys.exit(1)
    return line


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = start(
            "-m",
            "dispatch_grpc",
            "serve",
            "--port=0",
            f"--data-dir={folder}",
            DISPATCH_API_KEY=KEY,
        )
        served = []
        try:
            with Client(KEY, api_url=line_of(service).split()[-1]) as client:
                address = f"127.0.0.1:{free_port()}"
                endpoint.url = f"http://{address}"
                served.append(serve(address))
                dispatch_id = client.dispatch(plan_trip.call())
                print("A workflow is dispatched:")
                print(line_of(served[-1]))
                while client.get(dispatch_id).runs < 2:  # until it is suspended in its sleep
                    time.sleep(0.05)
                served[-1].kill()
                print(f"  process {served[-1].pid} is killed, and another one started")
                served.append(serve(address))
                trip = client.wait(dispatch_id, Trip)
                print(line_of(served[-1]))
                print(f"Its result: {trip}")
                assert trip.processes == [process.pid for process in served]
        finally:
            for process in (*served, service):
                process.terminate()
                process.communicate(timeout=30)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def serve(address: str) -> "subprocess.Popen[str]":
    process = start(__file__, "serve", address, TRIP_URL=f"http://{address}")
    host, port = address.split(":")
    while process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:  # it does not listen yet
            time.sleep(0.05)
        else:
            break
    return process


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        endpoint.serve(sys.argv[2])
    else:
        main()
