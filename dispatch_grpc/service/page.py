"""The page at `/`: to look at calls, with a browser."""

from collections.abc import Collection
from typing import Any

from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import Metrics


class Page:
    def __init__(self, database: Database, metrics: Metrics, keys: Collection[str]) -> None:
        self._database = database

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
