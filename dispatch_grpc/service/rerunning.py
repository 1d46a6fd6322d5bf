"""CallService: finished calls are rerun and purged."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import (
    PurgeCallsRequest,
    PurgeCallsResponse,
    RerunCallRequest,
    RerunCallResponse,
    RerunCallsRequest,
    RerunCallsResponse,
)
from dispatch_grpc.service import matching, store_rerun
from dispatch_grpc.service.accepting import check_backlog
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.matching import Selection
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.recording import once_key_is_free
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.worker import Worker
from dispatch_grpc.text import quoted


class Rerunning:
    """The part of CallService that runs finished calls again, and deletes them.

    Args:
        database: Where the calls are.
        worker: Runs the reruns.
        settings: Bounds of what calls may ask for.
        metrics: Counts reruns as calls that were recorded.
        max_backlog: Number of calls that may wait to be run.
    """

    def __init__(
        self,
        database: Database,
        worker: Worker,
        settings: Settings,
        metrics: Metrics,
        *,
        max_backlog: int,
    ) -> None:
        self._database = database
        self._worker = worker
        self._limits = settings.limits
        self._metrics = metrics
        self._max_backlog = max_backlog

    async def rerun_call(self, request: RerunCallRequest, key: str | None) -> RerunCallResponse:
        """Record a finished call again.

        Args:
            request: The request.
            key: Its idempotency key.
        """
        id = parse_id(request.dispatch_id)
        if id is None:
            raise rpc_error(
                Code.NOT_FOUND,
                f"dispatch_id: there is no call of the id {quoted(request.dispatch_id)}",
            )
        return RerunCallResponse(dispatch_id=str(await self.rerun(id, key)))

    async def rerun(self, id: UUID, key: str | None) -> UUID:
        """Record a finished call again. Returns the id of the rerun."""
        check_backlog(self._metrics, 1, self._max_backlog)
        digest = None if key is None else _digest(key.encode())
        body = _digest(b"RerunCall" + id.bytes)

        async def rerun(connection: Any) -> tuple[UUID, list[str]] | None:
            now = self._database.clock.now()
            return await store_rerun.rerun(connection, id, now, self._limits, key=digest, body=body)

        new, lanes = await once_key_is_free(lambda: self._database.write(rerun))
        if lanes:
            logger.info("the call %s is rerun as %s", id, new, extra={"dispatch_id": str(id)})
        self._recorded(lanes)
        return new

    async def rerun_calls(self, request: RerunCallsRequest) -> RerunCallsResponse:
        """Count finished calls, or record a page of them again."""
        selection = matching.selection_of(request, self._database.clock.now())
        if selection.validate_only:
            base = store_rerun.rerun_base(selection)
            return RerunCallsResponse(**await self._count(selection, base))
        found, count = await self._rerun_page(selection)
        return RerunCallsResponse(**matching.page_of(selection, found, count))

    async def count_dead(self, filters: Mapping[str, Any], as_of: datetime) -> int:
        """Return how many dead letters match; at most `reads_counts.DEAD_COUNTED` are counted."""
        selection = matching.dead_letters(filters, as_of, None)
        async with self._database.looks.acquire() as connection:
            return len((await matching.match(connection, selection, "dead")).ids)

    async def rerun_dead(self, filters: Mapping[str, Any], as_of: datetime, expected: int) -> int:
        """Record up to `expected` dead letters again, the oldest first. Returns how many."""
        number, selection = 0, matching.dead_letters(filters, as_of, expected)
        while True:
            left = expected - number
            selection = replace(selection, expected=left, size=min(left, selection.size))
            found, count = await self._rerun_page(selection)
            number += count
            if found.after is None or number >= expected:
                return number
            selection = replace(selection, after=found.after)

    async def _rerun_page(self, selection: Selection) -> tuple[matching.Matches, int]:
        """Record a page of finished calls again. Returns the page, and how many were rerun."""
        number = min(selection.size, selection.expected or 0)
        check_backlog(self._metrics, number, self._max_backlog)

        async def rerun(connection: Any) -> tuple[matching.Matches, int, list[str]]:
            now = self._database.clock.now()
            return await store_rerun.rerun_page(connection, selection, now, self._limits)

        found, count, lanes = await self._database.write(rerun)
        if count:
            logger.info("%d calls are rerun", count)
        self._recorded(lanes)
        return found, count

    async def purge_calls(self, request: PurgeCallsRequest) -> PurgeCallsResponse:
        """Count finished calls, or delete a page of them."""
        selection = matching.selection_of(request, self._database.clock.now())
        if len(selection.conditions) == 1 and not selection.dead:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                "filter: a field other than finished_before is required, since an empty filter "
                "would delete all finished calls",
            )
        if selection.validate_only:
            base = store_rerun.purge_base(selection)
            return PurgeCallsResponse(**await self._count(selection, base))

        async def purge(connection: Any) -> tuple[matching.Matches, int]:
            return await store_rerun.purge_page(connection, selection)

        found, count = await self._database.write(purge)
        if count:
            logger.info("%d finished calls are deleted", count)
        return PurgeCallsResponse(**matching.page_of(selection, found, count))

    async def _count(self, selection: Selection, base: str) -> dict[str, Any]:
        async with self._database.looks.acquire() as connection:
            found = await matching.match(connection, selection, base)
        return matching.page_of(selection, found, len(found.ids))

    def _recorded(self, lanes: list[str]) -> None:
        if lanes:
            self._worker.expect(lanes)
            self._metrics.accepted.inc(len(lanes))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
