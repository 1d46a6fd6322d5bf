"""What gRPC clients expect of a server and the ASGI library does not do."""

from collections.abc import Collection
from typing import Any
from urllib.parse import quote, unquote

from dispatch_grpc.codes import Code
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.text import shorten

# What may stand in grpc-message as it is: printable ASCII apart from '%'. The library encodes all
# else than letters, which grpc-js, which decodes by decodeURI, shows as '%3A%20'.
_READABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class GRPCRules:
    """Answers gRPC requests that the application would answer by HTTP alone.

    Args:
        app: The application.
        paths: The paths of its methods.
    """

    def __init__(self, app: ASGIApplication, paths: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request of ASGI."""
        if scope["type"] != "http" or not _is_grpc(scope):
            await self._app(scope, receive, send)
        elif scope["http_version"].startswith("1"):
            await _refuse(scope, send, "gRPC needs HTTP/2; over HTTP/1.1 use Connect or gRPC-Web")
        elif scope["path"].removeprefix(scope.get("root_path", "")) not in self._paths:
            await _refuse(scope, send, f"there is no method {shorten(scope['path'], 200)}")
        else:

            async def readable(message: Any) -> None:
                if message["type"] == "http.response.trailers":
                    pairs = [(name, _readable(name, value)) for name, value in message["headers"]]
                    message = {**message, "headers": pairs}
                await send(message)

            await self._app(scope, receive, readable)


def _is_grpc(scope: Any) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value == b"application/grpc" or value.startswith(b"application/grpc+"))
    return False


def _readable(name: bytes, value: bytes) -> bytes:
    if name != b"grpc-message":
        return value
    return quote(unquote(value.decode("ascii")), safe=_READABLE).encode()


async def _refuse(scope: Any, send: Any, message: str) -> None:
    status = [
        (b"grpc-status", b"%d" % Code.UNIMPLEMENTED.value),
        (b"grpc-message", quote(message, safe=_READABLE).encode()),
    ]
    start = {"type": "http.response.start", "status": 200}
    headers = [(b"content-type", b"application/grpc")]
    if "http.response.trailers" in scope.get("extensions", {}):
        await send({**start, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b""})
        await send({"type": "http.response.trailers", "headers": status})
    else:
        length = [(b"content-length", b"0")]
        await send({**start, "headers": [*headers, *status, *length]})
        await send({"type": "http.response.body", "body": b""})
