"""Tell the SQL function `dispatch` what this service accepts: it is all that it knows of it."""

from dispatch_grpc.service.database import Database
from dispatch_grpc.service.settings import Settings

SECONDS = 5.0


class Producing:
    """Writes the limits of this process into the database.

    Args:
        database: The database.
        settings: The limits of calls.
        max_backlog: Number of calls that may wait.
        max_bytes: Largest request.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        max_backlog: int,
        max_bytes: int,
    ) -> None:
        self._database = database
        limits = settings.limits
        self._limits = (
            limits.default_expiration,
            limits.max_expiration,
            limits.max_calls,
            max_bytes,
            max_backlog,
            settings.allow_metadata,
        )

    async def tell(self) -> None:
        """Write the limits, unless they are there."""
        async with self._database.relaxed.acquire() as connection:
            await connection.execute(
                """
                UPDATE limits SET (default_expiration, max_expiration, max_calls, max_bytes,
                    max_backlog, allow_metadata) = ROW($1, $2, $3, $4, $5, $6)
                WHERE (default_expiration, max_expiration, max_calls, max_bytes, max_backlog,
                    allow_metadata) IS DISTINCT FROM ($1, $2, $3, $4, $5, $6)
                """,
                *self._limits,
            )
