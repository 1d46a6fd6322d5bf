"""The errors of requests to endpoints, instead of aiohttp's many."""

import os

import aiohttp

from dispatch_grpc.text import shorten


class AnswerError(Exception):
    """The answer cannot be read; the message says why."""


class TooLargeError(Exception):
    """The answer is larger than the limit."""


class ClosedError(ConnectionError):
    """The connection closed before the answer was complete."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the connection closed {what}")


class UnansweredError(ClosedError):
    """It closed before the answer began."""


def plain(error: aiohttp.ClientError) -> Exception:
    """Return the error that `Client.post` raises."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return error.certificate_error
        case aiohttp.ClientProxyConnectionError():
            return ConnectionError(f"the proxy cannot be reached: {cause_of(error.os_error)}")
        case aiohttp.ClientHttpProxyError():
            return ConnectionError(f"the proxy answered with HTTP status {error.status}")
        case aiohttp.ClientConnectorError():
            return error.os_error
        case aiohttp.ClientResponseError():
            # The first line; a parser's message goes on with the bytes that it read.
            reason = shorten(error.message.partition("\n")[0].rstrip(": "))
            return AnswerError(f"the endpoint does not speak HTTP/1.1: {reason}")
        case aiohttp.ClientPayloadError():
            return ClosedError("before the answer was complete")
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            return ClosedError("before the answer was complete")
        case aiohttp.ConnectionTimeoutError() | aiohttp.InvalidURL():
            return error
        case _:
            return UnansweredError("without an answer")


def cause_of(error: OSError) -> str:
    """Return the cause of an error, without the addresses that were tried."""
    return os.strerror(error.errno) if error.errno else str(error)
