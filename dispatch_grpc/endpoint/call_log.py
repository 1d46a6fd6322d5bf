"""The call that runs, on the records of any logger."""

import logging

from dispatch_grpc.endpoint.executor import running_call


class CallLogFilter(logging.Filter):
    """Puts the call that runs onto log records: `dispatch_id`, `function`, `attempt`.

    Add it to a handler, so that it sees the records of all loggers. Outside a call the texts are
    empty and `attempt` is 0; `attempt` is 0 as well if the service did not send it. Fields that a
    record has already stay as they are.

        handler = logging.StreamHandler()
        handler.addFilter(CallLogFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, and let the record pass."""
        call = running_call.get(None)
        fields = record.__dict__
        fields.setdefault("dispatch_id", call.dispatch_id if call else "")
        fields.setdefault("function", call.function if call else "")
        fields.setdefault("attempt", (call.attempt or 0) if call else 0)
        return True
