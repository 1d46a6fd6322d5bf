"""Clients of the Dispatch API: `Client`, its asyncio twin `AsyncClient`, and their batches."""

from dispatch_grpc.client.async_client import AsyncClient
from dispatch_grpc.client.batch import AsyncBatch, Batch, DispatchID
from dispatch_grpc.client.sync_client import Client

__all__ = ["AsyncBatch", "AsyncClient", "Batch", "Client", "DispatchID"]
