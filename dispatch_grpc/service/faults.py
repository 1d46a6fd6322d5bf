"""Errors of the database: who is to blame for one, and whether the database works at all."""

import time
from enum import Enum

import asyncpg

from dispatch_grpc.log import service_logger as logger

_CALM_SECONDS = 5.0


class Fault(Enum):
    """Who is to blame for an error of the database."""

    ITEM = "the values that were sent: the same statement fails again"
    CONFLICT = "another transaction: try again at once"
    AWAY = "the database, or the way to it: try again later"


# Values that do not fit (22), constraints (23), limits of the program (54).
_ITEM_CLASSES = {"22", "23", "54"}


def classify(error: BaseException) -> Fault | None:
    """Return who is to blame for an error; None if it does not come from the database."""
    if isinstance(error, asyncpg.PostgresError):
        kind = str(getattr(error, "sqlstate", ""))[:2]
        if kind in _ITEM_CLASSES:
            return Fault.ITEM
        return Fault.CONFLICT if kind == "40" else Fault.AWAY
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Fault.ITEM  # a value that asyncpg cannot encode
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        return Fault.AWAY
    return None


def was_refused(error: BaseException) -> bool:
    """Whether an error says that the database did nothing: what breaks on the way may be done."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, asyncpg.PostgresConnectionError
    )


def is_transient(error: BaseException) -> bool:
    """Whether the database may well do the same thing later."""
    return classify(error) in {Fault.CONFLICT, Fault.AWAY}


class Health:
    """Whether the database works, as those who use it find; logs each change once."""

    def __init__(self) -> None:
        self._away_since: float | None = None
        self._failed_at = 0.0

    def noted(self, error: BaseException) -> bool:
        """Note an error of the database; return whether it is one."""
        fault = classify(error)
        if fault in {Fault.AWAY, Fault.ITEM}:  # after a conflict the database works
            self.failed(error)
        return fault is not None

    def failed(self, error: BaseException) -> None:
        """Note that the database could not do something."""
        self._failed_at = time.monotonic()
        if self._away_since is None:
            self._away_since = self._failed_at
            logger.warning(
                "the database does not work, and is tried again: %s: %s",
                type(error).__name__,
                # With its hint, on one line.
                " ".join(str(error).split()) or "it did not answer in time",
            )

    def worked(self) -> None:
        """Note that the database has done something."""
        if self._away_since is None:
            return
        now = time.monotonic()
        if now - self._failed_at >= _CALM_SECONDS:  # other statements may still fail
            logger.warning(
                "the database works again, after %.1f s", self._failed_at - self._away_since
            )
            self._away_since = None
