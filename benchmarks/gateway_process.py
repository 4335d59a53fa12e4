"""``drumtower gateway run`` against real services, for whoever measures it."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.broker import Broker

_START_S = 60.0


@contextmanager
def gateway_process(
    directory: Path, url: str, broker: Broker, settings: Path, foreign: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway that holds its lease and is connected; its log is ``gateway.log`` in the directory.

    Args:
        directory: of its credential and log.
        url: of the database, migrated.
        broker: running; an account is added to it.
        settings: the gateway's configuration file.
        foreign: topics of foreign devices that it may read.

    Raises:
        RuntimeError: with its last words, when it does not connect.
    """
    directory.mkdir(parents=True, exist_ok=True)
    credential = directory / "credential"
    credential.write_text(secrets.token_hex(16), encoding="utf-8")
    broker.add_gateway("gateway", credential.read_text(encoding="utf-8"), foreign)
    broker.reload()
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "DRUMTOWER_DATABASE_URL": url,
        "DRUMTOWER_BROKER_URL": broker.url,
        "DRUMTOWER_CA_FILE": str(broker.ca_file),
        "DRUMTOWER_CREDENTIAL_FILE": str(credential),
    }
    log = directory / "gateway.log"
    command = [sys.executable, "-m", "common.runtime.cli", "gateway", "run", "--config", str(settings)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _await_connected(process, log)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _await_connected(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while "connected to the broker" not in (said := log.read_text(encoding="utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the gateway did not connect: {said[-2000:]}")
        time.sleep(0.1)
