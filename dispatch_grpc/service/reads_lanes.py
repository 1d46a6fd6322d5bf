"""The lanes that have jobs, and the hosts that rest: for the page. Every query is bounded."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatch_grpc.service.lanes import parts_of_lane

LANES_SHOWN = 50
JOBS_COUNTED = 1_000
_PICKED = 10_000  # more than processes run together


@dataclass(frozen=True, slots=True)
class Lane:
    """A host and a function.

    Attributes:
        host: The host.
        function: The function.
        due: Number of jobs that could be taken now, up to `JOBS_COUNTED`.
        delayed: Number of jobs that are due later, up to `JOBS_COUNTED`.
        running: Number of jobs that processes have taken.
        next_at: When the first job is due, or was; None without one.
    """

    host: str
    function: str
    due: int
    delayed: int
    running: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Resting:
    """A host that rests.

    Attributes:
        host: The host.
        failures: How often in a row it has failed.
        until: When one call tries it again.
    """

    host: str
    failures: int
    until: datetime


LANES = """
WITH RECURSIVE step AS (
    (SELECT entrypoint FROM pgqueuer WHERE status = 'queued' ORDER BY entrypoint LIMIT 1)
    UNION ALL
    SELECT (SELECT entrypoint FROM pgqueuer
        WHERE status = 'queued' AND entrypoint > step.entrypoint ORDER BY entrypoint LIMIT 1)
    FROM step WHERE step.entrypoint IS NOT NULL
), waiting AS MATERIALIZED (
    SELECT entrypoint FROM step WHERE entrypoint IS NOT NULL LIMIT $1
), running AS MATERIALIZED (
    SELECT entrypoint, count(*) AS jobs FROM (
        SELECT entrypoint FROM pgqueuer WHERE status = 'picked' LIMIT $3
    ) AS picked GROUP BY entrypoint ORDER BY entrypoint LIMIT $1
)
SELECT entrypoint, coalesce(running.jobs, 0) AS running, (
    SELECT count(*) FROM (
        SELECT FROM pgqueuer WHERE entrypoint = lane.entrypoint AND status = 'queued'
            AND execute_after <= now() ORDER BY execute_after LIMIT $2) AS due
) AS due, (
    SELECT count(*) FROM (
        SELECT FROM pgqueuer WHERE entrypoint = lane.entrypoint AND status = 'queued'
            AND execute_after > now() ORDER BY execute_after LIMIT $2) AS delayed
) AS delayed, (
    SELECT min(execute_after) FROM pgqueuer
    WHERE entrypoint = lane.entrypoint AND status = 'queued'
) AS next_at
FROM (SELECT entrypoint FROM waiting UNION SELECT entrypoint FROM running) AS lane
LEFT JOIN running USING (entrypoint)
ORDER BY entrypoint LIMIT $1
"""


async def lanes(connection: Any) -> list[Lane]:
    """Return the lanes that have jobs, by host and function; up to `LANES_SHOWN`, and one more."""
    rows = await connection.fetch(LANES, LANES_SHOWN + 1, JOBS_COUNTED, _PICKED)
    found = []
    for row in rows:
        host, function = parts_of_lane(row["entrypoint"])
        due, delayed, running = row["due"], row["delayed"], row["running"]
        found.append(Lane(host, function, due, delayed, running, row["next_at"]))
    return found


async def resting(connection: Any) -> list[Resting]:
    """Return the hosts that rest, those that rest longest first; up to `LANES_SHOWN`."""
    rows = await connection.fetch(
        "SELECT host, failures, until FROM resting_hosts ORDER BY until DESC, host LIMIT $1",
        LANES_SHOWN,
    )
    return [Resting(**row) for row in rows]
