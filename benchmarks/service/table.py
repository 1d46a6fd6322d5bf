"""Measure sides in turns, and print what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter

Sides = Mapping[str, Callable[[], float]]
Samples = Mapping[str, Sequence[float]]


def timed(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


def measure(rounds: int, sides: Sides) -> Samples:
    """Measure sides in turns, after a round that does not count."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides.items())
    for _, side in order:
        side()
    for _ in range(rounds):
        for name, side in order:
            samples[name].append(side())
        order.reverse()
    return samples


def row(
    title: str,
    ours: Sequence[float],
    other: Sequence[float],
    target: float,
    show: Callable[[float], str],
    *,
    at_most: bool,
) -> None:
    """Print a row. A target that is not at most is at least, of how much faster the first is."""
    pairs = list(zip(ours, other, strict=True))
    ratios = [a / b if at_most else b / a for a, b in pairs]
    ratio = median(ratios)
    mark = "pass" if (ratio <= target if at_most else ratio >= target) else "**miss**"
    sign = "≤" if at_most else "≥"
    shown = (
        show(median(ours)),
        show(median(other)),
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{sign} {target:g}",
        mark,
    )
    print(f"| {' | '.join((title, *shown))} |", flush=True)


def rate(seconds: float) -> str:
    return f"{1 / seconds:,.0f} /s"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
