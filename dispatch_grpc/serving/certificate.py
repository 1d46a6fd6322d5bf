"""A server's certificate, which is reloaded when its files change."""

import asyncio
import os
import ssl
from contextlib import suppress

from dispatch_grpc.log import logger

_CHECK_SECONDS = 5.0


class Certificate:
    """The certificate and key of a server.

    `context` belongs to the listening socket. A reload changes what it uses for new connections;
    open connections keep theirs.

    Args:
        certfile: File of the certificate chain (PEM).
        keyfile: File of the certificate's key; None if `certfile` contains it.
        client_ca_file: File of the authorities that must have issued the certificates of clients;
            None asks for no certificates.

    Raises:
        OSError: A file cannot be read; `ssl.SSLError` for a pair that does not fit.
    """

    def __init__(
        self, certfile: str, keyfile: str | None = None, client_ca_file: str | None = None
    ) -> None:
        self._certfile = certfile
        self._keyfile = keyfile
        self._client_ca_file = client_ca_file
        self._seen = self._state()
        self._current = self._load()
        self.context: ssl.SSLContext = self._current
        # The context of a listening socket cannot be replaced, and to load another pair into it
        # leaves it without any when the pair does not fit. So each handshake takes the current
        # one: Python calls this for clients that name no host, too.
        self.context.sni_callback = self._use_current

    def reload(self) -> bool:
        """Load the files again; returns whether they are used now.

        If the new pair cannot be used, that is logged and the previous one stays in use.
        """
        self._seen = self._state()
        try:
            self._current = self._load()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            logger.warning(
                "the certificate of %s cannot be loaded, and the previous one stays in use: %s",
                self._certfile,
                reason,
            )
            return False
        logger.info("the certificate of %s was reloaded", self._certfile)
        return True

    async def watch(self) -> None:
        """Load the files again whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            if self._state() != self._seen:
                self.reload()

    def _use_current(self, connection: ssl.SSLObject, *_: object) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._client_ca_file)
        if self._client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._certfile, self._keyfile, _no_password)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def _state(self) -> list[tuple[int, int, int]]:
        """Return the state of the files, to detect changes: renewals replace files or links."""
        found = []
        for name in (self._certfile, self._keyfile, self._client_ca_file):
            if name is not None:
                with suppress(OSError):  # it is being replaced
                    state = os.stat(name)
                    found.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return found


def _no_password() -> str:
    """Refuse an encrypted key, for which OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")
