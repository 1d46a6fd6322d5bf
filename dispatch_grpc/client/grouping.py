"""Which dispatches of an `AsyncClient` leave together: the rules, without I/O or a clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Self, TypeVar

from dispatch_grpc.client.settings import positive
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.text import quoted

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Coalesce:
    """How many dispatches an `AsyncClient` sends together, and when.

    Attributes:
        max_calls: Largest number of calls in a request.
        max_bytes: Largest size of a request in bytes; a larger call is sent alone. The client's
            `max_message_bytes` applies as well.
        linger: How long a dispatch waits for others while no request is under way. With zero, the
            default, it leaves at once.
    """

    max_calls: int = 1000
    max_bytes: int = 1_000_000
    linger: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_bytes"):
            positive(name, getattr(self, name))
        if not isinstance(self.linger, timedelta) or self.linger < timedelta(0):
            raise ConfigurationError(
                f"linger: a timedelta of zero or more is required; got {quoted(self.linger)}"
            )


def coalesce_of(value: object) -> Coalesce | None:
    """Check the argument of a client; None means that each dispatch is a request of its own."""
    if isinstance(value, Coalesce):
        return value
    if value is True or value is False:
        return Coalesce() if value else None
    raise ConfigurationError(
        f"coalesce: a bool or a Coalesce is required; got {type(value).__name__}"
    )


class GroupKey(str):
    """The idempotency key of a request for several dispatches, in the error of one of them.

    It carries the request, since the service knows the key for exactly these calls: a dispatch of
    the same call with this key sends the request again.
    """

    __slots__ = ("place", "request")

    request: DispatchRequest
    place: int

    def __new__(cls, key: str, request: DispatchRequest, place: int) -> Self:
        """Make a key.

        Args:
            key: Its text.
            request: The request.
            place: Place of the call in the request.
        """
        self = super().__new__(cls, key)
        self.request = request
        self.place = place
        return self

    def request_for(self, call: Call) -> tuple[DispatchRequest, int] | None:
        """Return the request and the place of a call in it; None if it is another call."""
        return (self.request, self.place) if self.request.calls[self.place] == call else None

    def __reduce__(self) -> tuple[type[Self], tuple[str, DispatchRequest, int]]:
        return type(self), (str(self), self.request, self.place)


class Groups(Generic[_T]):
    """The dispatches that wait, and which of them leave together: the oldest, in their order."""

    def __init__(self, rules: Coalesce) -> None:
        self._rules = rules
        self._linger = rules.linger.total_seconds()
        self._waiting: dict[_T, tuple[int, float]] = {}  # size, and since when
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[_T]:
        return iter(self._waiting)

    def add(self, item: _T, size: int, now: float) -> None:
        """Add a dispatch.

        Args:
            item: The dispatch.
            size: Size of a request with its call alone. Of several it is the sum.
            now: The time in seconds.
        """
        self._waiting[item] = (size, now)
        self._bytes += size

    def remove(self, item: _T) -> None:
        """Remove a dispatch, if it still waits."""
        if (found := self._waiting.pop(item, None)) is not None:
            self._bytes -= found[0]

    def leaves_at(self) -> float | None:
        """Return when the next group leaves if no request is under way; None if nothing waits."""
        if not self._waiting:
            return None
        _, since = next(iter(self._waiting.values()))
        rules = self._rules
        is_full = len(self._waiting) >= rules.max_calls or self._bytes >= rules.max_bytes
        return since if is_full else since + self._linger

    def take(self) -> list[_T]:
        """Remove the next group and return it: one dispatch at least, if any waits."""
        group: list[_T] = []
        total, rules = 0, self._rules
        for item, (size, _) in self._waiting.items():
            if len(group) == rules.max_calls or (group and total + size > rules.max_bytes):
                break
            group.append(item)
            total += size
        for item in group:
            del self._waiting[item]
        self._bytes -= total
        return group
