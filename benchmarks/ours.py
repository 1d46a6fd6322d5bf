"""Measures dispatch_grpc and the raw stubs. Arguments: ports of the gRPC and HTTP servers."""

import asyncio
import sys

import grpc
import grpc.aio
from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub

from benchmarks import activation, workload
from benchmarks.workload import (
    ENDPOINT,
    FUNCTION,
    INPUTS,
    KEY,
    Measurement,
    concurrently,
    one_by_one,
    timed,
)
from dispatch_grpc import AsyncClient, Client, marshal, new_call, unmarshal

# The raw stubs are given for nothing what the client makes for each dispatch: the metadata,
# with its key. Both wrap the call in a request, and take the id out of the response.
TIMEOUT = 10.0
METADATA = (
    ("authorization", f"Bearer {KEY}"),
    ("idempotency-key", "00000000-0000-4000-8000-000000000000"),
)


def main(grpc_port: str, http_port: str) -> None:
    address = f"127.0.0.1:{grpc_port}"
    grpc_url, http_url = f"http://{address}", f"http://127.0.0.1:{http_port}"
    call = new_call(ENDPOINT, FUNCTION, 23)
    ready = [new_call(ENDPOINT, FUNCTION, value) for value in INPUTS]

    stub = DispatchServiceStub(grpc.insecure_channel(address))
    client = Client(KEY, api_url=grpc_url, protocol="grpc")
    connect = Client(KEY, api_url=http_url, protocol="connect")

    def dispatch_raw() -> str:
        request = DispatchRequest(calls=[call])
        return stub.Dispatch(request, timeout=TIMEOUT, metadata=METADATA).dispatch_ids[0]

    def batch_of_values() -> None:
        batch = client.batch()
        for value in INPUTS:
            batch.new_call(ENDPOINT, FUNCTION, value)
        assert len(batch.dispatch()) == len(INPUTS)

    def batch_of_calls() -> None:
        batch = client.batch()
        batch.add(*ready)
        assert len(batch.dispatch()) == len(INPUTS)

    with asyncio.Runner() as runner:

        async def open_channel() -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(address)

        aio_channel = runner.run(open_channel())
        aio_stub = DispatchServiceStub(aio_channel)
        aio_client = AsyncClient(KEY, api_url=grpc_url, protocol="grpc")
        aio_connect = AsyncClient(KEY, api_url=http_url, protocol="connect")
        together = AsyncClient(KEY, api_url=grpc_url, protocol="grpc", coalesce=True)
        connect_together = AsyncClient(KEY, api_url=http_url, protocol="connect", coalesce=True)

        async def dispatch_aio_raw() -> str:
            request = DispatchRequest(calls=[call])
            response = await aio_stub.Dispatch(request, timeout=TIMEOUT, metadata=METADATA)
            return response.dispatch_ids[0]

        measurements: dict[str, Measurement] = {
            "sync raw": timed(dispatch_raw),
            "sync": timed(lambda: client.dispatch(call)),
            "sync connect": timed(lambda: connect.dispatch(call)),
            "async raw": concurrently(runner, dispatch_aio_raw),
            "async": concurrently(runner, lambda: aio_client.dispatch(call)),
            "async connect": concurrently(runner, lambda: aio_connect.dispatch(call)),
            "coalesced": concurrently(runner, lambda: together.dispatch(call)),
            "coalesced connect": concurrently(runner, lambda: connect_together.dispatch(call)),
            "async alone": one_by_one(runner, lambda: aio_client.dispatch(call)),
            "coalesced alone": one_by_one(runner, lambda: together.dispatch(call)),
            "batch of values": timed(batch_of_values, per=len(INPUTS)),
            "batch of calls": timed(batch_of_calls, per=len(INPUTS)),
            **workload.conversions(marshal, unmarshal),
            **activation.measurements(),
        }
        libraries = ["dispatch-grpc", "grpcio", "protobuf", "urllib3", "aiohttp", "uvicorn"]
        workload.obey(measurements, libraries)
        for one in (aio_client, aio_connect, together, connect_together):
            runner.run(one.close())
        runner.run(aio_channel.close())


if __name__ == "__main__":
    main(*sys.argv[1:])
