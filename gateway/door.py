"""The evidence door as a server: HTTPS by uvicorn, on a thread of its own."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import Final

import uvicorn
from prometheus_client import Counter

from common.runtime.clock import Clock
from common.runtime.errors import ConfigError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from gateway.config import EvidenceSettings
from gateway.evidence import EvidenceFiles
from gateway.evidence_api import Door, Ledger, make_app

_HOUR_SECONDS: Final = 3600.0
_GRACE_SECONDS: Final = 3
_log = get_logger("door")


class EvidenceDoor:
    """Opened once, served until stopped."""

    def __init__(
        self,
        settings: EvidenceSettings,
        *,
        directory: Path,
        database_url: str,
        certificate: tuple[Path, Path],
        answers: Counter,
        clock: Clock,
    ) -> None:
        """``certificate`` is the server's certificate chain and its key, both PEM."""
        self._settings = settings
        try:
            self._files = EvidenceFiles(directory, settings.keep_free_mb * 2**20)
        except OSError as error:
            raise ConfigError(
                "gateway.evidence_folder",
                f"expected a folder for evidence that can be written at {directory}, got: {error.strerror}",
                "DRUMTOWER_EVIDENCE_DIR must be a folder that this account may write",
            ) from error
        self._ledger = Ledger(database_url)
        self._clock = clock
        self._socket: socket.socket | None = None
        app = make_app(Door(settings, self._files, self._ledger, clock), answers)
        try:
            config = uvicorn.Config(
                app,
                ssl_certfile=str(certificate[0]),
                ssl_keyfile=str(certificate[1]),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                server_header=False,
            )
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "gateway.certificate",
                f"the certificate {certificate[0]} with key {certificate[1]} cannot be used: {error}",
                "DRUMTOWER_TLS_CERT and DRUMTOWER_TLS_KEY must be a PEM pair that belong together",
            ) from error
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server = uvicorn.Server(config)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1]) if self._socket else self._settings.port

    def open(self) -> None:
        """Take the port.

        Raises:
            ConfigError: when it is taken.
        """
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            listening.close()
            raise ConfigError(
                "gateway.port_taken",
                f"the evidence door cannot listen on {host}:{port}: {error.strerror}",
                "end what listens there, or choose another: drumtower gateway run --evidence-port PORT",
            ) from error
        self._socket = listening

    def serve_until(self, stop: Stop) -> None:
        """Serve; ends some seconds after ``stop`` at the latest."""
        if self._socket is None:
            self.open()
        assert self._socket is not None
        threading.Thread(target=self._end_when, args=(stop,), name="door-stop", daemon=True).start()
        _log.info("evidence door open", host=self._settings.host, port=self.port)
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ledger.close()

    def _end_when(self, stop: Stop) -> None:
        while True:
            self._tidy()
            if stop.wait(_HOUR_SECONDS):
                break
        self._server.should_exit = True

    def _tidy(self) -> None:
        before = self._clock.now_ms() / 1000 - self._settings.partial_hours * _HOUR_SECONDS
        try:
            removed = self._files.remove_old_parts(before)
        except OSError as error:  # whoever waits for the end must not die of a disk
            _log.warning("old parts of evidence were not removed", error=str(error))
            return
        if removed:
            _log.info("removed parts of evidence that never became whole", files=removed)
