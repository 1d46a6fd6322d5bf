"""What happens in `chaos`: the faults and calls of a seed, and the report at the end."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from dispatch_grpc import Status, unmarshal
from dispatch_grpc.schema import CallResult

# Each kind of fault, how often it comes compared to others, and its shortest and longest time.
FAULTS: dict[str, tuple[int, float, float]] = {
    "kill a service": (4, 0.1, 4),
    "freeze a service": (4, 0.5, 8),
    "cut a service from the database": (3, 0.1, 4),
    "swallow what a service sends to the database": (2, 0.1, 0.1),
    "hold back what a service and the database send": (3, 0.5, 6),
    "slow down the way to the database": (2, 1, 6),
    "end all sessions of the database": (2, 0.1, 0.1),
    "make the database read-only": (3, 1, 6),
    "crash the database": (2, 0.1, 0.1),
    "have a disk that is slow": (3, 2, 10),
    "have a disk that hangs": (3, 0.5, 4),
    "kill an endpoint": (3, 0.1, 4),
    "freeze an endpoint": (3, 0.5, 8),
    "hold back what an endpoint answers": (3, 0.5, 8),
    "cut an endpoint off": (3, 0.1, 5),
    "swallow what is sent to an endpoint": (2, 0.1, 0.1),
    "have a proxy answer 502": (3, 0.5, 5),
    "have a proxy answer 503": (3, 0.5, 5),
    "have a proxy answer 404": (2, 0.5, 5),
    "slow down the way to an endpoint": (3, 1, 6),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: when it begins, what is done to which, and for how long."""

    at: float
    kind: str
    target: int
    seconds: float


def plan(seed: int, seconds: float, interval: float) -> list[Fault]:
    """Return the faults that a seed stands for, one in each interval or so."""
    rng = random.Random(f"faults {seed}")
    found, at = [], rng.expovariate(1 / interval)
    kinds, weights = list(FAULTS), [weight for weight, _, _ in FAULTS.values()]
    while at < seconds:
        kind = rng.choices(kinds, weights)[0]
        _, shortest, longest = FAULTS[kind]
        found.append(Fault(at, kind, rng.randrange(3), rng.uniform(shortest, longest)))
        at += rng.expovariate(1 / interval)
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call, and what has to become of it."""

    function: str
    input: Any
    output: Any
    status: Status = Status.OK


def make(rng: random.Random) -> Wanted:
    """Return a call at random."""
    number = rng.randrange(1000)
    function = rng.choices(
        ["square", "slow", "unsteady", "refuses", "total_in_parts", "gather", "chain"],
        [70, 12, 8, 2, 3, 3, 2],
    )[0]
    count = rng.randrange(1, 20)
    seconds = rng.randrange(5, 100) / 100
    sum_ = sum(one * one for one in range(count))
    return {
        "square": Wanted("square", number, number * number),
        "slow": Wanted("slow", seconds, seconds),
        "unsteady": Wanted("unsteady", number, -number),
        "refuses": Wanted("refuses", number, f"not {number}", Status.PERMANENT_ERROR),
        "total_in_parts": Wanted("total_in_parts", count, sum_),
        "gather": Wanted("gather", count, sum_),
        "chain": Wanted("chain", count % 7, "end"),
    }[function]


@dataclass(slots=True)
class Report:
    """What became of the calls.

    Attributes:
        lost: Calls that were accepted, and are not there or have not finished.
        wrong: Calls that ended for a reason that is not theirs.
        missing: Calls with another result than they should have.
        leftover: What else should not be there at the end.
        figures: What else is to be told.
    """

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    leftover: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.wrong or self.missing or self.leftover)

    def judge(self, accepted: dict[str, Wanted], rows: Sequence[Any]) -> None:
        """Compare the calls that were accepted with the rows of all calls."""
        by_id = {row["id"]: row for row in rows if row["finished_at"] is not None}
        for row in rows:
            if row["finished_at"] is None:
                self.lost.append(f"{row['function']} {row['id']}: state {row['state']}")
            elif row["function"] != "refuses" and row["status"] != Status.OK.value:
                self.wrong.append(f"{row['function']} {_outcome(row)}")
        for id, wanted in accepted.items():
            row = by_id.get(UUID(id))
            if row is None:
                self.lost.append(f"{wanted}: {id}")
            elif row["status"] != wanted.status.value:
                self.wrong.append(f"{wanted}: {_outcome(row)}")
            elif _outcome(row) != wanted.output:
                self.missing.append(f"{wanted}: {_outcome(row)}")

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.figures.items()]
        for name in ("lost", "wrong", "missing", "leftover"):
            found: list[str] = getattr(self, name)
            lines.append(f"{name}: {len(found)}")
            lines += [f"  {one}" for one in found[:10]]
        return "\n".join(lines)


def _outcome(row: Any) -> Any:
    result = CallResult.FromString(row["result"])
    if result.HasField("error"):
        return result.error.message
    return unmarshal(result.output)
