"""The parts of a process of the service, and its life."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from dispatch_grpc.service.accepting import Accepting
from dispatch_grpc.service.app import Application, Method, unkeyed
from dispatch_grpc.service.bodies import Bodies
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.completing import Completing
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import SAMPLE_SECONDS, Metrics
from dispatch_grpc.service.page import Actions, Page
from dispatch_grpc.service.pausing import Pausing
from dispatch_grpc.service.producing import SECONDS, Producing
from dispatch_grpc.service.rerunning import Rerunning
from dispatch_grpc.service.schedules import Schedules
from dispatch_grpc.service.settings import ServiceSettings
from dispatch_grpc.service.watching import Watching
from dispatch_grpc.service.worker import Worker
from dispatch_grpc.serving import one_port
from dispatch_grpc.serving.access import KeyRing
from dispatch_grpc.serving.certificate import Certificate

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_END_SECONDS = 5


class Process:
    """What runs calls, fires schedules and answers requests.

    Args:
        settings: How it is set up.
        database: The database, which is open.
        keys: The API keys.
        signing_key: Key to sign the requests to endpoints with; None disables signing.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        database: Database,
        keys: KeyRing,
        signing_key: "Ed25519PrivateKey | None",
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = Metrics()
        self._stopping = asyncio.Event()
        self._caller = Caller(
            signing_key=signing_key,
            allow_metadata=settings.worker.allow_metadata,
            max_response_bytes=settings.max_response_bytes,
            networks=settings.allow_networks,
            proxy=settings.endpoint_proxy,
            run_timeout=settings.worker.run_timeout,
            now=database.clock.now,
        )
        self._worker = Worker(database, self._caller, settings.worker, self._metrics)
        self._watching = Watching(database, self._worker.notices, self._worker.rates)
        self._worker.warn_of_held_slots(self._watching.waited_for)
        producing = Producing(
            database,
            settings.worker,
            max_backlog=settings.max_backlog,
            max_bytes=settings.max_request_bytes,
        )
        self._worker.add_chore(producing.tell, SECONDS)
        self._worker.add_chore(partial(self._metrics.sample, database), SAMPLE_SECONDS)
        self._schedules = Schedules(
            database,
            settings.worker,
            self._metrics,
            self._worker.notices,
            expect=self._worker.expect,
        )
        self._app = self._application(keys)

    def _application(self, keys: KeyRing) -> Bodies:
        database, worker, settings = self._database, self._worker, self._settings
        accepting = Accepting(
            database, worker, settings.worker, self._metrics, max_backlog=settings.max_backlog
        )
        rerunning = Rerunning(
            database, worker, settings.worker, self._metrics, max_backlog=settings.max_backlog
        )
        pausing = Pausing(database, worker.pauses)
        completing = Completing(database, worker, self._metrics)
        app = Application(
            accepting,
            _methods_of_calls(self._watching, completing, rerunning, pausing),
            _methods_of_schedules(self._schedules),
            self._metrics,
            keys=keys,
            max_request_bytes=settings.max_request_bytes,
            is_ready=lambda: not self._stopping.is_set() and worker.is_ready,
            is_alive=lambda: self._stopping.is_set() or worker.is_alive,
            stopping=self._stopping,
            page=Page(database, self._metrics, keys, Actions(rerunning, pausing, self._watching)),
        )
        return Bodies(app, worker.memory, settings.max_request_bytes)

    @asynccontextmanager
    async def running(
        self, listener: socket.socket, certificate: Certificate | None
    ) -> AsyncIterator[None]:
        """Run until the end of the block; then stop gracefully, and close the database.

        Args:
            listener: Where to listen.
            certificate: For `https`; None for `http`.
        """
        shutdown_seconds = self._settings.worker.shutdown_timeout.total_seconds()
        serving = asyncio.create_task(
            one_port.serve(
                self._app,
                listener,
                until=self._stopping.wait,
                certificate=certificate,
                graceful_seconds=shutdown_seconds,
            )
        )
        working = asyncio.create_task(self._worker.run())
        scheduling = asyncio.create_task(self._schedules.run())
        try:
            yield
        finally:
            try:
                self._stopping.set()
                self._watching.stop()
                scheduling.cancel()
                await asyncio.gather(serving, self._worker.stop(working))
                await self._caller.close()
            except BaseException:  # it is ended at once: nobody waits for what still runs
                self._database.terminate()
                working.cancel()  # or it would start the embedded database again
                await asyncio.wait({working}, timeout=_END_SECONDS)
                raise
            finally:
                await self._database.close()


def _methods_of_calls(
    watching: Watching, completing: Completing, rerunning: Rerunning, pausing: Pausing
) -> Mapping[str, Method]:
    """Return the methods of CallService, but for Submit."""
    return {
        "GetCall": unkeyed(watching.get_call),
        "ListCalls": unkeyed(watching.list_calls),
        "WaitCall": unkeyed(watching.wait_call),
        "CancelCall": unkeyed(watching.cancel_call),
        "CompleteCall": unkeyed(completing.complete_call),
        "RerunCall": rerunning.rerun_call,
        "RerunCalls": unkeyed(rerunning.rerun_calls),
        "PurgeCalls": unkeyed(rerunning.purge_calls),
        "PauseCalls": unkeyed(pausing.pause_calls),
        "ResumeCalls": unkeyed(pausing.resume_calls),
        "ListPauses": unkeyed(pausing.list_pauses),
    }


def _methods_of_schedules(schedules: Schedules) -> Mapping[str, Method]:
    """Return the methods of ScheduleService."""
    return {
        "CreateSchedule": unkeyed(schedules.create_schedule),
        "GetSchedule": unkeyed(schedules.get_schedule),
        "ListSchedules": unkeyed(schedules.list_schedules),
        "UpdateSchedule": unkeyed(schedules.update_schedule),
        "PauseSchedule": unkeyed(schedules.pause_schedule),
        "ResumeSchedule": unkeyed(schedules.resume_schedule),
        "TriggerSchedule": unkeyed(schedules.trigger_schedule),
        "DeleteSchedule": unkeyed(schedules.delete_schedule),
    }
