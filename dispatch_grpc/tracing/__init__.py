"""Trace contexts, which go with calls from process to process; `spans` makes the spans.

A context is the text of a `traceparent` and, after a space, of its `tracestate`, if there is one
(W3C Trace Context).

Nothing here imports OpenTelemetry. A process that has not imported it has no span to continue and
no provider of spans, so that one look at `sys.modules` is all that it pays.
"""

import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

CREATION = "dispatch-creation-traceparent"
"""The header of a Run with the context in which the call was made, if `traceparent` is another."""
RESPONSE = "traceresponse"
"""The header of an answer with the context of the run."""
CALLS = "dispatch-calls-traceparent"
"""The header of an answer with the contexts of the calls that it makes, separated by commas: one
for each call, in their order, or one for all. Without it they belong below the run."""
NO_SPAN: AbstractContextManager[None] = nullcontext()

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")


def is_imported() -> bool:
    """Return whether the process has imported OpenTelemetry."""
    return "opentelemetry.trace" in sys.modules


def context_of(headers: Mapping[str, str]) -> str | None:
    """Return the context in headers or metadata; None without a valid `traceparent`."""
    parent = headers.get("traceparent", "").strip()
    if not _PARENT.fullmatch(parent):
        return None
    state = headers.get("tracestate", "").strip()
    return f"{parent} {state}" if _STATE.fullmatch(state) else parent


def contexts_of(header: str) -> list[str]:
    """Return the contexts in a header with several; none if one of them is invalid."""
    found = [context_of({"traceparent": parent}) for parent in header.split(",")]
    valid = [context for context in found if context is not None]
    return valid if len(valid) == len(found) else []


def headers_of(context: str | None) -> dict[str, str]:
    """Return the headers or metadata that carry a context."""
    if context is None:
        return {}
    parent, _, state = context.partition(" ")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}


def trace_id_of(context: str) -> str:
    """Return the id of the trace, 32 hexadecimal digits."""
    return context[3:35]
