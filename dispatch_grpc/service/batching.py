"""Handle items that are submitted at the same time in one batch."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

MAX_BYTES = 8_000_000  # what one transaction writes well within the time that the database has


class Batcher(Generic[_T, _R]):
    """Collects items while a batch is under way, and hands them over as the next one.

    Args:
        handle: Handles a batch; returns one result for each item.
        max_size: Largest number of items in a batch.
        bytes_of: Returns the size of an item; a batch of more than one has at most `MAX_BYTES`.
        key_of: Returns the key of an item, or None; no two items of a batch have the same key.
        patience: Seconds after which the next batch no longer waits for one under way.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[_T]], Awaitable[Sequence[_R]]],
        max_size: int,
        bytes_of: Callable[[_T], int] = lambda _: 0,
        *,
        key_of: Callable[[_T], Hashable] = lambda _: None,
        patience: float | None = None,
    ) -> None:
        self._handle = handle
        self._bytes_of = bytes_of
        self._max_size = max_size
        self._key_of = key_of
        self._patience = patience
        self._waiting: list[tuple[_T, asyncio.Future[_R]]] = []
        self._task: asyncio.Task[None] | None = None
        self._overtaken: set[asyncio.Task[None]] = set()

    async def submit(self, item: _T) -> _R:
        """Have an item handled, and return its result."""
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        me, loop = asyncio.current_task(), asyncio.get_running_loop()
        await asyncio.sleep(0)  # what is ready in this turn of the loop comes along
        while self._waiting and self._task is me:
            batch = self._take()
            timer = None
            if self._patience is not None:
                timer = loop.call_later(self._patience, self._overtake)
            try:
                results = await self._handle([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 (it is for those who wait)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
            finally:
                if timer is not None:
                    timer.cancel()
        if self._task is me:
            self._task = None

    def _overtake(self) -> None:
        """Let the next batch begin beside the one under way."""
        if self._task is not None:
            self._overtaken.add(self._task)
            self._task.add_done_callback(self._overtaken.discard)
        self._task = asyncio.create_task(self._run()) if self._waiting else None

    def _take(self) -> list[tuple[_T, asyncio.Future[_R]]]:
        """Take the items of the next batch, one at least."""
        batch: list[tuple[_T, asyncio.Future[_R]]] = []
        left: list[tuple[_T, asyncio.Future[_R]]] = []
        keys: set[Hashable] = set()
        total = 0
        for place, (item, future) in enumerate(self._waiting):
            key, size = self._key_of(item), self._bytes_of(item)
            if len(batch) == self._max_size or (batch and total + size > MAX_BYTES):
                left += self._waiting[place:]
                break
            if key is not None and key in keys:
                left.append((item, future))
                continue
            keys.add(key)
            total += size
            batch.append((item, future))
        self._waiting = left
        return batch
