"""The connection under our own MQTT intake, against a server that chooses what lies in one piece."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from pathlib import Path

import pytest

from gateway.config import BrokerAddress
from gateway.mqtt.transport import Transport
from local.certificates import ensure_certificates

_PATIENCE_S = 60.0


def _say_and_end(listener: socket.socket, context: ssl.SSLContext, words: bytes) -> None:
    """Shake hands, then send the words and TLS's own end in one piece, and close."""
    connection, _ = listener.accept()
    connection.settimeout(_PATIENCE_S)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    with connection:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
        if words:
            tls.write(words)
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        connection.sendall(outgoing.read())


def _hear_all(transport: Transport, heard: list[bytes]) -> None:
    while select.select([transport], [], [], _PATIENCE_S)[0]:
        heard.append(bytes(transport.read()))


@pytest.mark.parametrize("words", [b"\xe0\x02\x8e\x00", b""], ids=["a DISCONNECT", "nothing"])
def test_last_words_in_one_piece_with_the_end_are_heard_before_it(tmp_path: Path, words: bytes) -> None:
    made = ensure_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = threading.Thread(target=_say_and_end, args=(listener, context, words))
        server.start()
        transport = Transport(
            BrokerAddress("127.0.0.1", port, True, "gateway", "secret", made.authority), _PATIENCE_S
        )
        heard: list[bytes] = []
        with pytest.raises(ConnectionResetError):
            _hear_all(transport, heard)
        transport.close()
        server.join(_PATIENCE_S)
    assert b"".join(heard) == words
