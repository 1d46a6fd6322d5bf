"""When a failed request is sent again."""

from datetime import timedelta

from dispatch_grpc.errors import ConfigurationError


class RetryPolicy:
    """When a failed request is sent again.

    After UNAVAILABLE and RESOURCE_EXHAUSTED, with an exponential backoff and jitter, within
    the deadline of the dispatch.

    Attributes:
        max_attempts: Number of times that a request is sent at most, from 2 to 5 (gRPC's bound).
        initial_backoff: Bound of the wait before the second attempt; doubles with each. 10 ms
            or more.
        max_backoff: Bound of every wait. 10 ms or more.
    """

    def __init__(
        self,
        *,
        max_attempts: int = 5,
        initial_backoff: timedelta = timedelta(milliseconds=100),
        max_backoff: timedelta = timedelta(seconds=2),
    ) -> None:
        if not (isinstance(max_attempts, int) and 2 <= max_attempts <= 5):
            raise ConfigurationError(
                f"max_attempts: an int from 2 to 5 is required; got {max_attempts!r} "
                f"(retry=None turns retries off)"
            )
        for name, value in (("initial_backoff", initial_backoff), ("max_backoff", max_backoff)):
            # Below, gRPC's own retries may hang until the deadline: grpc/grpc issue 41036.
            if not isinstance(value, timedelta) or value < timedelta(milliseconds=10):
                raise ConfigurationError(
                    f"{name}: a timedelta of 10 milliseconds or more is required; got {value!r}"
                )
        self.max_attempts = max_attempts
        self.initial_backoff = initial_backoff
        self.max_backoff = max_backoff

    def __repr__(self) -> str:
        return (
            f"RetryPolicy(max_attempts={self.max_attempts}, "
            f"initial_backoff={self.initial_backoff!r}, max_backoff={self.max_backoff!r})"
        )
