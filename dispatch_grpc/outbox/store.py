"""The statements of the relay: rows become batches, and batches are deleted or refused.

The id of a batch is committed before the batch is sent, and is its idempotency key. From then on
the batch is exactly these rows, whichever relay sends it. A batch belongs to one relay at a time,
for some time; then another one may take it over.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        id: Its id.
        call: The serialized call.
        start_time: When the call begins; None: at once.
        labels: The labels of the call, None if it has none; not checked.
        trace: The trace context of the call, None if it has none; not checked.
    """

    id: int
    call: bytes
    start_time: datetime | None
    labels: Any
    trace: str | None

    @property
    def has_options(self) -> bool:
        """Whether the call needs Submit. Its trace is left out where that is missing."""
        return not (self.start_time is None and self.labels is None)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are sent together.

    Attributes:
        id: Its idempotency key.
        rows: The rows, in the order of their ids.
        since: When it got its id.
        age: The time since then.
    """

    id: UUID
    rows: Sequence[Row]
    since: datetime
    age: timedelta


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not sent."""

    id: int
    call: bytes
    added_at: datetime
    batch_id: UUID | None
    error: str


class Store:
    """The table of an outbox, for one relay.

    Args:
        table: Its name, checked.
        owner: The relay.
        lease: How long a batch belongs to a relay without news of it.
    """

    def __init__(self, table: str, owner: UUID, lease: timedelta) -> None:
        self._table = table
        self._owner = owner
        self._lease = lease

    async def claim(self, connection: Any, most: int, max_bytes: int) -> Batch | None:
        """Take over a batch whose relay is gone, or make one of rows that are in none.

        Args:
            connection: A connection.
            most: Largest number of rows of a new batch.
            max_bytes: Largest size of its calls; a larger call is a batch by itself.
        """
        # One row stands for its batch, so that two relays do not each lock a part of it.
        rows = await connection.fetch(
            f"""
            WITH gone AS MATERIALIZED (
                SELECT batch_id FROM {self._table}
                WHERE id = (
                    SELECT min(id) FROM {self._table}
                    WHERE batch_id IS NOT NULL AND error IS NULL AND owned_until < now()
                    GROUP BY batch_id LIMIT 1
                )
                FOR UPDATE SKIP LOCKED
            )
            UPDATE {self._table} AS row SET owner = $1, owned_until = now() + $2 FROM gone
            WHERE row.batch_id = gone.batch_id AND owned_until < now() AND error IS NULL
            RETURNING row.*, now() - batched_at AS age
            """,  # noqa: S608 (the name is checked)
            self._owner,
            self._lease,
        )
        if not rows:
            rows = await connection.fetch(
                f"""
                WITH free AS MATERIALIZED (
                    SELECT id, octet_length(call) + 16 AS size FROM {self._table}
                    WHERE batch_id IS NULL AND error IS NULL
                    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
                ), chosen AS MATERIALIZED (
                    SELECT id, sum(size) OVER (ORDER BY id) AS total,
                        row_number() OVER (ORDER BY id) AS place
                    FROM free
                ), batch AS MATERIALIZED (SELECT gen_random_uuid() AS id)
                UPDATE {self._table} AS row
                SET batch_id = batch.id, batched_at = now(), owner = $1, owned_until = now() + $2
                FROM chosen, batch WHERE row.id = chosen.id AND (total <= $4 OR place = 1)
                RETURNING row.*, interval '0' AS age
                """,  # noqa: S608
                self._owner,
                self._lease,
                most,
                max_bytes,
            )
        return _batches(rows)[0] if rows else None

    async def renew(self, connection: Any, batch: Batch) -> timedelta | None:
        """Keep a batch; return its age, or None if it belongs to another relay or is gone."""
        found: timedelta | None = await connection.fetchval(
            f"""
            WITH kept AS (
                UPDATE {self._table} SET owned_until = now() + $3
                WHERE batch_id = $1 AND owner = $2 AND owned_until > now() AND error IS NULL
                RETURNING batched_at
            )
            SELECT now() - batched_at FROM kept LIMIT 1
            """,  # noqa: S608
            batch.id,
            self._owner,
            self._lease,
        )
        return found

    async def delete(self, connection: Any, batch: Batch) -> None:
        """Delete a batch that the service has recorded."""
        await connection.execute(f"DELETE FROM {self._table} WHERE batch_id = $1", batch.id)  # noqa: S608

    async def split(self, connection: Any, batch: Batch) -> list[Batch]:
        """Make a batch of each row of one that the service has refused; none if it is lost."""
        rows = await connection.fetch(
            f"""
            UPDATE {self._table} SET batch_id = gen_random_uuid(), batched_at = now(),
                owned_until = now() + $3
            WHERE batch_id = $1 AND owner = $2 AND owned_until > now() AND error IS NULL
            RETURNING *, interval '0' AS age
            """,  # noqa: S608
            batch.id,
            self._owner,
            self._lease,
        )
        return _batches(rows)

    async def refuse(self, connection: Any, batch: Batch, error: str) -> None:
        """Keep the rows of a batch with an error: they are not sent again."""
        await connection.execute(
            f"UPDATE {self._table} SET error = $2 WHERE batch_id = $1",  # noqa: S608
            batch.id,
            error.replace("\0", ""),
        )

    async def release(self, connection: Any) -> None:
        """Give the batches of this relay to any other."""
        await connection.execute(
            f"UPDATE {self._table} SET owned_until = now() WHERE owner = $1 AND error IS NULL",  # noqa: S608
            self._owner,
        )


async def refused(connection: Any, table: str, limit: int) -> list[Refused]:
    """Return rows that are kept with an error, the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT id, call, added_at, batch_id, error FROM {table}
        WHERE error IS NOT NULL ORDER BY id LIMIT $1
        """,  # noqa: S608
        limit,
    )
    return [Refused(*row) for row in rows]


def _batches(rows: Sequence[Any]) -> list[Batch]:
    found: dict[UUID, list[Any]] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        found.setdefault(row["batch_id"], []).append(row)
    return [
        Batch(
            id,
            [_row(row) for row in some],
            some[0]["batched_at"],
            some[0]["age"],
        )
        for id, some in found.items()
    ]


def _row(found: Any) -> Row:
    labels = json.loads(found.get("labels") or "{}")  # older tables lack the column
    return Row(
        found["id"],
        found["call"],
        found.get("start_time"),
        None if labels == {} else labels,
        found.get("trace"),
    )
