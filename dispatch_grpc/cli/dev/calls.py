"""The calls of a service as they run: a line for each change of their states."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import click

from dispatch_grpc import AsyncClient, CallInfo, CallState, DispatchError, NotFoundError, Status
from dispatch_grpc.cli.output import colour_of, print_lines, printable
from dispatch_grpc.cli.tree import took
from dispatch_grpc.text import shorten

_LOOK_SECONDS = 0.5
_MOST_NEW, _MOST_OLDER = 500, 50  # calls, in one look
_OVERLAP = timedelta(seconds=2)
_ERROR_CHARACTERS = 200


class LiveCalls:
    """The calls that are recorded from now on: a line for each change of their states."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._since = datetime.now(UTC)
        # What was printed of the calls that are new or have not finished, by their ids.
        self._printed: dict[str, object] = {}

    async def show(self) -> None:
        """Print the lines, until it is cancelled."""
        while True:
            with suppress(DispatchError):  # the service is busy: the next look shows it
                await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        calls = await self._client.list(created_after=self._since, limit=_MOST_NEW)
        if len(calls) == _MOST_NEW:
            print_lines(["… and more calls: see 'dispatch-grpc list'"])
        # Calls may become visible a little later than others that were recorded after them.
        times = [call.creation_time - _OVERLAP for call in calls if call.creation_time]
        self._since = max([self._since, *times])
        listed = {call.dispatch_id for call in calls}
        older = [id for id in self._printed if id not in listed][:_MOST_OLDER]
        calls += filter(None, await asyncio.gather(*map(self._get, older)))
        for call in reversed(calls):
            printed, state = self._printed.pop(call.dispatch_id, None), _state(call)
            if state != printed:
                print_lines([await self._line(call)])
            if call.dispatch_id in listed or call.state is not CallState.FINISHED:
                self._printed[call.dispatch_id] = state  # at the end: others have their turn

    async def _get(self, id: str) -> CallInfo | None:
        try:
            return await self._client.get(id)
        except NotFoundError:  # it was purged
            del self._printed[id]
            return None

    async def _line(self, call: CallInfo) -> str:
        now, error, word = datetime.now(UTC), call.last_error, str(call.state)
        if call.state is CallState.FINISHED:
            word, error = call.status.name.lower(), None
            if call.status is not Status.OK:
                error = (await self._client.get(call.dispatch_id)).error  # lists leave it out
        text = ""
        if error is not None:
            text = "  " + printable(shorten(f"{error.type}: {error.message}", _ERROR_CHARACTERS))
        return (
            f"{now.astimezone():%H:%M:%S}  {click.style(word, colour_of(call))}  "
            f"{printable(call.function)}  {took(call, now)}  {call.dispatch_id}{text}"
        )


def _state(call: CallInfo) -> object:
    """Return what a line is printed for; None for a call that waits for its first attempt."""
    if call.state is CallState.QUEUED and not call.last_error:
        return None
    return call.state, call.last_error and (call.runs, call.last_error.message)
