"""The checks of `dispatch-grpc conformance`: what a Dispatch service expects of an endpoint.

The endpoint hosts these functions; docs/polyglot.md describes them for readers in any language:

=======  ===========================================================================
name     behaviour
=======  ===========================================================================
`echo`   returns its input
`fail`   takes the name of a status, such as "THROTTLED", and fails with that status
`crash`  takes a text, and fails with an error of this message and no status
`relay`  takes a Call, suspends itself with it, and ends as that call did; optional
=======  ===========================================================================

A check does no I/O. It is a generator: it yields requests, is sent their answers, and raises
`Unmet` when an answer is not the expected one. `probe` sends the requests.
"""

from dispatch_grpc.testing.conformance.probe import (
    DEFAULT_TIMEOUT,
    Outcome,
    Result,
    conformance,
)

__all__ = ["DEFAULT_TIMEOUT", "Outcome", "Result", "conformance"]
