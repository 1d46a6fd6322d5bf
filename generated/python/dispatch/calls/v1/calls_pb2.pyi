from dispatch.sdk.v1 import call_pb2 as _call_pb2
from dispatch.sdk.v1 import error_pb2 as _error_pb2
from dispatch.sdk.v1 import status_pb2 as _status_pb2
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_STATE_UNSPECIFIED: _ClassVar[CallState]
    CALL_STATE_QUEUED: _ClassVar[CallState]
    CALL_STATE_RUNNING: _ClassVar[CallState]
    CALL_STATE_WAITING: _ClassVar[CallState]
    CALL_STATE_FINISHED: _ClassVar[CallState]
CALL_STATE_UNSPECIFIED: CallState
CALL_STATE_QUEUED: CallState
CALL_STATE_RUNNING: CallState
CALL_STATE_WAITING: CallState
CALL_STATE_FINISHED: CallState

class CallInfo(_message.Message):
    __slots__ = ("dispatch_id", "parent_dispatch_id", "root_dispatch_id", "endpoint", "function", "version", "state", "status", "runs", "creation_time", "expiration_time", "next_time", "finish_time", "result", "last_error", "correlation_id", "schedule", "scheduled_time", "start_time", "labels", "rerun_of_dispatch_id", "rerun_as_dispatch_id", "traceparent", "attempts")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CREATION_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RERUN_AS_DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    parent_dispatch_id: str
    root_dispatch_id: str
    endpoint: str
    function: str
    version: str
    state: CallState
    status: _status_pb2.Status
    runs: int
    creation_time: _timestamp_pb2.Timestamp
    expiration_time: _timestamp_pb2.Timestamp
    next_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    result: _call_pb2.CallResult
    last_error: _error_pb2.Error
    correlation_id: int
    schedule: str
    scheduled_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    rerun_of_dispatch_id: str
    rerun_as_dispatch_id: str
    traceparent: str
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, dispatch_id: _Optional[str] = ..., parent_dispatch_id: _Optional[str] = ..., root_dispatch_id: _Optional[str] = ..., endpoint: _Optional[str] = ..., function: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[_Union[CallState, str]] = ..., status: _Optional[_Union[_status_pb2.Status, str]] = ..., runs: _Optional[int] = ..., creation_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expiration_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., result: _Optional[_Union[_call_pb2.CallResult, _Mapping]] = ..., last_error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., correlation_id: _Optional[int] = ..., schedule: _Optional[str] = ..., scheduled_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., rerun_of_dispatch_id: _Optional[str] = ..., rerun_as_dispatch_id: _Optional[str] = ..., traceparent: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("run", "end_time", "host", "status", "error")
    RUN_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run: int
    end_time: _timestamp_pb2.Timestamp
    host: str
    status: _status_pb2.Status
    error: _error_pb2.Error
    def __init__(self, run: _Optional[int] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., host: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, str]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class Submission(_message.Message):
    __slots__ = ("call", "delay", "start_time", "labels", "traceparent", "tracestate")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CALL_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    call: _call_pb2.Call
    delay: _duration_pb2.Duration
    start_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    traceparent: str
    tracestate: str
    def __init__(self, call: _Optional[_Union[_call_pb2.Call, _Mapping]] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("submissions",)
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    submissions: _containers.RepeatedCompositeFieldContainer[Submission]
    def __init__(self, submissions: _Optional[_Iterable[_Union[Submission, _Mapping]]] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("dispatch_ids",)
    DISPATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    dispatch_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dispatch_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetCallRequest(_message.Message):
    __slots__ = ("dispatch_id",)
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    def __init__(self, dispatch_id: _Optional[str] = ...) -> None: ...

class GetCallResponse(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: CallInfo
    def __init__(self, call: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class ListCallsRequest(_message.Message):
    __slots__ = ("state", "status", "function", "endpoint", "created_after", "created_before", "parent_dispatch_id", "page_size", "page_token", "schedule", "labels", "dead")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PARENT_DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    state: CallState
    status: _status_pb2.Status
    function: str
    endpoint: str
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    parent_dispatch_id: str
    page_size: int
    page_token: str
    schedule: str
    labels: _containers.ScalarMap[str, str]
    dead: bool
    def __init__(self, state: _Optional[_Union[CallState, str]] = ..., status: _Optional[_Union[_status_pb2.Status, str]] = ..., function: _Optional[str] = ..., endpoint: _Optional[str] = ..., created_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., parent_dispatch_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., schedule: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., dead: bool = ...) -> None: ...

class ListCallsResponse(_message.Message):
    __slots__ = ("calls", "next_page_token")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[CallInfo]
    next_page_token: str
    def __init__(self, calls: _Optional[_Iterable[_Union[CallInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitCallRequest(_message.Message):
    __slots__ = ("dispatch_id", "max_wait")
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    max_wait: _duration_pb2.Duration
    def __init__(self, dispatch_id: _Optional[str] = ..., max_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitCallResponse(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: CallInfo
    def __init__(self, call: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class CancelCallRequest(_message.Message):
    __slots__ = ("dispatch_id",)
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    def __init__(self, dispatch_id: _Optional[str] = ...) -> None: ...

class CancelCallResponse(_message.Message):
    __slots__ = ("call", "cancelled")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    call: CallInfo
    cancelled: int
    def __init__(self, call: _Optional[_Union[CallInfo, _Mapping]] = ..., cancelled: _Optional[int] = ...) -> None: ...

class Pending(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompleteCallRequest(_message.Message):
    __slots__ = ("dispatch_id", "output", "error")
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    output: _any_pb2.Any
    error: _error_pb2.Error
    def __init__(self, dispatch_id: _Optional[str] = ..., output: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class CompleteCallResponse(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: CallInfo
    def __init__(self, call: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class RerunCallRequest(_message.Message):
    __slots__ = ("dispatch_id",)
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    def __init__(self, dispatch_id: _Optional[str] = ...) -> None: ...

class RerunCallResponse(_message.Message):
    __slots__ = ("dispatch_id",)
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    dispatch_id: str
    def __init__(self, dispatch_id: _Optional[str] = ...) -> None: ...

class CallFilter(_message.Message):
    __slots__ = ("status", "function", "endpoint", "created_after", "created_before", "finished_before", "dead")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    FINISHED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    function: str
    endpoint: str
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    finished_before: _timestamp_pb2.Timestamp
    dead: bool
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, str]] = ..., function: _Optional[str] = ..., endpoint: _Optional[str] = ..., created_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., finished_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., dead: bool = ...) -> None: ...

class RerunCallsRequest(_message.Message):
    __slots__ = ("filter", "validate_only", "expected_count", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: CallFilter
    validate_only: bool
    expected_count: int
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[CallFilter, _Mapping]] = ..., validate_only: bool = ..., expected_count: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class RerunCallsResponse(_message.Message):
    __slots__ = ("count", "next_page_token", "as_of_time")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    count: int
    next_page_token: str
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, count: _Optional[int] = ..., next_page_token: _Optional[str] = ..., as_of_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PurgeCallsRequest(_message.Message):
    __slots__ = ("filter", "validate_only", "expected_count", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: CallFilter
    validate_only: bool
    expected_count: int
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[CallFilter, _Mapping]] = ..., validate_only: bool = ..., expected_count: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class PurgeCallsResponse(_message.Message):
    __slots__ = ("count", "next_page_token", "as_of_time")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    count: int
    next_page_token: str
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, count: _Optional[int] = ..., next_page_token: _Optional[str] = ..., as_of_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("host", "function", "pause_time", "reason")
    HOST_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAUSE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    host: str
    function: str
    pause_time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, host: _Optional[str] = ..., function: _Optional[str] = ..., pause_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseCallsRequest(_message.Message):
    __slots__ = ("host", "function", "all", "reason")
    HOST_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    host: str
    function: str
    all: bool
    reason: str
    def __init__(self, host: _Optional[str] = ..., function: _Optional[str] = ..., all: bool = ..., reason: _Optional[str] = ...) -> None: ...

class PauseCallsResponse(_message.Message):
    __slots__ = ("pause",)
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    pause: Pause
    def __init__(self, pause: _Optional[_Union[Pause, _Mapping]] = ...) -> None: ...

class ResumeCallsRequest(_message.Message):
    __slots__ = ("host", "function", "all")
    HOST_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    host: str
    function: str
    all: bool
    def __init__(self, host: _Optional[str] = ..., function: _Optional[str] = ..., all: bool = ...) -> None: ...

class ResumeCallsResponse(_message.Message):
    __slots__ = ("pauses",)
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    pauses: _containers.RepeatedCompositeFieldContainer[Pause]
    def __init__(self, pauses: _Optional[_Iterable[_Union[Pause, _Mapping]]] = ...) -> None: ...

class ListPausesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPausesResponse(_message.Message):
    __slots__ = ("pauses",)
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    pauses: _containers.RepeatedCompositeFieldContainer[Pause]
    def __init__(self, pauses: _Optional[_Iterable[_Union[Pause, _Mapping]]] = ...) -> None: ...
