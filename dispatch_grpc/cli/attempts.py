"""The attempts of a call, as `dispatch-grpc get` prints them."""

from datetime import UTC, datetime

from dispatch_grpc import CallInfo
from dispatch_grpc.cli.output import printable, time_text


def attempt_lines(call: CallInfo) -> list[str]:
    """Format the attempts of a call, the newest first; none if there is only one."""
    if len(call.attempts) < 2:
        return []
    now, lines = datetime.now(UTC), ["attempts:"]
    for attempt in reversed(call.attempts):
        error = ""
        if attempt.error is not None:
            first = attempt.error.message.strip().partition("\n")[0]
            error = f"{attempt.error.type}: {first}"
        time = time_text(attempt.end_time, now)
        parts = (str(attempt.run), time, attempt.status.name, attempt.host, error)
        lines.append("  " + "  ".join(printable(part) for part in parts if part))
    return lines
