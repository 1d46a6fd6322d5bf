"""Handle items that are submitted at the same time in one batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
    """

    def __init__(
        self,
        handle: Callable[[Sequence[_T]], Awaitable[Sequence[_R]]],
        max_size: int,
        bytes_of: Callable[[_T], int] = lambda _: 0,
    ) -> None:
        self._handle = handle
        self._bytes_of = bytes_of
        self._max_size = max_size
        self._waiting: list[tuple[_T, asyncio.Future[_R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: _T) -> _R:
        """Have an item handled, and return its result."""
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # what is ready in this turn of the loop comes along
        while self._waiting:
            batch = self._take()
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
        self._task = None

    def _take(self) -> list[tuple[_T, asyncio.Future[_R]]]:
        """Take the items of the next batch; one at least."""
        count = total = 0
        for item, _ in self._waiting[: self._max_size]:
            total += self._bytes_of(item)
            if count and total > MAX_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
