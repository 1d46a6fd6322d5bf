"""Clients of a Dispatch service: `Client`, its asyncio twin `AsyncClient`, and their batches."""

from dispatch_grpc.client.async_client import AsyncClient
from dispatch_grpc.client.batch import AsyncBatch, Batch
from dispatch_grpc.client.call_info import Attempt, CallInfo, CallState
from dispatch_grpc.client.dispatch_id import DispatchID
from dispatch_grpc.client.grouping import Coalesce
from dispatch_grpc.client.schedule_info import Firing, Overlap, ScheduleInfo
from dispatch_grpc.client.sync_client import Client

__all__ = [
    "AsyncBatch",
    "AsyncClient",
    "Attempt",
    "Batch",
    "CallInfo",
    "CallState",
    "Client",
    "Coalesce",
    "DispatchID",
    "Firing",
    "Overlap",
    "ScheduleInfo",
]
