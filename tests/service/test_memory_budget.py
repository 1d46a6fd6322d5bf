"""The memory that large values share: for any order of events, everybody gets some in time."""

import asyncio
import random
from contextlib import suppress

import pytest

from dispatch_grpc.service.memory import FREE_BYTES, Memory, Part, Share

TOTAL = 64_000_000
LARGE = 12_000_000


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def taking(share: Share, size: int) -> "asyncio.Task[None]":
    return asyncio.create_task(share.answer.take(size))


def test_large_values_wait_and_smaller_ones_do_not():
    async def main() -> None:
        memory = Memory(TOTAL)
        shares = [memory.share("h") for _ in range(20)]
        large = [taking(share, LARGE) for share in shares]
        await settle()
        assert 0 < sum(task.done() for task in large) < 4
        for size in (1, FREE_BYTES, FREE_BYTES + 1, 1_000_000):
            await memory.share("h").answer.take(size)
        await memory.share("h").request.take(LARGE)  # requests have a part of their own
        for share, task in zip(shares, large, strict=True):
            await task
            share.give_back()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_host_leaves_memory_to_the_others():
    async def main() -> None:
        memory = Memory(TOTAL)
        hung = [taking(memory.share("hung"), 2_000_000) for _ in range(100)]
        await settle()
        assert sum(task.done() for task in hung) <= 7
        await asyncio.wait_for(memory.share("other").answer.take(8_000_000), 10)
        for task in hung:
            task.cancel()

    asyncio.run(main())


def test_a_value_larger_than_the_whole_passes_alone_and_is_not_overtaken_for_ever():
    async def main() -> None:
        part = Part(10)
        await part.take("a", 4)
        huge = asyncio.create_task(part.take("b", 100))
        await settle()
        small = asyncio.create_task(part.take("a", 1))
        await settle()
        assert not huge.done()
        assert not small.done()
        part.give_back("a", 4)
        await huge
        await settle()
        assert not small.done()
        part.give_back("b", 100)
        await small

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_is_not_used_is_given_back_at_once():
    async def main() -> None:
        memory = Memory(TOTAL)
        share = memory.share("h")
        await share.answer.take(TOTAL)
        waiting = taking(memory.share("h"), LARGE)
        await settle()
        assert not waiting.done()
        share.answer.keep(2_000_000)
        await waiting

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_for_ever_and_the_bound_is_kept(seed: int):
    chance = random.Random(seed)
    total = chance.choice([1_000, 1_000_000, TOTAL])

    async def main() -> None:
        memory = Memory(total)
        held = 0

        async def attempt(host: str) -> None:
            nonlocal held
            share = memory.share(host)
            try:
                for one in (share.request, share.answer):
                    size = int(total ** chance.random() * 2)
                    await one.take(size)
                    held += size if size > FREE_BYTES else 0
                    # One value may be larger than its part, of which there are four.
                    assert held <= total + 4 * 2 * total
                    await asyncio.sleep(chance.random() / 1000)
                    held -= size if size > FREE_BYTES else 0
                    if one is share.request or chance.random() < 0.5:
                        one.give_back()
            finally:
                share.give_back()

        tasks = [asyncio.create_task(attempt(f"h{chance.randrange(4)}")) for _ in range(200)]
        for task in tasks:
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 1000)
                task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        # All is there again.
        share = memory.share("last")
        await share.request.take(10 * total + FREE_BYTES)
        await share.answer.take(10 * total + FREE_BYTES)

    asyncio.run(asyncio.wait_for(main(), 60))
