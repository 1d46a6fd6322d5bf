"""The hosts that rest, shared by all processes: what one learns, the others soon know."""

import asyncio
from collections.abc import Callable, Sequence

from dispatch_grpc.codes import Status
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import notices
from dispatch_grpc.service.breaker import PROBE_SECONDS, Hosts
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.refreshing import refresh

_LOOK_SECONDS = 2.0
_MAX_RESTING = 10_000
_ANSWERING_SECONDS = 4.0  # as long as connections are kept


class SharedHosts:
    """What is known of hosts, by this process and by the others.

    Args:
        database: The database.
        told: The notices of this process.
        changed: Called when hosts may be called that could not be, or the other way round.
    """

    def __init__(self, database: Database, told: Notices, changed: Callable[[], None]) -> None:
        self._database = database
        self._notices = told
        self._changed = changed
        self._hosts = Hosts()
        self._answered_at: dict[str, float] = {}
        self._news: set[str] = set()
        self._sooner = asyncio.Event()
        told.listen(notices.HOSTS, self._told)

    def _told(self, _: Sequence[str]) -> None:
        self._sooner.set()

    def allowance(self, host: str) -> int | None:
        """Return how many calls of a host may be begun now; None when that is not limited."""
        return self._hosts.allowance(host, _now())

    def begun(self, host: str) -> None:
        """Note that a call was begun."""
        self._hosts.begun(host, _now())

    def ended(self, host: str) -> None:
        """Note that a call has ended, whether there was an answer or not."""
        self._hosts.ended(host)

    def answered(self, host: str, answer: Answer, begun_at: float) -> None:
        """Learn from an answer.

        Args:
            host: The host.
            answer: Its answer.
            begun_at: When the job was begun, by the time of the event loop.
        """
        asked = 0.0 if answer.retry_after is None else answer.retry_after.total_seconds()
        was_open = self._hosts.resting(host) is not None
        self._answered_at.pop(host, None)
        if answer.host_failed:
            is_news = self._hosts.failed(host, _now(), asked)
            if is_news and not was_open:  # once for an outage, however often it is probed
                _log(host, "opens: it does not answer, and its calls wait until it does")
        elif int(answer.response.status) == Status.THROTTLED.value:
            is_news = self._hosts.refused(host, _now(), asked, begun_at)
        else:
            is_news = self._hosts.answered(host, _now())
            self._answered_at[host] = _now()
        if was_open and self._hosts.resting(host) is None:
            _log(host, "closes: it answers again")
        if is_news:
            self._news.add(host)
            self._sooner.set()
            self._changed()

    def is_answering(self, host: str) -> bool:
        """Whether a host answered this process just now, so that a request is sent at once."""
        return _now() - self._answered_at.get(host, float("-inf")) < _ANSWERING_SECONDS

    def resting(self) -> list[str]:
        """Return the hosts that rest."""
        return self._hosts.all_resting()

    def next_change(self) -> float | None:
        """Return in how many seconds an allowance changes by itself."""
        return self._hosts.next_change(_now())

    async def probe(self, wanted: set[str]) -> None:
        """Have hosts probed whose rest is over, each by one process.

        Args:
            wanted: The hosts that have jobs.
        """
        if some := [host for host in self._hosts.to_probe(_now()) if host in wanted]:
            async with self._database.relaxed.acquire() as connection:
                rows = await connection.fetch(
                    """
                    UPDATE resting_hosts SET until = now() + $2 * interval '1 s'
                    WHERE host = ANY($1) AND until <= now() RETURNING host
                    """,
                    some,
                    PROBE_SECONDS,
                )
            self._hosts.grant_probes(some, {row["host"] for row in rows}, _now())

    async def run(self) -> None:
        """Tell others, and learn from them, until it is cancelled."""
        health = self._database.health
        await refresh(self._share, self._sooner, _LOOK_SECONDS, health=health, what="hosts")

    async def _share(self) -> None:
        self._hosts.forget(_now())
        self._answered_at = {
            host: at for host, at in self._answered_at.items() if self.is_answering(host)
        }
        news, self._news = self._news, set()
        try:
            await self._tell(news)
        except BaseException:
            self._news |= news
            raise
        async with self._database.relaxed.acquire() as connection:
            rows = await connection.fetch(
                """
                SELECT host, failures, extract(epoch FROM until - now())::float8 AS seconds
                FROM resting_hosts LIMIT $1
                """,
                _MAX_RESTING,
            )
        now = _now()
        resting = {row["host"]: (row["failures"], now + row["seconds"]) for row in rows}
        self._hosts.learn(resting, self._news)
        self._changed()

    async def _tell(self, news: set[str]) -> None:
        if not news:
            return
        now = _now()
        resting = {host: breaker for host in news if (breaker := self._hosts.resting(host))}
        async with self._database.relaxed.acquire() as connection, connection.transaction():
            await connection.execute(
                """
                INSERT INTO resting_hosts (host, failures, until)
                SELECT host, failures, now() + seconds * interval '1 s'
                FROM unnest($1::text[], $2::int[], $3::float8[]) AS news (host, failures, seconds)
                ON CONFLICT (host) DO UPDATE SET
                    failures = excluded.failures, until = excluded.until, changed_at = now()
                """,
                list(resting),
                [breaker.failures for breaker in resting.values()],
                [(breaker.until or now) - now for breaker in resting.values()],
            )
            await connection.execute(
                "DELETE FROM resting_hosts WHERE host = ANY($1)", list(news - resting.keys())
            )
        self._notices.tell(notices.HOSTS, sorted(news))


def _log(host: str, what: str) -> None:
    logger.info("the breaker of %s %s", host, what, extra={"host": host})


def _now() -> float:
    return asyncio.get_running_loop().time()
