"""The shell around an activation: the clock, the threads, the steps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from dispatch_grpc.log import logger
from dispatch_grpc.schema import Journal, PollResult
from dispatch_grpc.text import shorten
from dispatch_grpc.values import marshal
from dispatch_grpc.workflow.activation import Activation
from dispatch_grpc.workflow.errors import NondeterminismError, failure_of

_MAX_INLINE_SECONDS = 1.0
"""Longest time that is waited for in the process; a Poll cannot wait for less."""
_BLOCKED_SECONDS = 10.0


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Mode:
    """How workflows are run: a test kit has a clock of its own.

    Attributes:
        now_us: Tells the time, in microseconds since 1970.
        sleep: Waits for some seconds.
        replay_every_step: Whether the journal is replayed from the start after every entry.
        has_service: Whether a service runs the calls, which can cancel them.
    """

    now_us: Callable[[], int] = _now_us
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    replay_every_step: bool = False
    has_service: bool = True


mode: ContextVar[Mode] = ContextVar("dispatch_grpc_workflow_mode", default=Mode())  # noqa: B039


class Execute(Protocol):
    """Runs a function in a thread, or an async one on the event loop."""

    async def __call__(
        self, function: Callable[[], Any], *, is_async: bool
    ) -> tuple[Any, BaseException | None]:
        """Return what the function returned, and what it raised."""
        ...


class Driver:
    """Drives one activation.

    Args:
        make: Makes an activation of a journal.
        execute: Runs functions.
        is_async: Tells whether a function is async.
        name: Name of the workflow, for the log.
    """

    def __init__(
        self,
        make: Callable[[Journal], Activation],
        execute: Execute,
        is_async: Callable[[Any], bool],
        name: str,
    ) -> None:
        self._make, self._execute, self._is_async, self._name = make, execute, is_async, name
        self._mode = mode.get()
        self._steps: dict[asyncio.Future[Any], int] = {}
        self._inline_seconds = 0.0

    async def run(self, journal: Journal, poll_result: PollResult | None) -> Activation:
        """Run a workflow until it ends, or waits for calls or time.

        Raises:
            Exception: The activation could not be driven: no thread, or the call expired.
        """
        activation = self._make(journal)
        try:
            await self._begin(activation, poll_result)
            while not activation.done:
                if not await self._go_on(activation):
                    break
        except BaseException:  # also when the server ends
            activation.abandon()
            raise
        finally:
            for task in self._steps:  # nobody waits for them any more
                task.cancel()
        return activation

    async def _begin(self, activation: Activation, poll_result: PollResult | None) -> None:
        fresh = poll_result is None
        results = list(poll_result.results) if poll_result is not None else []
        failed = poll_result is not None and poll_result.HasField("error")
        error = poll_result.error if poll_result is not None and failed else None
        if self._mode.replay_every_step:
            await self._in_thread(activation, partial(activation.start, fresh=fresh))
            for result in results:
                await self._in_thread(
                    activation, partial(activation.take, result, self._mode.now_us())
                )
            results = []

        def begin() -> None:
            if not self._mode.replay_every_step:
                activation.start(fresh=fresh)
            activation.deliver(results, error, self._mode.now_us())

        await self._in_thread(activation, begin)

    async def _go_on(self, activation: Activation) -> bool:
        """Run the steps that are to be run, or wait for a short time; False with neither."""
        now_us = self._mode.now_us
        while (step := activation.next_step()) is not None:
            running = self._execute(
                partial(step.function, *step.args, **step.kwargs),
                is_async=self._is_async(step.function),
            )
            self._steps[asyncio.ensure_future(running)] = step.id
        next_us = activation.next_wake_us()
        left = None if next_us is None else max(next_us - now_us(), 0) / 1e6
        if activation.running_steps:
            done, _ = await asyncio.wait(
                self._steps, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                id = self._steps.pop(task)
                result, error = task.result()
                await self._in_thread(
                    activation,
                    partial(activation.end_step, id, result, error, now_us()),
                )
        elif (
            left is None
            or activation.has_unsent
            or left + self._inline_seconds > _MAX_INLINE_SECONDS
        ):
            return False
        else:
            self._inline_seconds += left
            await self._mode.sleep(left)
        await self._in_thread(activation, lambda: activation.wake(now_us()))
        return True

    async def _in_thread(self, activation: Activation, act: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        warn = loop.call_later(_BLOCKED_SECONDS, self._warn)
        try:
            _, error = await self._execute(partial(_drive, activation, act), is_async=False)
        finally:
            warn.cancel()
        if error is not None:
            raise error
        if self._mode.replay_every_step:
            _, error = await self._execute(lambda: self._check(activation), is_async=False)
            if error is not None:
                raise error

    def _warn(self) -> None:
        logger.warning(
            "the workflow %s has run for %g s without waiting for anything: does it block? "
            "Do what takes long in a step (workflow.step) or in a function",
            self._name,
            _BLOCKED_SECONDS,
        )

    def _check(self, activation: Activation) -> None:
        """Replay the journal from the start, and compare with what was."""
        journal = Journal()
        journal.CopyFrom(activation.journal)
        replayed = self._make(journal)
        try:
            replayed.start()
            found, wanted = _ending(replayed), _ending(activation)
            if found != wanted:
                raise NondeterminismError(
                    f"a replay of the journal {found}, and before the workflow {wanted}: time, "
                    f"random numbers, the order of sets and global state have to come from the "
                    f"journal (workflow.now, workflow.random, workflow.step)"
                )
        finally:
            replayed.discard()


def _drive(activation: Activation, act: Callable[[], None]) -> None:
    """Run the workflow's code, in a thread for which nobody may wait any more."""
    activation.driven = True
    try:
        act()
    finally:
        activation.driven = False
        if activation.loop.closed:  # it was abandoned meanwhile
            activation.discard()


def _ending(activation: Activation) -> str:
    """Describe how a workflow ended, so that it can be compared."""
    if not activation.done:
        return "does not end"
    result, error = activation.outcome
    if isinstance(error, NondeterminismError):
        raise error
    if error is not None:
        failure = failure_of(error)
        return f"raises {failure.type}: {failure.message}"
    try:
        output = marshal(result)
    except Exception:  # noqa: BLE001  (told when the workflow answers)
        return "returns something"
    text = str(output).replace("\n", " ")
    return f"returns {shorten(text, 2000)}"
