"""Connect in a forked child, by urllib3.

pyqwest does its I/O in threads of its own, which a child does not inherit: after the parent
has used it, every request of a child would wait for ever. So children send by urllib3.
"""

import ssl
import tempfile
import time

import urllib3
from pyqwest import Headers, SyncRequest, SyncResponse

from dispatch_grpc.transport.tls import TLSCredentials


class ForkedTransport:
    """A transport for pyqwest's `SyncClient` that has no threads."""

    def __init__(self, credentials: TLSCredentials | None) -> None:
        self._pool = urllib3.PoolManager(
            maxsize=100, retries=False, ssl_context=_context(credentials or TLSCredentials())
        )

    def execute_sync(self, request: SyncRequest) -> SyncResponse:
        """Send a request and read the whole answer."""
        milliseconds = request.headers.get("connect-timeout-ms")
        seconds = None if milliseconds is None else int(milliseconds) / 1000
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            response = self._pool.request(
                request.method,
                request.url,
                body=request.content,
                headers=dict(request.headers.items()),
                timeout=urllib3.Timeout(seconds),
                redirect=False,
                preload_content=False,
            )
            content = bytearray()
            while chunk := response.read1(65536):
                content += chunk
                if deadline is not None and time.monotonic() > deadline:
                    response.close()
                    raise TimeoutError
            response.release_conn()
        except urllib3.exceptions.NewConnectionError:  # which is a TimeoutError to urllib3
            raise
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError from error
        headers = Headers(response.headers.items())
        return SyncResponse(status=response.status, headers=headers, content=bytes(content))

    def close(self) -> None:
        """Close the connections that the transport opened itself."""
        self._pool.clear()


def _context(tls: TLSCredentials) -> ssl.SSLContext:
    roots = None if tls.root_certificates is None else tls.root_certificates.decode("ascii")
    context = ssl.create_default_context(cadata=roots)
    if tls.certificate_chain is not None and tls.private_key is not None:
        with tempfile.NamedTemporaryFile() as file:  # ssl reads certificates from files only
            file.write(tls.private_key + b"\n" + tls.certificate_chain)
            file.flush()
            context.load_cert_chain(file.name)
    return context
