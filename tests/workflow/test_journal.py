"""The journal: its way through a service, and what is refused."""

import asyncio
import base64
import contextlib
import random
import zlib
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from hypothesis import example, given
from hypothesis import strategies as st

from dispatch_grpc import CallError, Endpoint, marshal, new_call, unmarshal, workflow
from dispatch_grpc.schema import CallResult, Journal, PollResult, RunRequest, State
from dispatch_grpc.testing import Runner
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.activation import Activation
from tests.workflow.scheduler import begin


def journal(size: int = 0) -> Journal:
    made = journals.new_journal(b"n" * 16, marshal("x" * size), 1_700_000_000_000_000, "7")
    made.entries.add(command_id=1, command={"kind": "COMMAND_KIND_CALL", "name": "a"})
    made.entries.add(command_id=1, elapsed_us=5, outcome={"output": marshal(3)})
    made.entries.add(elapsed_us=5, wake={})
    return made


@pytest.mark.parametrize("size", [0, 100_000])
def test_there_and_back(size: int):
    state = journals.encode(journal(size))
    assert journals.decode(state) == journal(size)
    assert len(state.value) < 2_000  # compressed when it is large


EARLIER = (
    "CAES+QMKEJZAKEtLAcE8ZJsF/9wVuwwSNAoudHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucHJvdG9idWYuSW50Nj"
    "RWYWx1ZRICCAMaBgiA4s+qBiolCWkhgjtub3MaGhoIARIGZG91YmxlIeNqboEHVvMSKgMwLjEwASolCSsIi3kle1Tg"
    "GhoIARIGZG91YmxlIZR2atlPX2B0KgMwLjIwASoZCfLzVR9lGrzfGg4IAhIDaW50KgMwLjMwASpBCfLzVR9lGrzfIj"
    "YKNAoudHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucHJvdG9idWYuSW50NjRWYWx1ZRICCAUqRAlpIYI7bm9zGhDo"
    "ByI2CjQKLnR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnByb3RvYnVmLkludDY0VmFsdWUSAggGKkQJKwiLeSV7VO"
    "AQ6AciNgo0Ci50eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5wcm90b2J1Zi5JbnQ2NFZhbHVlEgIICCojCf/oPYtg"
    "NkgMGhgIARIGZG91YmxlIfz0iysRHBi7KgEwMAEqBhDpkHoqACoTCTYRisyPdNdJGggIAxIEbGF0ZSojCUXYO2Nh5p"
    "ciGhgIARIGZG91YmxlIWON6aoI4KJKKgEwMAI6CEXYO2Nh5pciIPkDLXTHJ7E="
)
"""A journal that was written before the function `dispatch.cancel` came, and its last call's id."""
EARLIER_ID = 2_492_714_224_723_941_445


def test_a_journal_of_an_earlier_version_goes_on():
    """Ids, lanes, hashes and random numbers are as they were; also after a task was cancelled."""
    endpoint = Endpoint("http://one.example.com", env={})

    @endpoint.function
    def double(number: int) -> int:
        return 2 * number

    @endpoint.workflow
    async def work(number: int) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double.run(number + i)) for i in range(2)]
            step = group.create_task(workflow.step(int, "5"))
        found = [task.result() for task in tasks] + [step.result(), str(workflow.uuid4())]
        try:
            async with asyncio.timeout(2):
                await double.run(7)
        except TimeoutError:
            found.append(workflow.patched("late"))
        return [*found, await double.run(100)]

    state = AnyProto(type_url=journals.STATE_URL, value=base64.b64decode(EARLIER))
    result = CallResult(correlation_id=EARLIER_ID, output=marshal(200))
    resumed = PollResult(typed_coroutine_state=state, results=[result])
    response = asyncio.run(endpoint.run(RunRequest(function="work", poll_result=resumed)))
    wanted = [6, 8, 5, "de0da288-f7fe-40a0-af6b-e1917b31eda4", True, 200]
    assert unmarshal(response.exit.result.output) == wanted


def refused(state: AnyProto) -> str:
    with pytest.raises(workflow.JournalError) as caught:
        journals.decode(state)
    return str(caught.value)


def packed(data: bytes, **fields: Any) -> AnyProto:
    values = {"version": 1, "journal_bytes": len(data), "checksum": zlib.crc32(data), **fields}
    state = State(journal=data, **values)
    return AnyProto(type_url=journals.STATE_URL, value=state.SerializeToString())


def cut(state: AnyProto) -> AnyProto:
    """The state without the end of its journal."""
    found = State.FromString(state.value)
    found.journal = found.journal[:-2]
    return AnyProto(type_url=state.type_url, value=found.SerializeToString())


