"""An application, to be killed by tests: its transactions write an order and dispatch a call.

Arguments: a way (sql or outbox), the URL of its database, that of the endpoint, a seed.

The table `orders` has a row for each transaction that has committed. Some transactions fail on
purpose, after the call was dispatched.
"""

import asyncio
import random
import sys

import asyncpg

from dispatch_grpc import new_call, sql
from dispatch_grpc.outbox import Outbox

CREATE = "CREATE TABLE orders (number bigint PRIMARY KEY, calls int NOT NULL)"


async def main(way: str, database: str, endpoint: str, seed: str) -> None:
    rng = random.Random(seed)
    connection = await asyncpg.connect(database)
    sys.stdout.write("started\n")
    sys.stdout.flush()
    while True:
        number = rng.getrandbits(62)
        size = 1 if rng.random() < 0.7 else rng.randrange(2, 20)
        calls = [new_call(endpoint, "square", f"{number} {place}") for place in range(size)]
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO orders VALUES ($1, $2)", number, size)
        if way == "sql":
            await sql.dispatch_many(connection, calls)
        else:
            await Outbox().add(connection, *calls)
        await (transaction.rollback() if rng.random() < 0.2 else transaction.commit())
        await asyncio.sleep(rng.random() / 50)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
