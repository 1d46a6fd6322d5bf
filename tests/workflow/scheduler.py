"""A scheduler for activations without I/O: it ends calls in any order and grouping."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dispatch_grpc import marshal, unmarshal
from dispatch_grpc.schema import Call, CallResult, Journal, Poll
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.activation import Activation

if TYPE_CHECKING:
    from dispatch_grpc.workflow.outcomes import Step

START_US = 1_700_000_000_000_000


def begin(code: Callable[[], Any], **options: Any) -> Activation:
    """The first activation of a workflow."""
    journal = journals.new_journal(b"n" * 16, marshal(None), START_US, "1")
    activation = Activation(code, journal, **options)
    activation.start(fresh=True)
    return activation


def resume(code: Callable[[], Any], poll: Poll, **options: Any) -> Activation:
    """A further activation, of the journal that a Poll carries; only the replay."""
    activation = Activation(code, journals.decode(poll.typed_coroutine_state), **options)
    activation.start()
    return activation


def answer(call: Call) -> CallResult:
    """The result of a call: by its name, `fail...` or an echo of the input."""
    result = CallResult(correlation_id=call.correlation_id, dispatch_id="x")
    if call.function.startswith("fail"):
        result.error.type, result.error.message = "ValueError", str(unmarshal(call.input))
    else:
        result.output.CopyFrom(marshal([call.function, unmarshal(call.input)]))
    return result


class Scheduler:
    """Runs a workflow to its end, one activation after the other.

    Args:
        code: Starts the workflow.
        chance: Decides which results come when.
        never: Names of functions whose calls never end.
        noise: Whether results also come twice, late, and for calls that never were.
    """

    def __init__(
        self,
        code: Callable[[], Any],
        chance: random.Random,
        *,
        never: frozenset[str] = frozenset(),
        noise: bool = False,
    ) -> None:
        self._code, self._chance, self._never, self._noise = code, chance, never, noise
        self._now_us = START_US
        self.activations = 0
        self.journal: Journal | None = None
        self.left: list[str] = []

    def _steps(self, activation: Activation) -> None:
        steps: list[Step] = []
        while not activation.done:
            while (step := activation.next_step()) is not None:
                steps.append(step)
            if not steps:
                return
            step = steps.pop(self._chance.randrange(len(steps)))
            result: Any = None
            error = None
            try:
                result = step.function(*step.args, **step.kwargs)
            except Exception as raised:
                error = raised
            self._now_us += 1000
            activation.end_step(step.id, result, error, self._now_us)

    def run(self) -> Any:
        """Return what the workflow returns, or raise what it raises."""
        activation = begin(self._code)
        open_: list[CallResult] = []
        late: list[CallResult] = []
        while True:
            self.activations += 1
            self._steps(activation)
            activation.wake(self._now_us)
            if activation.done:
                result, error = activation.outcome
                self.journal, self.left = activation.journal, activation.left
                activation.discard()
                if error is not None:
                    raise error
                return result
            poll = activation.poll(self._now_us)
            activation.discard()
            open_ += [answer(call) for call in poll.calls if call.function not in self._never]
            self._chance.shuffle(open_)
            count = min(len(open_), self._chance.randint(poll.min_results, poll.max_results))
            if len(open_) < poll.min_results:
                self._now_us += poll.max_wait.ToMicroseconds()
                count = len(open_)
            results, open_ = open_[:count], open_[count:]
            late += results
            if self._noise:
                results = [*results, *self._chance.sample(late, min(len(late), 2))]
                results.append(CallResult(correlation_id=self._chance.getrandbits(64)))
                self._chance.shuffle(results)
            self._now_us += 1000
            activation = resume(self._code, poll)
            activation.deliver(results, None, self._now_us)
