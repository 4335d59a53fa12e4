"""Where the ticket centre is put together; nowhere else is anything wired."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final

import uvicorn
from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry

from cloud import openapi, problem
from cloud.api import api, operations
from cloud.assessment.api import assessment
from cloud.assessment.kept import keep_ready
from cloud.audit.service import anchor_due
from cloud.auth.endpoints import access
from cloud.auth.guard import guard
from cloud.auth.oidc import Oidc
from cloud.auth.service import AuthService
from cloud.auth.tokens import TokenService
from cloud.body_limit import BodyLimit
from cloud.calendar.api import calendar
from cloud.calendar.repo import sync_years
from cloud.calendar.service import CalendarWatch
from cloud.config import CloudSettings, Environment, Role
from cloud.console import api as console
from cloud.console.assessment_pages import router as assessment_pages
from cloud.console.oidc_pages import router as oidc_pages
from cloud.console.proof_pages import router as proof_pages
from cloud.console.report_pages import router as report_pages
from cloud.console.shelf_pages import router as shelf_pages
from cloud.console.storm_pages import router as storm_pages
from cloud.db import Database
from cloud.district.api import rules
from cloud.duty.api import duty
from cloud.duty.watch import DutyWatch
from cloud.exports.api import exports
from cloud.idempotency import repo as kept_answers
from cloud.idempotency.middleware import KEPT_FOR, Idempotency
from cloud.incidents.repo import sync_categories
from cloud.incidents.service import IncidentService
from cloud.limits import RateLimit
from cloud.listening import listen
from cloud.notify.service import Notifier, NotifyMetrics
from cloud.open311.api import open311
from cloud.photos.keeper import PhotoKeeper
from cloud.recurring.api import recurring
from cloud.recurring.service import RecurringWatch
from cloud.reports.api import public, reports
from cloud.reports.sealing import read_keys
from cloud.reports.service import forget
from cloud.services import Services
from cloud.severity.api import severity
from cloud.severity.service import raise_lasting
from cloud.shelf.api import shelf
from cloud.sla.service import escalate_due, fire_due, remind_of_reviews
from cloud.storm.api import storms
from cloud.storm.service import follow
from cloud.stream.repo import prune
from cloud.stream.service import StreamHub
from cloud.tickets.service import TicketService
from cloud.verify.api import verification
from cloud.verify.service import check_claims
from cloud.watch.service import Watch, WatchMetrics
from cloud.whistle.api import whistle
from cloud.whistle.watching import follow_calls
from cloud.worker import Worker, WorkerMetrics
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import ConfigError, DrumtowerError, TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.runtime.watchdog import Watchdog, watchdog_url

_log = get_logger("centre")
_GRACE_S: Final = 5
_SLOW_SWEEP_S: Final = 30.0
#: A worker with nothing to do still looks into the inbox every second.
_WORKS_WITHIN_S: Final = 30.0
#: Described by the OpenAPI document; each has its row in cloud/auth/access.py.
_ENDPOINTS: Final = (
    api,
    operations,
    rules,
    storms,
    duty,
    calendar,
    access,
    assessment,
    exports,
    reports,
    public,
    open311,
    verification,
    whistle,
    recurring,
    severity,
    shelf,
)
_PAGES: Final = (storm_pages, assessment_pages, oidc_pages, proof_pages, report_pages, shelf_pages)


def build_api(services: Services, run_stream: bool = True) -> FastAPI:
    """The web application around some services."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(services.stream.run()) if run_stream else None
        yield
        await services.stream.close()
        if following:
            await following

    app = FastAPI(
        title="Drumtower ticket centre",
        version="1",
        summary="Incidents, tickets, their clocks and their history.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(guard)],
    )
    app.state.services = services
    app.state.auth = services.auth
    app.state.tokens = TokenService(services.database, services.clock)
    app.state.oidc = None if services.oidc is None else Oidc(services.oidc, services.clock)
    problem.install(app)
    app.add_middleware(
        Idempotency,
        database=services.database,
        clock=services.clock,
        auth=services.auth,
        tokens=app.state.tokens,
    )
    app.add_middleware(BodyLimit, larger=_larger_bodies(services))
    for router in _ENDPOINTS:
        app.include_router(router)
    console.install(app)
    for router in _PAGES:
        app.include_router(router)
    openapi.install(app)
    return app