def test_what_is_refused():
    data = journal().SerializeToString()
    assert journals.decode(packed(data)) == journal()
    assert "not the journal" in refused(marshal("x"))
    assert "not the journal" in refused(AnyProto())
    assert "version 2" in refused(packed(data, version=2))
    assert "cannot be decoded" in refused(AnyProto(type_url=journals.STATE_URL, value=b"\xff"))
    assert "checksum" in refused(packed(data, checksum=1))
    assert "checksum" in refused(packed(data[:-1] + b"x", checksum=zlib.crc32(data)))
    assert "checksum" in refused(cut(journals.encode(journal())))
    assert "does not end" in refused(cut(packed(zlib.compress(data), compression=1)))
    assert "unknown way" in refused(packed(data, compression=9))
    assert "cannot be unpacked" in refused(packed(data, compression=1))
    bomb = zlib.compress(bytes(10**8))
    assert "64000000 that are read" in refused(packed(bomb, compression=1, journal_bytes=10**8))
    assert "does not end" in refused(packed(bomb, compression=1, journal_bytes=10**6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j: j.ClearField("nonce"), "nonce: 16 bytes"),
        (lambda j: j.entries.add(command_id=2, outcome={"output": {}}), "outcome of no command"),
        (lambda j: j.entries.add(command_id=1, elapsed_us=9, outcome={"output": {}}), "no command"),
        (lambda j: j.entries.add(command_id=1, command={"kind": 1}), "two commands have one id"),
        (lambda j: j.entries.add(command_id=9, command={"kind": 77}), "unknown kind 77"),
        (lambda j: j.entries.add(command_id=9), "unknown kind of entry"),
        (lambda j: j.entries.add(wake={}, elapsed_us=4), "time goes back"),
        (lambda j: j.unsent.append(9), "unsent: 1 ids"),
        (lambda j: j.polled.append(9), "polled: 1 ids"),
        (lambda j: setattr(j.start_time, "nanos", 2_000_000_000), "start_time"),
    ],
)
def test_parts_that_do_not_fit_together(change: Any, message: str):
    forged = journal()
    change(forged)
    assert message in refused(packed(forged.SerializeToString()))


@given(st.binary(max_size=300))
@example(b"")
def test_no_bytes_do_harm(data: bytes):
    for state in (packed(data), AnyProto(type_url=journals.STATE_URL, value=data)):
        with contextlib.suppress(workflow.JournalError):
            journals.decode(state)


@given(st.integers(0, 2**32))
def test_a_flipped_bit_is_seen(seed: int):
    chance = random.Random(seed)
    state = journals.encode(journal(100))
    data = bytearray(state.value)
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    try:
        found = journals.decode(AnyProto(type_url=state.type_url, value=bytes(data)))
    except workflow.JournalError:
        return
    assert found == journal(100)


def resumed(endpoint: Endpoint, result: PollResult) -> Any:
    return asyncio.run(endpoint.run(RunRequest(function="waits", poll_result=result)))


@pytest.mark.parametrize("state", [marshal("x"), packed(b"", version=2)])
def test_a_state_that_is_no_journal_is_incompatible(state: AnyProto):
    endpoint = Endpoint("http://one.example.com", env={})

    @endpoint.workflow
    async def waits() -> None:
        await workflow.run(new_call("http://one.example.com", "a"))

    response = resumed(endpoint, PollResult(typed_coroutine_state=state))
    assert response.status == 8  # INCOMPATIBLE_STATE
    response = resumed(endpoint, PollResult(coroutine_state=b"old"))
    assert response.status == 8


def test_a_journal_over_its_bound_ends_the_workflow():
    endpoint = Endpoint("http://one.example.com", env={})

    @endpoint.function
    def large(number: int) -> str:
        return "x" * 10_000

    @endpoint.workflow(max_journal_bytes=50_000)
    async def greedy() -> None:
        for number in range(10):
            await large.run(number)

    with pytest.raises(CallError, match=r"more than 50000 bytes.*ContinueAsNew") as caught:
        Runner(endpoint).run(greedy.call())
    assert caught.value.status.name == "PERMANENT_ERROR"


def test_a_large_journal_is_warned_of(caplog: pytest.LogCaptureFixture):
    endpoint = Endpoint("http://one.example.com", env={})

    @endpoint.function
    def large(number: int) -> str:
        return "x" * 100_000

    @endpoint.workflow
    async def greedy() -> None:
        for number in range(6):
            await large.run(number)

    Runner(endpoint).run(greedy.call())
    assert caplog.text.count("raise workflow.ContinueAsNew") == 1


def test_a_journal_holds_what_a_request_does_not():
    async def code() -> None:
        await workflow.run(new_call("http://one.example.com", "a"))

    activation = begin(code)
    kept = journals.decode(activation.poll(0).typed_coroutine_state)
    activation.discard()
    assert isinstance(activation, Activation)
    assert (kept.code_version, len(kept.nonce)) == ("1", 16)
    assert kept.input == marshal(None)
