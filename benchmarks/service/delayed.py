"""How late delayed calls begin: `python -m benchmarks.service.delayed 0 1`.

The arguments are millions of calls that are due much later. Beside them, 1,000 calls a second come
due for a minute. The rows are made by the database. A call's input is the time at which it is due,
and the endpoint notes how long after that its request comes.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from dispatch.sdk.v1.function_pb2 import RunRequest

from benchmarks.processes import cpu_seconds, started
from benchmarks.service.endpoint import EXIT, Connection
from dispatch_grpc import marshal, unmarshal
from dispatch_grpc.service.embedded import Embedded
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.urls import host_of

KEY = "benchmark-key"
RATE, SECONDS, LEAD, CHUNK = 1000, 60, 20, 50_000

# The input is a text of 13 digits: milliseconds since 1970, after the first bytes of its Any.
_FILL = """
WITH new AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, to_timestamp($3::float8 + n / $4::float8) AS due
    FROM generate_series($1::bigint, $2::bigint - 1) AS n
), recorded AS (
    INSERT INTO calls (id, root_id, correlation_id, endpoint, function, version, input, next_at,
        expires_at, created_at)
    SELECT id, id, 0, $5, 'f', '',
        $7 || convert_to((extract(epoch FROM due) * 1000)::bigint::text, 'UTF8'),
        due, due + interval '1 hour', now()
    FROM new
)
SELECT count(*) FROM new, LATERAL enqueue(ARRAY[0], ARRAY[$6::text],
    ARRAY[uuid_send(id) || int4send(0)], ARRAY[due - now()], ARRAY[NULL::text],
    ARRAY['null'::jsonb])
"""
_PREFIX = marshal("0" * 13).SerializeToString()[:-13]
_SCANNED = """
SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables
WHERE relname IN ('calls', 'pgqueuer')
"""


class Noting(Connection):
    """Answers each request immediately, and notes how late it comes."""

    late: list[float]

    def run(self, body: bytes) -> bytes:
        due = int(unmarshal(RunRequest.FromString(body).input, str)) / 1000
        self.late.append(time.time() - due)
        return EXIT


async def measure(folder: Path, later: int) -> str:
    """Return a row of the table, for so many calls that are due much later."""
    embedded = Embedded(folder)
    await embedded.open()
    url = f"postgresql://postgres@/postgres?host={quote(str(folder / 'postgres'))}"
    late: list[float] = []
    server = await asyncio.get_running_loop().create_server(
        type("Here", (Noting,), {"late": late}), "127.0.0.1", 0
    )
    endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connection: Any = await asyncpg.connect(url, server_settings={"search_path": "dispatch_grpc"})
    with started(sys.executable, "service.process", url, KEY) as service:
        lane = lane_of(host_of(endpoint), "f")

        async def fill(number: int, rate: float, begin: float) -> None:
            for start in range(0, number, CHUNK):
                some = start, min(start + CHUNK, number)
                arguments = (*some, begin, rate, endpoint, lane, _PREFIX)
                await connection.fetch(_FILL, *arguments, timeout=600)

        await fill(later, later / 80_000 or 1, time.time() + 3600)
        await connection.execute("VACUUM ANALYZE", timeout=600)
        begin = time.time() + LEAD
        await fill(RATE * SECONDS, RATE, begin)
        await asyncio.sleep(max(begin - time.time(), 0))
        scanned, used = await connection.fetchval(_SCANNED), cpu_seconds(service.pid)
        deadline = time.time() + 2 * SECONDS
        while len(late) < RATE * SECONDS and time.time() < deadline:
            await asyncio.sleep(0.5)
        used = cpu_seconds(service.pid) - used
        await asyncio.sleep(2)  # the statistics follow a second later
        scanned = await connection.fetchval(_SCANNED) - scanned
    await connection.close()
    server.close()
    await embedded.close()
    late.sort()
    figures = (
        f"{later:,}",
        f"{len(late):,} of {RATE * SECONDS:,}",
        *(f"{late[int(len(late) * share)] * 1000:,.0f} ms" for share in (0.5, 0.99)),
        f"{late[-1] * 1000:,.0f} ms",
        f"{used / len(late) * 1000:,.2f} ms",
        f"{scanned / len(late):,.1f}",
    )
    return f"| {' | '.join(figures)} |"


def main(millions: list[float]) -> None:
    """Measure, and print a table."""
    print("| due much later | due | late, p50 | late, p99 | late at most | CPU, a call | rows |")
    print("|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for number in millions:
        with tempfile.TemporaryDirectory() as folder:
            print(asyncio.run(measure(Path(folder), round(number * 1_000_000))), flush=True)
    print(
        f"\n{RATE:,} calls a second come due, for {SECONDS} s. Late: when the endpoint has the\n"
        "request. CPU: of the service. Rows: read by sequential scans, a call."
    )


if __name__ == "__main__":
    main([float(argument) for argument in sys.argv[1:] or ("0", "1")])