def _larger_bodies(services: Services) -> dict[str, int]:
    """Where photos come, and how many bytes of them."""
    photos = int((services.reports.photos * services.reports.photo_mb + 1) * 1_000_000)
    proof = int((services.verify.photo_mb + 1) * 1_000_000)
    return {
        "/api/public/reports": photos,
        "/open311/": photos,
        "/api/tickets/*/photos": proof,
        "/tickets/*/photos": proof,
    }


class Cloud:
    """The ticket centre as a process: the web interface, workers and the sweeper, or only some of them.

    Args:
        settings: its habits.
        environment: its places.
        clock: what time it is.
        role: which parts.
        host, port: where the web interface listens; port 0 chooses a free one.
    """

    def __init__(
        self,
        settings: CloudSettings,
        environment: Environment,
        clock: Clock,
        role: Role = "all",
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._role = role
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._failed: list[str] = []
        self._database = Database(environment.database_url, settings.connections)
        self.registry = CollectorRegistry()
        self._workers: list[Worker] = []
        keys = environment.personal_keys_file
        self._personal_keys = read_keys(keys) if keys is not None else None

    @property
    def url(self) -> str:
        """Where the web interface listens, once started."""
        if self._socket is None:
            raise RuntimeError("the web interface is not started")
        return "http://{}:{}".format(*self._socket.getsockname()[:2])

    def start(self) -> None:
        """Take the port and reach the database.

        Raises:
            DrumtowerError: the port is taken, or the database is not of this release.
            TransientError: the database does not answer.
        """
        if self._role != "worker":
            self._socket = listen(*self._address)
        self._database.open()
        with self._database.transaction() as transaction:
            if transaction.one("SELECT to_regclass('ticket') AS it")["it"] is None:
                raise ConfigError(
                    "cloud.no_schema",
                    "expected a database with the schema of this release, found one without tickets",
                    "run: drumtower schema migrate",
                )
            sync_categories(transaction)
            sync_years(transaction)

    def run(self, stop: Stop) -> None:
        """Work until stopped.

        Raises:
            DrumtowerError: when a part could not go on; its log says why.
        """
        parts: list[tuple[str, Callable[[Stop], None]]] = []
        if self._role != "api":
            metrics = WorkerMetrics(self.registry)
            for number in range(1, self._settings.workers + 1):
                worker = Worker(self._database, self._settings.fusion, self._clock, metrics, str(number))
                self._workers.append(worker)
                parts.append((f"worker {number}", worker.run))
            parts.append(("sweeper", self._sweep))
            told = NotifyMetrics(self.registry)
            parts += Notifier(self._database, self._settings.notify, self._clock, told).parts()
        if self._role != "worker":
            parts.append(("web interface", self._serve))
        evidence = self._environment.evidence_directory
        if evidence is not None:
            keeper = PhotoKeeper(self._database, evidence, self._personal_keys, self._clock)
            parts.append(("photo keeper", keeper.run))
        parts += self._watching()
        with ThreadPoolExecutor(len(parts), thread_name_prefix="part") as pool:
            for name, part in parts:
                ended = partial(self._ended, name, stop)
                pool.submit(part, stop).add_done_callback(ended)
            _log.info("the ticket centre works", parts=[name for name, _ in parts])
            stop.wait()
        self.close()
        if self._failed:
            raise DrumtowerError(
                "cloud.part_failed", "; ".join(self._failed), "the log above says where; start it again"
            )

    def _watching(self) -> list[tuple[str, Callable[[Stop], None]]]:
        """What looks about, and what tells a watcher outside that all is well."""
        settings = self._settings.watch
        metrics = WatchMetrics(self.registry)
        watchdog = Watchdog(
            watchdog_url(settings),
            settings.watchdog_every_s,
            self._why_not,
            sent=metrics.heartbeats.inc,
            failed=metrics.heartbeats_failed.inc,
        )
        return [
            ("watch", Watch(self._database, settings, metrics, self._clock).run),
            ("watchdog", watchdog.run_on),
        ]

    def _why_not(self) -> str:
        """What keeps this process from its work."""
        now = self._clock.monotonic()
        if any(now - worker.worked_at > _WORKS_WITHIN_S for worker in self._workers):
            return "a worker does not get through the inbox"
        try:
            with self._database.transaction() as transaction:
                transaction.run("SELECT 1")
        except TransientError as error:
            return error.message
        return ""

    def close(self) -> None:
        """Give up the port and the connections."""
        if self._socket is not None:
            self._socket.close()
        self._database.close()

    def _ended(self, name: str, stop: Stop, part: Future[None]) -> None:
        """A part that meets a bug ends the process in order; its supervisor starts it again."""
        error = part.exception()
        if error is not None:
            _log.error("a part of the ticket centre failed", failed=name, exc_info=error)
            self._failed.append(f"the {name} failed: {type(error).__name__}: {error}")
        elif not stop.is_set():
            self._failed.append(f"the {name} ended by itself")
        stop.set(f"{name} ended")

    def _sweep(self, stop: Stop) -> None:
        """Fire clocks, escalate, remind, follow storms, verify claims; now and then look at what changes slowly."""
        calendars = CalendarWatch(self._database, self.registry)
        rota = DutyWatch(self._database, self.registry)
        places = RecurringWatch(self._database)
        next_slow = self._clock.monotonic()
        while not stop.wait(self._settings.sweep_s):
            now = to_datetime(self._clock.now_ms())
            try:
                fire_due(self._database, now)
                escalate_due(self._database, now)
                remind_of_reviews(self._database, now)
                follow(self._database, now)
                check_claims(self._database, self._settings.verify, now)
                follow_calls(self._database, self._settings.whistle, now)
                if self._clock.monotonic() >= next_slow:
                    check_claims(self._database, self._settings.verify, now, blind=True)
                    calendars.look(now)
                    rota.look(now)
                    raise_lasting(self._database, now)
                    places.look(now)
                    forget(self._database, self._settings.reports, now)
                    anchor_due(self._database, self._settings.audit, now)
                    keep_ready(self._database, now)
                    with self._database.transaction() as transaction:
                        prune(transaction, now - timedelta(hours=self._settings.stream_keep_h))
                        kept_answers.prune(transaction, now - KEPT_FOR)
                    next_slow = self._clock.monotonic() + _SLOW_SWEEP_S
            except TransientError as error:
                _log.warning("the sweep is put off", error=error.message)

    def _services(self) -> Services:
        return Services(
            database=self._database,
            tickets=TicketService(self._database, self._clock),
            incidents=IncidentService(self._database),
            auth=AuthService(self._database, self._clock),
            stream=StreamHub(self._database, self.registry),
            rules=self._settings.fusion,
            evidence_directory=self._environment.evidence_directory,
            watch=self._settings.watch,
            verify=self._settings.verify,
            whistle=self._settings.whistle,
            clock=self._clock,
            oidc=self._settings.oidc,
            reports=self._settings.reports,
            open311=self._settings.open311,
            personal_keys=self._personal_keys,
            visitors=RateLimit(self._clock, self._settings.reports.public_per_minute),
        )

    def _serve(self, stop: Stop) -> None:
        assert self._socket is not None
        asyncio.run(self._serve_until(stop, [self._socket]))

    async def _serve_until(self, stop: Stop, sockets: Sequence[socket.socket]) -> None:
        services = self._services()
        server = uvicorn.Server(
            uvicorn.Config(
                build_api(services),
                log_config=None,
                access_log=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=list(sockets)))
        stopping = asyncio.create_task(asyncio.to_thread(stop.wait))
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            self._failed.append("the web interface ended by itself")
            stop.set("web interface ended")
        # Streams never end by themselves, and the server waits for its connections: let them go first.
        await services.stream.close()
        server.should_exit = True
        await asyncio.gather(serving, stopping)
