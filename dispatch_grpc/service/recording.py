"""Record requests that come at the same time together: by one statement, in one transaction.

Each is recorded all or none, and is idempotent, as if it were alone. A request that comes while no
other is being recorded waits for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.dequeue import GATHER_SECONDS
from dispatch_grpc.service.faults import Fault, classify
from dispatch_grpc.service.handover import Handover, Handovers
from dispatch_grpc.service.store_accept import Accepted, Request, accept_all

_MAX_REQUESTS = 256  # in one statement
# A larger request has a transaction of its own, and others do not wait for it.
_MAX_CALLS, _MAX_BYTES = 100, 256_000
_PATIENCE_SECONDS = 0.05  # a lock, a full disk or a lost connection holds up those that it meets
# A transaction of an application may have a key for long. Whoever waits for it asks now and then,
# instead of holding one of the few connections.
_KEY_SECONDS = 8.0
_FIRST_PAUSE, _MAX_PAUSE = 0.002, 0.25

_T = TypeVar("_T")
_Answer = Accepted | Exception | None


async def once_key_is_free(act: Callable[[], Awaitable[_T | None]]) -> _T:
    """Do something, again and again while it returns None, since its idempotency key is in use.

    Raises:
        UnavailableError: The key stays in use.
    """
    loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
    end = loop.time() + _KEY_SECONDS
    while (result := await act()) is None:
        if loop.time() > end:
            raise rpc_error(
                Code.UNAVAILABLE,
                "the idempotency key belongs to a transaction that has not ended; nothing was "
                "recorded; try again in 1 s",
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE)
    return result


class Recorder:
    """Records requests, those that come at the same time together.

    Args:
        database: The database.
        handovers: Begin calls while there are slots to spare: those of small requests that come
            together, or a while after the last ones. The others, which come one by one in a row,
            are answered sooner when their calls are claimed together. None: all calls are left in
            the queue.
    """

    def __init__(self, database: Database, handovers: Handovers | None = None) -> None:
        self._database = database
        self._handovers = handovers
        self._recorded_at = float("-inf")
        self._groups: Batcher[Request, _Answer] = Batcher(
            self._record,
            _MAX_REQUESTS,
            lambda request: request.size,
            # Of two requests with a key, the second gets the answer of the first.
            key_of=lambda request: request.key,
            patience=_PATIENCE_SECONDS,
        )

    async def record(self, request: Request) -> Accepted:
        """Record a request, all or none.

        Raises:
            RPCError: The key was used for another request, or another transaction has it.
            Exception: The database has failed: see `faults`.
        """

        async def record() -> _Answer:
            if _is_small(request):
                return await self._groups.submit(request)
            (answer,) = await self._record([request])
            return answer

        answer: Accepted | Exception = await once_key_is_free(record)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _record(self, requests: Sequence[Request]) -> list[_Answer]:
        """Record requests, whose keys differ, and return their answers or errors."""
        connection: Any
        try:
            # One statement, and so a transaction, of the pool whose commits are on disk.
            async with (
                self._opened(requests) as handover,
                self._database.durable.acquire() as connection,
            ):
                accept = accept_all if handover is None else handover.accept
                return [*await accept(connection, requests, self._database.clock.now())]
        except Exception as error:  # noqa: BLE001 (it is for those who wait)
            if len(requests) == 1 or classify(error) is Fault.AWAY:
                return [error] * len(requests)
        # It may be the fault of one of them: the others are to be recorded.
        half = len(requests) // 2
        return [*await self._record(requests[:half]), *await self._record(requests[half:])]

    def _opened(self, requests: Sequence[Request]) -> AbstractAsyncContextManager[Handover | None]:
        now = asyncio.get_running_loop().time()
        is_idle = now - self._recorded_at > GATHER_SECONDS
        self._recorded_at = now
        is_taken = (is_idle or len(requests) > 1) and _is_small(requests[0])
        if self._handovers is None or not is_taken:
            return nullcontext()
        return self._handovers.open()


def _is_small(request: Request) -> bool:
    return len(request.calls) <= _MAX_CALLS and request.size <= _MAX_BYTES
