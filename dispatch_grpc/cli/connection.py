"""The connection of a command to the service: its options, and the client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from dispatch_grpc import AsyncClient, TLSCredentials
from dispatch_grpc.cli.options import add_options, duration_option

_T = TypeVar("_T")

MAX_TIMEOUT_DAYS = 365


def _pem_option(name: str, help: str) -> Callable[[Any], Any]:
    return click.option(name, metavar="FILE", type=click.File("rb"), help=help)


cacert_option: Callable[[Any], Any] = _pem_option(
    "--cacert", "PEM file with the certificate authorities to trust (default: the system's)."
)
connection_options: Callable[[Any], Any] = add_options(
    click.option(
        "--api-key",
        metavar="KEY",
        help="API key. Prefer DISPATCH_API_KEY: other users of this machine can read command "
        "lines.",
    ),
    click.option(
        "--api-url",
        metavar="URL",
        help="URL of the service, as 'serve' prints it (default: DISPATCH_API_URL).",
    ),
    click.option(
        "--protocol",
        type=click.Choice(["grpc", "connect", "connect+json"]),
        metavar="NAME",
        help="Protocol: grpc, connect or connect+json (default: DISPATCH_PROTOCOL, else grpc).",
    ),
    click.option(
        "--allow-plaintext",
        is_flag=True,
        help="Send the API key unencrypted to an http:// service on another machine.",
    ),
    cacert_option,
    _pem_option("--cert", "PEM file with the client certificate; it may hold the key too."),
    _pem_option("--key", "PEM file with the key of the client certificate."),
)
timeout_option: Callable[[Any], Any] = duration_option(
    "--timeout",
    "Time limit for the request and its retries (default: 10s).",
    max_days=MAX_TIMEOUT_DAYS,
)


def make_client(settings: dict[str, Any], **others: Any) -> AsyncClient:
    """Make a client with the given options; it accepts answers of any size."""
    given = {name: value for name, value in settings.items() if value}
    if (found := take_credentials(given)) is not None:
        given["credentials"] = found
    return AsyncClient(max_response_bytes=2**30 - 1, **given, **others)


def take_credentials(settings: dict[str, Any]) -> TLSCredentials | None:
    """Replace the options for certificates by what is in their files."""
    cacert, cert, key = (
        file.read() if (file := settings.pop(name, None)) else None
        for name in ("cacert", "cert", "key")
    )
    if cacert is cert is key is None:
        return None
    key = cert if key is None else key
    return TLSCredentials(root_certificates=cacert, certificate_chain=cert, private_key=key)


def with_client(client: AsyncClient, work: Callable[[], Awaitable[_T]]) -> _T:
    """Use a client in an event loop, where Ctrl-C interrupts every protocol immediately."""

    async def use() -> _T:
        async with client:
            return await work()

    return asyncio.run(use())
