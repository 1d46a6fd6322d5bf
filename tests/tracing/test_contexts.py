"""Trace contexts as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc.tracing import context_of, headers_of, trace_id_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_context_comes_from_headers_and_becomes_headers():
    headers = {"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}
    context = context_of(headers)
    assert context is not None
    assert headers_of(context) == headers
    assert trace_id_of(context) == TRACE
    assert headers_of(context_of({"traceparent": f" {PARENT} "})) == {"traceparent": PARENT}
    assert headers_of(None) == {}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT},{PARENT}",
    ],
)
def test_a_parent_that_is_none_is_no_context(parent: str):
    assert context_of({"traceparent": parent, "tracestate": "a=1"}) is None


@pytest.mark.parametrize("state", ["", " ", "a=\nb", "a=é", "a" * 513])
def test_a_state_that_is_none_is_left_out(state: str):
    assert context_of({"traceparent": PARENT, "tracestate": state}) == PARENT


@given(st.text(), st.text())
def test_every_context_becomes_the_headers_that_it_came_from(parent: str, state: str):
    context = context_of({"traceparent": parent, "tracestate": state})
    assert context is None or context_of(headers_of(context)) == context
