"""The functions that `dispatch-grpc conformance` calls, in Python.

dispatch-grpc run conformance:endpoint
dispatch-grpc conformance http://127.0.0.1:8000
"""

from typing import Any, Never

from dispatch_grpc import Call, Endpoint, Status, workflow

endpoint = Endpoint("http://127.0.0.1:8000")


class FailedError(Exception):
    def __init__(self, status: str) -> None:
        super().__init__("as was asked")
        self.status = Status[status]


@endpoint.function
def echo(input: Any) -> Any:
    return input


@endpoint.function
def fail(status: str) -> Never:
    raise FailedError(status)


@endpoint.function
def crash(text: str) -> Never:
    raise RuntimeError(text)


@endpoint.workflow
async def relay(call: Call) -> Any:
    return await workflow.run(call)
