"""What the buttons of the page do, and the token that proves that a form is one of the page."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError
from dispatch_grpc.schema import PauseCallsRequest, ResumeCallsRequest
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.page.filters import as_of_in, chosen_in, expected_in, filters_of
from dispatch_grpc.service.page.requests import link
from dispatch_grpc.service.pauses import name_of
from dispatch_grpc.service.pausing import Pausing
from dispatch_grpc.service.rerunning import Rerunning
from dispatch_grpc.service.store_pause import Pause
from dispatch_grpc.service.watching import Watching

_HTTP = {
    Code.NOT_FOUND: 404,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 409,
    Code.ALREADY_EXISTS: 409,
    Code.RESOURCE_EXHAUSTED: 503,
}
_MAX_KEY_CHARACTERS = 100
_CALLS, _HOSTS = "/calls/", "/calls/hosts"
RERUN = "/calls/rerun"
_ACTIONS = ("/rerun", "/cancel", "/pause", "/resume")


def form_token(session: str) -> str:
    """Return the token that the forms of a session carry.

    Another site can have a browser send a form with the cookie of the session, but does not know
    the session, and so not this either.
    """
    return hmac.digest(session.encode(), b"dispatch-grpc: a form of the page", "sha256").hex()


def is_form_of(session: str, form: Mapping[str, str]) -> bool:
    """Return whether a form carries the token of a session."""
    return hmac.compare_digest(form.get("token", "").encode(), form_token(session).encode())


def status_of_error(error: RPCError) -> int:
    """Return the HTTP status for an error."""
    return _HTTP.get(error.code, 500)


class Actions:
    """The actions behind the buttons.

    Args:
        rerunning: Runs calls again.
        pausing: Pauses and resumes.
        watching: Cancels calls.
    """

    def __init__(self, rerunning: Rerunning, pausing: Pausing, watching: Watching) -> None:
        self._rerunning = rerunning
        self._pausing = pausing
        self._watching = watching

    def has(self, path: str) -> bool:
        """Return whether a path is that of an action."""
        return path.startswith(_CALLS) and path.endswith(_ACTIONS)

    async def pauses(self) -> list[tuple[str, Pause]]:
        """Return the pauses, each with the name of what is paused."""
        return [(name_of(one.host, one.function), one) for one in await self._pausing.pauses()]

    async def count_dead(self, filters: Mapping[str, Any], as_of: datetime) -> int:
        """Return how many dead letters that finished before a time match."""
        return await self._rerunning.count_dead(filters, as_of)

    async def act(self, path: str, form: Mapping[str, Any]) -> str:
        """Do what a form asks for, and return the path to go on to.

        Raises:
            RPCError: It cannot be done.
        """
        target: dict[str, Any] = {name: form.get(name, "").strip() for name in ("host", "function")}
        target["all"] = form.get("all") == "on"
        if path == f"{_CALLS}pause":
            reason = form.get("reason", "")
            await self._pausing.pause_calls(PauseCallsRequest(reason=reason, **target))
            return _HOSTS
        if path == f"{_CALLS}resume":
            await self._pausing.resume_calls(ResumeCallsRequest(**target))
            return _HOSTS
        if path == RERUN:
            as_of, expected = as_of_in(form), expected_in(form)
            filters = filters_of(form, as_of)
            done = await self._rerunning.rerun_dead({**filters, "dead": True}, as_of, expected)
            return link(RERUN, chosen_in(form), done=str(done))
        text, _, action = path.removeprefix(_CALLS).rpartition("/")
        id = parse_id(text)
        if id is None:
            raise RPCError("There is no call of this id.", code=Code.NOT_FOUND)
        if action == "cancel":
            await self._watching.cancel(id)
            return f"{_CALLS}{id}"
        key = form.get("key", "")[:_MAX_KEY_CHARACTERS]
        new = await self._rerunning.rerun(id, f"page\0{key}" if key else None)
        return f"{_CALLS}{new}"
