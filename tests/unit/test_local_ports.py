"""A server's port: chosen once, nobody else's while its process lives, and another when a stranger was faster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from local.paths import REPOSITORY
from local.ports import PortTakenError, ServicePort, free_port
from local.processes import ServiceError


@pytest.fixture
def strangers() -> Iterator[ExitStack]:
    """Programs that listen where a server was to."""
    with ExitStack() as stack:
        yield stack


def listen(strangers: ExitStack, port: int) -> None:
    stranger = strangers.enter_context(socket.socket())
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("127.0.0.1", port))
    stranger.listen()


def test_no_other_process_is_given_a_port_though_nobody_listens_on_it_yet() -> None:
    port = free_port()
    ask = (
        f"import local.ports as p; print(p._binding_error({port}), p._claim({port}), p._claim(p.free_port()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["None", "False", "False"]
    assert port not in {free_port() for _ in range(50)}


def test_a_port_chosen_at_the_first_start_is_kept_for_every_later_one() -> None:
    port = ServicePort("the server", None)
    with pytest.raises(ServiceError, match="the server has no port before its first start"):
        _ = port.number
    seen: list[int] = []
    port.start(seen.append)
    port.start(seen.append)
    assert seen == [port.number, port.number]


def test_where_a_stranger_was_faster_another_port_is_chosen(strangers: ExitStack) -> None:
    port, tried = ServicePort("the server", None), list[int]()

    def launch(number: int) -> None:
        tried.append(number)
        if len(tried) < 3:
            listen(strangers, number)
            raise PortTakenError(number, "the server")

    port.start(launch)
    assert len(set(tried)) == 3
    assert port.number == tried[-1]


def test_a_given_port_and_one_that_clients_know_are_never_exchanged(strangers: ExitStack) -> None:
    given, chosen = ServicePort("the server", free_port()), ServicePort("the server", None)
    chosen.start(lambda _: None)
    for port in (given, chosen):
        listen(strangers, port.number)
        with pytest.raises(PortTakenError, match=f"port {port.number} of 127.0.0.1 is taken") as refused:
            port.start(lambda _: pytest.fail("launched on a taken port"))
        assert (refused.value.code, "ss -ltnp" in refused.value.hint) == ("service.port_taken", True)


def test_a_server_that_finds_every_port_taken_gives_up_and_says_so() -> None:
    tried: list[int] = []

    def launch(number: int) -> None:
        tried.append(number)
        raise PortTakenError(number, "the server")

    with pytest.raises(PortTakenError):
        ServicePort("the server", None).start(launch)
    assert len(tried) == 5


def test_other_faults_of_a_start_are_not_tried_again() -> None:
    tried: list[int] = []

    def launch(number: int) -> None:
        tried.append(number)
        raise ServiceError("service.start_failed", "it did not start", "look at its log")

    with pytest.raises(ServiceError, match="did not start"):
        ServicePort("the server", None).start(launch)
    assert len(tried) == 1
