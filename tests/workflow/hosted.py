"""An endpoint with workflows, to be killed by tests. Arguments: a file, a port.

Each effect notes a line in the file.
"""

import asyncio
import os
import sys

from dispatch_grpc import Endpoint, workflow
from dispatch_grpc.serving import one_port, sockets

endpoint = Endpoint("http://127.0.0.1:1")  # the port is not known yet
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(text: str) -> str:
    os.write(log, f"{text}\n".encode())
    return text


@endpoint.function
async def effect(key: str) -> str:
    return note(f"call-{key}")


@endpoint.function
def held(key: str) -> str:
    """Wait with a client, as a workflow would not."""
    return endpoint.client().wait(effect.dispatch(key), str, timeout=60)


def local(key: str) -> str:
    return note(f"step-{key}")


@endpoint.workflow
async def alternate(key: str) -> list[str]:
    """Five calls and five steps, one after the other."""
    found = []
    for number in range(5):
        found.append(await effect.run(f"{key}-{number}"))
        found.append(await workflow.step(local, f"{key}-{number}"))
    return found


@endpoint.workflow
async def chain(count: int) -> int:
    """So many calls, one after the other."""
    done = 0
    for number in range(count):
        done += len(await effect.run(str(number))) > 0
    return done


@endpoint.workflow
async def fan_out(count: int) -> int:
    """So many calls at the same time."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(effect.run(str(number))) for number in range(count)]
    return sum(task.result() == f"call-{number}" for number, task in enumerate(tasks))


@endpoint.workflow
async def deep(depth: int) -> int:
    """Waits for itself."""
    return 0 if depth == 0 else 1 + await deep.run(depth - 1)


@endpoint.workflow
async def patient(seconds: float) -> float:
    begin = workflow.now()
    await asyncio.sleep(seconds)
    return (workflow.now() - begin).total_seconds()


@endpoint.workflow
async def impatient(seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            await patient.run(3600)
    except TimeoutError:
        return "late"
    return "in time"


@endpoint.workflow
async def cancels() -> str:
    """Cancels a call before it is made, and one that is under way."""
    first = asyncio.ensure_future(effect.run("never made"))
    await asyncio.sleep(0)
    first.cancel()
    long = asyncio.ensure_future(patient.run(3600))
    await effect.run("made")
    long.cancel()
    await effect.run("after")
    return "done"


@endpoint.workflow
async def approved(key: str) -> list[object]:
    """Waits for results from outside, whose ids it notes."""
    found: list[object] = []
    for number in range(2):
        approval = await workflow.external(bool)
        await workflow.step(note, f"{key}-{number}={approval.id}")
        found.append(await approval)
    return found


@endpoint.workflow
async def countdown(left: int) -> str:
    await effect.run(f"left-{left}")
    if left:
        raise workflow.ContinueAsNew(left - 1)
    return "end"


@endpoint.function
def refuse(what: str) -> None:
    raise PermissionRefusedError(what, 403)


class PermissionRefusedError(Exception):
    status = workflow.WorkflowError.status  # final


endpoint.errors(PermissionRefusedError)


@endpoint.workflow
async def careful() -> list[object]:
    try:
        await refuse.run("the door")
    except PermissionRefusedError as error:
        return list(error.args)
    return []


async def main() -> None:
    listener = sockets.listen(port=int(sys.argv[2]))
    endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(f"{endpoint.url}\n")
    sys.stdout.flush()
    await one_port.serve(endpoint.app, listener, until=asyncio.Event().wait)


if __name__ == "__main__":
    asyncio.run(main())
