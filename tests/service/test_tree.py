"""The tree of calls below a call, and the warning of hosts that stand still."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dispatch_grpc import Call, new_call
from dispatch_grpc.schema import CallResult, Error
from dispatch_grpc.service import store_accept
from dispatch_grpc.service.held_slots import HeldSlots
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.lanes import Lanes, lane_of
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.page.tree import Node, tree
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.service.urls import host_of
from tests.service.conftest import Bench

CALL = new_call("http://here.example", "f")


def new(parent: UUID | None = None, call: Call = CALL) -> NewCall:
    return NewCall(new_id(), call, Limits().expires_at(call, datetime.now(UTC)), parent_id=parent)


def record(bench: Bench, calls: Sequence[NewCall]) -> None:
    bench.run(lambda connection: store_accept.accept(connection, calls, datetime.now(UTC)))


def tree_of(bench: Bench, id: UUID) -> tuple[list[Node], bool]:
    found: tuple[list[Node], bool] = bench.run(lambda c: tree(c, id, datetime.now(UTC)))
    return found


@pytest.mark.parametrize(("levels", "is_more"), [(1, False), (8, False), (9, True)])
def test_a_tree_says_whether_there_is_more(bench: Bench, levels: int, is_more: bool):
    root = last = new()
    calls = [root]
    for _ in range(levels):
        last = new(last.id)
        calls.append(last)
    record(bench, calls)
    nodes, more = tree_of(bench, root.id)
    assert more is is_more
    depth = 0
    while nodes:
        (node,) = nodes
        nodes, depth = node.children, depth + 1
    assert depth == min(levels, 8)


def test_a_call_that_failed_without_an_error(bench: Bench):
    root = new()
    child = new(root.id)
    record(bench, [root, child])
    result = CallResult(dispatch_id=str(child.id)).SerializeToString()
    finish = (
        "UPDATE calls SET state = 4, status = 3, finished_at = now(), result = $2 WHERE id = $1"
    )
    bench.run(lambda connection: connection.execute(finish, child.id, result))
    (node,), _ = tree_of(bench, root.id)
    assert node.error == ""


def fail(bench: Bench, id: UUID, error: Error) -> None:
    """Set the last error of a call."""
    statement = "UPDATE calls SET last_error = $2 WHERE id = $1"
    bench.run(lambda connection: connection.execute(statement, id, error.SerializeToString()))


def test_an_error_that_is_large_is_not_read(bench: Bench):
    root = new()
    child = new(root.id)
    record(bench, [root, child])
    for size, is_read in ((1_000, True), (200_000, False)):
        fail(bench, child.id, Error(type="E", message="x" * size))
        (node,), _ = tree_of(bench, root.id)
        assert node.error.startswith("E: xxx") == is_read


@pytest.mark.parametrize("next_at", ["NULL", "now() - interval '1 s'"])
def test_calls_that_clients_wait_for_count_also_when_they_are_retried(
    bench: Bench, next_at: str, caplog: pytest.LogCaptureFixture
):
    waited_for = new()
    record(bench, [waited_for])
    bench.run(
        lambda c: c.execute(f"UPDATE calls SET next_at = {next_at} WHERE id = $1", waited_for.id)
    )
    lanes: Any = Lanes(10, 1)
    lane = lane_of(host_of(CALL.endpoint), CALL.function)
    lanes.take(lane)
    lanes.has_jobs(lane)
    held = HeldSlots(bench.database, lanes, lambda: [waited_for.id])

    async def main() -> None:
        for _ in range(3):
            await held.look()

    bench.runner.run(main())
    assert caplog.text.count("hold the slots that those calls need") == 1
