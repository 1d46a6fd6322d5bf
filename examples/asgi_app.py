"""A plain ASGI application that hosts functions of Dispatch below a path of its own.

    uvicorn examples.asgi_app:app --port 8000

Starlette does the same by `Mount("/dispatch", endpoint.app)`.
"""

from typing import Any

from dispatch_grpc import Endpoint

PREFIX = "/dispatch"
endpoint = Endpoint(f"http://127.0.0.1:8000{PREFIX}")  # calls go to this URL, so it has the path


@endpoint.function
async def sum_squares(values: list[int]) -> int:
    return sum(value * value for value in values)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan" or scope["path"].startswith(f"{PREFIX}/"):
        # root_path tells a mounted application its own prefix.
        below = {**scope, "root_path": scope.get("root_path", "") + PREFIX}
        await endpoint.app(below, receive, send)
    elif scope["type"] == "http":
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"The functions are below /dispatch.\n"})
