"""A process of the service as `dispatch-grpc serve` runs it. Arguments: database, API key.

It prints its URL as a line of JSON, and serves until its input ends. Given a third argument, it is
profiled, and what took longest is written to this file.
"""

import asyncio
import cProfile
import gc
import json
import pstats
import sys
from pathlib import Path

import uvloop

from dispatch_grpc.service import Service, ServiceSettings


async def main(database: str, key: str) -> None:
    settings = ServiceSettings(database=database, port=0, api_keys=[key])
    async with Service.open(settings) as service:
        gc.freeze()
        print(json.dumps({"url": service.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[3:]:
        profile = cProfile.Profile()
        profile.runcall(uvloop.run, main(*sys.argv[1:3]))
        with Path(sys.argv[3]).open("w") as file:
            pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(60)
    else:
        uvloop.run(main(*sys.argv[1:]))
