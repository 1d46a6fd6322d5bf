"""absurd doing what the service does with no-op functions, in its own virtual environment.

Arguments: database. With a second one it is the worker, a process of its own.

A call is a task of absurd: recorded before it runs, run at least once, its result kept. One client
spawns them, one after the other. The function runs in the worker, not behind an endpoint.
"""

import asyncio
import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from time import perf_counter, sleep
from typing import Any

# Not by the import statement: they are in no virtual environment where types are checked.
absurd: Any = import_module("absurd_sdk")
absurdctl: Any = import_module("absurdctl")
psycopg: Any = import_module("psycopg")

CONCURRENCY, POLL_SECONDS = 64, 0.05
LEFT = "SELECT count(*) FROM absurd.t_calls WHERE state NOT IN ('completed', 'failed')"


async def work(database: str) -> None:
    worker = absurd.AsyncAbsurd(database, queue_name="calls")

    @worker.register_task(name="f")  # type: ignore[untyped-decorator]
    async def nothing(number: int, _: object) -> int:
        return number

    running = asyncio.create_task(
        worker.start_worker(concurrency=CONCURRENCY, poll_interval=POLL_SECONDS)
    )
    await asyncio.to_thread(sys.stdin.read)
    worker.stop_worker()
    await running


def main(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
        client = absurd.Absurd(database, queue_name="calls")
        client.create_queue("calls")
        command = [sys.executable, "-m", "benchmarks.service.absurd", database, "worker"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
            print(json.dumps({"absurd": version("absurd-sdk")}), flush=True)
            for line in sys.stdin:
                _, count = json.loads(line)
                start = perf_counter()
                for number in range(count):
                    client.spawn("f", number, queue="calls")
                while connection.execute(LEFT).fetchone() != (0,):
                    sleep(0.01)
                print(json.dumps([(perf_counter() - start) / count]), flush=True)
            worker.communicate()
        client.close()


if __name__ == "__main__":
    if sys.argv[2:]:
        asyncio.run(work(sys.argv[1]))
    else:
        main(sys.argv[1])
