"""Doing together what is asked for at the same time: one transaction for many."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class Batcher(Generic[_T, _R]):
    """Collects items while a batch is under way, and hands them over as the next one.

    Args:
        handle: Handles a batch; returns one result for each item.
        max_size: Largest number of items in a batch.
    """

    def __init__(
        self, handle: Callable[[Sequence[_T]], Awaitable[Sequence[_R]]], max_size: int
    ) -> None:
        self._handle = handle
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
            batch = self._waiting[: self._max_size]
            del self._waiting[: self._max_size]
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
