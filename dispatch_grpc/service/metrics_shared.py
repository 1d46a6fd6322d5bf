"""The metrics that all processes see alike, whose labels come and go.

prometheus_client keeps a label for ever once it was used. These are made anew each time.
"""

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from dispatch_grpc.service.lanes import parts_of_lane
from dispatch_grpc.text import shorten

MAX_LANES = MAX_HOSTS = 20
OTHER = "(other)"
"""The label that all share for which there is no label left: the number of labels is bounded. No
function and no host has this name."""
_MAX_LABEL = 100  # characters

_Ages = Sequence[tuple[float, str]]


def label_of(name: str) -> str:
    """Return the label of a function or a host."""
    return shorten(name, _MAX_LABEL)


class SharedMetrics(Collector):
    """What this process knows of the queue and of hosts.

    Attributes:
        resting: Returns the hosts whose breakers are open.
    """

    def __init__(self) -> None:
        self.resting: Callable[[], Collection[str]] = tuple
        self._ages: _Ages = ()  # of the oldest due jobs, the oldest first, each with its lane
        self._scanned: _Ages = ()  # the same of the scan that is under way
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def queued(self, lanes: Mapping[str, float], *, is_end: bool) -> None:
        """Tell which lanes a scan of the queue has found.

        Args:
            lanes: In how many seconds the first job of each lane is due; 0 or less: it is.
            is_end: Whether the scan has reached the end of the queue; if not, the next one goes on
                after these lanes.
        """
        due = ((-seconds, lane) for lane, seconds in lanes.items() if seconds <= 0)
        # One more than have labels of their own, for the age of all others.
        self._scanned = heapq.nlargest(MAX_LANES + 1, (*self._scanned, *due))
        if is_end:
            self._ages, self._scanned = self._scanned, ()

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Make the metrics, which are asked for."""
        ages = GaugeMetricFamily(
            "dispatch_queue_age_seconds",
            "Time since the oldest call that waits for an attempt became due, by host and "
            f"function: the {MAX_LANES} longest, and {OTHER} for the rest.",
            labels=["host", "function"],
        )
        for labels, age in _labelled(self._ages).items():
            ages.add_metric(labels, age)
        yield ages
        breakers = GaugeMetricFamily(
            "dispatch_breaker_open",
            f"1 for a host whose breaker is open: it does not answer, and its calls wait. The "
            f"first {MAX_HOSTS} by name; {OTHER} is the number of the rest.",
            labels=["host"],
        )
        hosts = sorted({label_of(host) for host in self.resting()})
        for host in hosts[:MAX_HOSTS]:
            breakers.add_metric([host], 1)
        if len(hosts) > MAX_HOSTS:
            breakers.add_metric([OTHER], len(hosts) - MAX_HOSTS)
        yield breakers


def _labelled(ages: _Ages) -> dict[tuple[str, str], float]:
    """Return ages by their labels, the host and the function."""
    found: dict[tuple[str, str], float] = {}
    for index, (age, lane) in enumerate(ages):
        labels = (OTHER, OTHER)
        if index < MAX_LANES:
            host, function = parts_of_lane(lane)
            labels = (label_of(host), label_of(function))
        found[labels] = max(age, found.get(labels, 0.0))
    return found
