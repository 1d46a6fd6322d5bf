"""Lists that come in pages, and the filters of calls: everything but the I/O."""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Generic, Literal, TypeVar

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.client.call_info import CallInfo, CallState
from dispatch_grpc.client.settings import (
    ClientSettings,
    Timeout,
    check_text,
    positive,
    timestamp,
)
from dispatch_grpc.codes import Status
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.schema import ListCallsRequest, ListCallsResponse
from dispatch_grpc.text import quoted

_T = TypeVar("_T")

State = CallState | Literal["queued", "running", "waiting", "finished"]

_PAGE_SIZE = 100


class Pages(Generic[_T]):
    """A list of the service: the requests for its pages, and what is in them.

    Args:
        client: The settings of the client.
        request: A request for the list; each page changes it.
        read: Returns the items in a page.
        limit: Largest number of items; None takes all.
        timeout: Longest time for all requests.
    """

    def __init__(
        self,
        client: ClientSettings,
        request: Any,
        read: Callable[[Any], Iterable[_T]],
        *,
        limit: int | None,
        timeout: Timeout,
    ) -> None:
        self._limit = None if limit is None else positive("limit", limit)
        seconds = client.seconds(timeout)
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._request = request
        self._read = read
        self._token: str | None = ""
        self.items: list[_T] = []

    def next(self) -> tuple[Any, float | None] | None:
        """Return the next request and its timeout in seconds; None when there is none to send."""
        room = self._room()
        if self._token is None or room == 0:
            return None
        self._request.page_token = self._token
        self._request.page_size = _PAGE_SIZE if room is None else min(room, _PAGE_SIZE)
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
        return self._request, left

    def take(self, response: Any) -> None:
        """Add the items of a page."""
        self.items += islice(self._read(response), self._room())
        self._token = response.next_page_token or None

    def _room(self) -> int | None:
        return None if self._limit is None else self._limit - len(self.items)


def calls(
    client: ClientSettings, *, dead: bool, limit: int, timeout: Timeout, **filters: Any
) -> Pages[CallInfo]:
    """List calls; the filters are those of `set_filters`."""
    request = ListCallsRequest(dead=dead)
    set_filters(request, filters)
    return Pages(client, request, _calls_in, limit=limit, timeout=timeout)


def _calls_in(response: ListCallsResponse) -> Iterable[CallInfo]:
    return map(CallInfo.of, response.calls)


def set_filters(request: Any, filters: Mapping[str, Any]) -> None:
    """Check filters of calls and set them in a request, by their names; None is no filter."""
    for name, value in filters.items():
        match name:
            case _ if value is None:
                pass
            case "state":
                request.state = _state(value)
            case "status":
                request.status = _status(value)
            case "created_after" | "created_before" | "finished_before":
                getattr(request, name).CopyFrom(timestamp(name, value))
            case "labels":
                if problem := labels_problem(value):
                    raise ConfigurationError(problem)
                request.labels.update(value)
            case "parent":
                request.parent_dispatch_id = check_text(name, value)
            case _:
                setattr(request, name, check_text(name, value))


def _state(state: State) -> Any:
    names = list(CallState)[1:]
    if state not in names:
        raise ConfigurationError(
            f"state: one of {', '.join(names)} is required; got {quoted(state)}"
        )
    return list(CallState).index(CallState(state))


def _status(status: Status) -> Any:
    if not isinstance(status, Status) or status is Status.UNSPECIFIED:
        raise ConfigurationError(
            f"status: a Status other than UNSPECIFIED is required; got {quoted(status)}"
        )
    return status  # its values are the schema's
