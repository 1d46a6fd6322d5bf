"""Renew state in forked children that does not survive a fork: locks, threads, event loops."""

import os
import weakref
from collections.abc import Callable
from typing import Any

_methods: "set[weakref.WeakMethod[Any]]" = set()


def renew_in_children(method: Callable[[], None]) -> None:
    """Call a method of an object in every forked child, before anything else runs there.

    Args:
        method: A bound method. Its object is not kept alive.
    """
    _methods.add(weakref.WeakMethod(method, _methods.discard))


def _renew() -> None:
    for reference in list(_methods):
        method = reference()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
