"""Bodies within the budget of memory: what takes some, what gives it back, what is cut off."""

import asyncio
from typing import Any

import pytest

from dispatch_grpc.service import bodies
from dispatch_grpc.service.bodies import Bodies, hold
from dispatch_grpc.service.memory import FREE_BYTES, Memory

TOTAL = (
    8_000_000  # of which answers, and what comes in, have a half; large ones three quarters of it
)
MOST = 4_000_000
LARGE = 2_500_000


class Client:
    """One request, whose body arrives in parts."""

    def __init__(self, *parts: bytes, headers: dict[bytes, bytes] | None = None) -> None:
        self.scope = {"client": ("127.0.0.1", 1), "headers": [*(headers or {}).items()]}
        self._parts = iter(enumerate(parts, 1 - len(parts)))
        self.may_end = asyncio.Event()
        self.sent: list[Any] = []
        self.answer: asyncio.Task[None] | None = None

    async def receive(self) -> dict[str, Any]:
        left, part = next(self._parts)
        if left == 0:
            await self.may_end.wait()
        return {"type": "http.request", "body": part, "more_body": left < 0}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def ask(self, app: Bodies) -> "asyncio.Task[None]":
        return asyncio.create_task(app(self.scope, self.receive, self.send))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what came."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.start", "status": 200})
    await send(
        {"type": "http.response.body", "body": body if "request" in message["type"] else b""}
    )


def received(client: Client) -> bytes:
    return b"".join(message.get("body", b"") for message in client.sent)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def grpc(size: int) -> bytes:
    return b"\0" + size.to_bytes(4)


HEADS: dict[str, tuple[dict[bytes, bytes], bytes]] = {
    "a length": ({b"content-length": b"%d" % LARGE}, b""),
    "a message of gRPC": ({b"content-type": b"application/grpc+proto"}, grpc(LARGE)),
    "neither": ({}, b""),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_large_request_waits_for_another_and_a_small_one_does_not(kind: str):
    headers, first = HEADS[kind]

    async def main() -> None:
        app = Bodies(echo, Memory(TOTAL), MOST)
        begin = first + bytes(FREE_BYTES)
        parts = (begin, bytes(LARGE - len(begin)), b"")
        one, other = Client(*parts, headers=headers), Client(*parts, headers=headers)
        asked, waits = one.ask(app), other.ask(app)
        await settle()
        small = Client(bytes(FREE_BYTES))
        small.may_end.set()
        await small.ask(app)
        other.may_end.set()
        await settle()
        assert not waits.done()
        one.may_end.set()
        await asked
        await waits
        for client in (one, other):
            assert len(received(client)) == LARGE
            assert all(len(m.get("body", b"")) <= 256 * 1024 for m in client.sent)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_an_answer_that_is_held_waits_with_nothing():
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await hold(LARGE)
        await receive()

    async def main() -> None:
        memory = Memory(TOTAL)
        app = Bodies(answer, memory, MOST)
        one, other = (Client(bytes(FREE_BYTES + 1), b"") for _ in range(2))
        asked, waits = one.ask(app), other.ask(app)
        await settle()
        other.may_end.set()
        await settle()
        assert not waits.done()
        upload = Client(bytes(FREE_BYTES + 1), bytes(LARGE), b"")
        upload.may_end.set()
        await upload.ask(Bodies(echo, memory, MOST))
        one.may_end.set()
        await asyncio.gather(asked, waits)

    asyncio.run(asyncio.wait_for(main(), 30))
    asyncio.run(hold(LARGE))  # outside of a request: nothing is held


def test_a_client_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "_SILENT_SECONDS", 0.05)

    async def main() -> None:
        app = Bodies(echo, Memory(TOTAL), MOST)
        silent = Client(bytes(FREE_BYTES + 1), b"")
        await silent.ask(app)
        assert received(silent) == b""
        deaf = Client(bytes(LARGE))
        deaf.may_end.set()

        async def send(message: Any) -> None:
            if message.get("body"):
                await asyncio.sleep(3600)

        with pytest.raises(TimeoutError):
            await app(deaf.scope, deaf.receive, send)
        # Their memory is there again.
        last = Client(bytes(FREE_BYTES + 1), bytes(LARGE), b"")
        last.may_end.set()
        await last.ask(app)

    asyncio.run(asyncio.wait_for(main(), 30))
