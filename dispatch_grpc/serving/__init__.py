"""Serving: DispatchService as an ASGI application, and HTTP/1.1 and HTTP/2 on one port.

Only this room knows ASGI servers.
"""

from collections.abc import Callable
from typing import Any

ASGIApplication = Callable[[Any, Any, Any], Any]
"""An ASGI 3 application: scope, receive, send."""

LARGE_BYTES = 256 * 1024
"""Size from which messages are decoded, encoded and verified in a thread, beside the event loop."""
