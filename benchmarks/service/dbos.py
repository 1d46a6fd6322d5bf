"""DBOS doing the job of the service, in its own virtual environment. Arguments: database, port.

A call is a workflow on a queue of DBOS with one step, which sends a POST to the endpoint: recorded
before it runs, run at least once, its result kept. The calls are enqueued by this process itself,
by several threads; the connections to the endpoint are kept.
"""

import http.client
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from time import perf_counter, sleep
from typing import Any

# Not by the import statement: they are in no virtual environment where types are checked.
dbos: Any = import_module("dbos")
psycopg: Any = import_module("psycopg")

THREADS = 16
BODY = b"\x0a\x01f" + bytes(200)  # about as large as a RunRequest
HEADERS = {"content-type": "application/proto", "connect-protocol-version": "1"}
UNFINISHED = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
_local = threading.local()


def main(database: str, port: str) -> None:
    def send() -> bytes:
        if not hasattr(_local, "connection"):
            _local.connection = http.client.HTTPConnection("127.0.0.1", int(port))
        connection = _local.connection
        connection.request("POST", "/dispatch.sdk.v1.FunctionService/Run", BODY, HEADERS)
        response = connection.getresponse()
        assert response.status == 200
        return bytes(response.read())

    post = dbos.DBOS.step(name="post")(send)

    def run(number: int) -> bytes:  # noqa: ARG001
        return bytes(post())

    call = dbos.DBOS.workflow(name="call")(run)

    def run_chain(count: int) -> None:
        for number in range(count):
            dbos.DBOS.enqueue_workflow("calls", call, number).get_result(polling_interval_sec=0.01)

    chain = dbos.DBOS.workflow(name="chain")(run_chain)

    config = {"name": "bench", "system_database_url": database, "log_level": "ERROR"}
    dbos.DBOS(config=config)
    dbos.DBOS.launch()
    dbos.DBOS.register_queue("calls", worker_concurrency=256, polling_interval_sec=0.05)
    with (
        ThreadPoolExecutor(THREADS) as pool,
        psycopg.connect(database, autocommit=True) as connection,
    ):

        def wait() -> None:
            while connection.execute(UNFINISHED).fetchone() != (0,):
                sleep(0.01)

        def queued(number: int) -> None:
            dbos.DBOS.enqueue_workflow("calls", call, number)

        def started(number: int) -> None:
            dbos.DBOS.start_workflow(call, number)

        def chained(count: int) -> None:
            dbos.DBOS.start_workflow(chain, count).get_result()

        print(json.dumps({"dbos": version("dbos")}), flush=True)
        for line in sys.stdin:
            name, count = json.loads(line)
            start = perf_counter()
            if name == "chain":
                chained(count)
            else:
                list(pool.map({"queued": queued, "started": started}[name], range(count)))
                wait()
            print(json.dumps([(perf_counter() - start) / count]), flush=True)
    dbos.DBOS.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
