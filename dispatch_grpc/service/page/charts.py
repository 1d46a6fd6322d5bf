"""The charts of the page: how many calls finish, and how long they take. Pure.

A chart is an SVG that a template draws from what is computed here, in units of its view box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatch_grpc.codes import Status
from dispatch_grpc.service.rates import BOUNDS, Minute, quantile
from dispatch_grpc.text import rounded

WIDTH, HEIGHT = 480, 120
_BARS = 60
_GAP = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: the calls that succeeded, and on top of them those that failed."""

    x: float
    width: float
    ok: float
    failed: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        bars: The bars of a chart of numbers.
        lines: The lines of a chart of times: the class of each, and its points.
        top: What the upper edge stands for.
        summary: The chart in words.
    """

    top: str
    summary: str
    bars: Sequence[Bar] = ()
    lines: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class _Step:
    ok: int
    failed: int
    seconds: list[int]


def step_of(window: timedelta) -> timedelta:
    """Return how much time a bar stands for: whole minutes."""
    minutes = max(round(window / timedelta(minutes=_BARS)), 1)
    return timedelta(minutes=minutes)


def charts(minutes: Sequence[Minute], window: timedelta, now: datetime) -> tuple[Chart, Chart]:
    """Return a chart of how many calls finished, and one of how long they took.

    Args:
        minutes: The counts of the window.
        window: How far back the charts go.
        now: The time at their right edge.
    """
    size = step_of(window)
    number = max(round(window / size), 1)
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    start = end - number * size
    steps = [_Step(0, 0, [0] * (len(BOUNDS) + 1)) for _ in range(number)]
    for one in minutes:
        place = (one.minute - start) // size
        if 0 <= place < number:
            step = steps[place]
            if one.status == Status.OK.value:
                step.ok += one.calls
            else:
                step.failed += one.calls
            step.seconds = [a + b for a, b in zip(step.seconds, one.seconds, strict=True)]
    return _numbers(steps, start, size), _times(steps)


def _numbers(steps: Sequence[_Step], start: datetime, size: timedelta) -> Chart:
    most = max(step.ok + step.failed for step in steps)
    scale, width = HEIGHT / max(most, 1), WIDTH / len(steps)
    bars = [
        Bar(
            round(place * width, 2),
            round(width - min(_GAP, width / 4), 2),
            round(step.ok * scale, 2),
            round(step.failed * scale, 2),
            f"{start + place * size:%H:%M}: {step.ok:,} OK, {step.failed:,} failed",
        )
        for place, step in enumerate(steps)
        if step.ok or step.failed
    ]
    ok, failed = (sum(getattr(step, name) for step in steps) for name in ("ok", "failed"))
    each = "a minute" if size == timedelta(minutes=1) else f"in {rounded(size)}"
    return Chart(
        f"up to {most:,} {each}",
        f"{ok + failed:,} calls finished: {ok:,} OK, {failed:,} failed.",
        bars=bars,
    )


def _times(steps: Sequence[_Step]) -> Chart:
    found = [(quantile(step.seconds, 0.5), quantile(step.seconds, 0.95)) for step in steps]
    most = max((slow for _, slow in found if slow is not None), default=0.0)
    whole = [sum(numbers) for numbers in zip(*(step.seconds for step in steps), strict=True)]
    median, slow = quantile(whole, 0.5), quantile(whole, 0.95)
    if median is None or slow is None:
        return Chart("", "No call has finished in this time.")
    return Chart(
        f"up to {_text(most)}",
        f"Half of the calls finished within {_text(median)} of being recorded, 95 % within "
        f"{_text(slow)}.",
        lines=[
            *(("slow", points) for points in _lines([two for _, two in found], most)),
            *(("median", points) for points in _lines([one for one, _ in found], most)),
        ],
    )


def _lines(values: Sequence[float | None], most: float) -> list[str]:
    """Return the points of lines that are broken where there is no value."""
    width = WIDTH / len(values)
    lines: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is not None:
            y = HEIGHT * (1 - value / most)
            # A step, so that one value alone is a line, too.
            lines[-1] += [(place * width, y), ((place + 1) * width, y)]
        elif lines[-1]:
            lines.append([])
    return [" ".join(f"{x:.1f},{y:.1f}" for x, y in points) for points in lines if points]


def _text(seconds: float) -> str:
    return rounded(timedelta(seconds=seconds))
