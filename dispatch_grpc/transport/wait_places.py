"""The choice of a gRPC channel for each request of `wait`, without any I/O."""

FIRST_CHANNEL_WAITS = 64  # as many as a `wait_all` has at once; the rest is for other requests
CHANNEL_WAITS = 100  # RFC 9113 (5.1.2) recommends that servers allow no fewer
MAX_CHANNELS = 21


class WaitPlaces:
    """The places for requests of `wait` on the channels of a client.

    Services and proxies limit the requests that run at the same time on a connection (nginx, AWS
    ALB and the service of this package to 128), and further ones wait in the client. A request of
    `wait` takes seconds, so the first channel, which all other requests share, carries only a few,
    and further channels carry the rest. Beyond their number, the further channels share what comes.
    """

    def __init__(self) -> None:
        self._taken = [0]  # on each channel, the first one first

    def take(self) -> int:
        """Take a place; return the number of its channel, which is the next one or exists."""
        for number, taken in enumerate(self._taken):
            if taken < (CHANNEL_WAITS if number else FIRST_CHANNEL_WAITS):
                break
        else:
            number = len(self._taken)
            if number < MAX_CHANNELS:
                self._taken.append(0)
            else:
                number = min(range(1, number), key=self._taken.__getitem__)
        self._taken[number] += 1
        return number

    def release(self, number: int) -> None:
        """Give a place on a channel back."""
        self._taken[number] -= 1
