"""Calls and schedules as JSON: names and values as Python has them, and nothing in disguise."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dispatch.calls.v1.schedules_pb2 import ScheduleInfo as ScheduleMessage
from dispatch.calls.v1.schedules_pb2 import ScheduleOverlap
from google.protobuf.any_pb2 import Any as AnyProto
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import CallInfo, ScheduleInfo, Status, marshal, new_call
from dispatch_grpc.cli.input import duration, read_call
from dispatch_grpc.client.as_json import duration_text
from dispatch_grpc.schema import Call
from dispatch_grpc.schema import CallInfo as CallMessage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
UNKNOWN = AnyProto(type_url="type.googleapis.com/un.known", value=b"\1\2")


def call_message(**fields: Any) -> CallMessage:
    message = CallMessage(dispatch_id="one", function="f", endpoint="http://x", **fields)
    message.creation_time.FromDatetime(NOON)
    return message


def test_a_call_that_failed():
    message = call_message(state="CALL_STATE_FINISHED", status=Status.PERMANENT_ERROR, runs=2)
    message.labels["order"] = "o1"
    message.result.error.type, message.result.error.message = "ValueError", "é"
    message.result.error.traceback = b"Traceback\n  f()"
    info = CallInfo.of(message)
    found = info.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found.keys() == {name for name in vars(info) if name != "message"}
    assert (found["state"], found["status"], found["runs"]) == ("finished", "PERMANENT_ERROR", 2)
    assert found["error"] == {
        "type": "ValueError",
        "message": "é",
        "traceback": "Traceback\n  f()",
    }
    assert found["creation_time"] == "2026-01-31T12:00:00+00:00"
    assert (found["finish_time"], found["parent_dispatch_id"]) == (None, None)
    assert found["labels"] == {"order": "o1"}


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (marshal("text"), "text"),
        (marshal(None), None),
        (marshal(NOON), "2026-01-31T12:00:00+00:00"),
        (UNKNOWN, {"@type": "type.googleapis.com/un.known", "value": "AQI="}),
    ],
)
def test_outputs(output: AnyProto, shown: Any):
    message = call_message(state="CALL_STATE_FINISHED", status=Status.OK)
    assert "output" not in CallInfo.of(message).to_dict()  # as `list` has it
    message.result.output.CopyFrom(output)
    assert CallInfo.of(message).to_dict()["output"] == shown


def test_a_schedule():
    message = ScheduleMessage()
    call = new_call("http://x", "f", {"a": 1}, expiration=timedelta(minutes=90), version="1.2")
    message.schedule.name = "s"
    message.schedule.overlap = ScheduleOverlap.SCHEDULE_OVERLAP_BUFFER_ONE
    message.schedule.call.CopyFrom(call)
    message.schedule.every.FromTimedelta(timedelta(seconds=90))
    message.firings.add(dispatch_id="one").scheduled_time.FromDatetime(NOON)
    message.next_times.add().FromDatetime(NOON)
    info = ScheduleInfo.of(message)
    found = info.to_dict()
    assert found.keys() == {name for name in vars(info) if name != "message"}
    assert (found["overlap"], found["every"], found["cron"]) == ("buffer_one", "1m30s", None)
    noon = NOON.isoformat()
    assert found["firings"] == [{"scheduled_time": noon, "dispatch_id": "one"}]
    assert found["next_times"] == [noon]
    # Its call is a line of `dispatch-grpc batch`.
    assert read_call(json.dumps(found["call"]).encode())[0] == call


@pytest.mark.parametrize("input", [None, UNKNOWN])
def test_the_call_of_a_schedule(input: AnyProto | None):
    message = ScheduleMessage()
    message.schedule.call.CopyFrom(Call(endpoint="http://x", function="f", input=input))
    found = ScheduleInfo.of(message).to_dict()["call"]
    assert found == {
        "endpoint": "http://x",
        "function": "f",
        **({} if input is None else {"input": {"@type": UNKNOWN.type_url, "value": "AQI="}}),
    }


@given(st.timedeltas(timedelta(0), timedelta(days=999_999)))
def test_the_command_line_reads_durations(value: timedelta):
    text = duration_text(value)
    assert duration(text) == value
    assert re.fullmatch(r"(\d+(d|h|ms|us|m|s))+", text)
    assert value == timedelta(0) or duration_text(-value) == f"-{text}"
