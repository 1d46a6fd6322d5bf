"""The end of a process that has used pyqwest with asyncio.

A thread of pyqwest hands each answer to the event loop by `call_soon_threadsafe`. The loop may have
the answer while the thread is still on its way out of that function, without Python's lock. When
the process has ended its work by then, up to Python 3.13 the interpreter ends the thread as soon
as it asks for the lock again, and a thread of Rust cannot be ended like this: the process aborts
(SIGABRT, nothing on stderr) after all went well. So the interpreter waits for such threads first.
"""

import atexit
import sys
import threading
import time

_SECONDS = 1.0  # a thread needs microseconds: this ends the wait for one that never leaves
_PAUSE_SECONDS = 0.000_5


def settle_at_exit() -> None:
    """Have the interpreter wait, when it ends, for threads that are not its own."""
    atexit.unregister(_settle)
    atexit.register(_settle)


def _settle() -> None:
    end = time.monotonic() + _SECONDS
    own = {thread.ident for thread in threading.enumerate()}
    while sys._current_frames().keys() - own and time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)  # which gives the lock away
