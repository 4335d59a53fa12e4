"""One Modbus line and the only module that knows pymodbus: many sensors share the connection, one question at a time.

No question is asked twice in one turn, and none is asked of a unit that still owes an answer: on a serial line answers
carry no number, so a late one would be taken for the answer to the next question (MODBUS over Serial Line V1.02,
section 2.4.1: the master waits out its response time-out, then a turnaround).
"""

from __future__ import annotations

import logging
import socket
import termios
from typing import Final

import serial
from pymodbus import ExceptionResponse, FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException
from pymodbus.pdu import ModbusPDU

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from edge.sensors.modbus_config import BIT_TABLES, LineSettings, SerialLineSettings, TcpLineSettings
from edge.sensors.modbus_registers import Block
from edge.sensors.port import SensorLostError

_FUNCTIONS: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
#: So many questions without an answer on a network line: its connection is given up, for the other end may be gone.
_DEAF: Final = 3
#: What a device may say instead of an answer (MODBUS Application Protocol V1.1b3, section 7), and what to do then.
_REFUSALS: Final = {
    1: ("it does not know this function", "is `table` right? many have holding registers only"),
    2: (
        "it has no such address",
        "are `table` and `address` right? data sheets often count from 1, or from 40001",
    ),
    3: ("it does not give so many at once", "does a value of two registers begin at this address?"),
    4: ("it has failed", "look at the device"),
    5: ("it is still busy with it", "ask less often: every_s"),
    6: ("it is busy", "ask less often: every_s"),
    10: ("the gateway has no way to the line", "look at the gateway's own settings"),
    11: ("nothing on the gateway's line answered", "is `unit_id` right, and has the sensor power?"),
}
_log = get_logger("modbus")


class ModbusLine:
    """A line that is opened when it is first needed, and opened again with growing patience when it was lost.

    Args:
        settings: where it is and how it is spoken to.
        clock: monotonic time for patience.
    """

    def __init__(self, settings: LineSettings, clock: Clock) -> None:
        self.where = settings.where
        self._settings = settings
        self._clock = clock
        self._client = _client_of(settings)
        self._patience_s = settings.reconnect_s
        self._closed_because = ""
        self._retry_at = 0.0
        self._owes_until: dict[int, float] = {}
        self._unanswered = 0
        self._rest_until = 0.0
        self._rest_s = settings.pause_s
        if isinstance(settings, SerialLineSettings):
            # Frames are told apart by a silence of three and a half characters.
            self._rest_s = max(settings.pause_s, 3.5 * 11 / settings.baud)

    def read(self, unit_id: int, block: Block) -> list[int]:
        """Ask one unit for a block.

        Returns:
            Its registers (0…65535), or its bits.

        Raises:
            SensorLostError: it did not answer, refused, or the line is not there.
        """
        owes = self._owes_until.get(unit_id, 0.0) - self._clock.monotonic()
        if owes > 0:
            raise SensorLostError(
                "modbus.no_answer",
                f"expected unit {unit_id} at {self.where} to answer, it still owes one answer",
                "it is asked again shortly",
            )
        self._open()
        self._clock.sleep(self._rest_until - self._clock.monotonic())
        try:
            answer = self._ask(unit_id, block)
        except (ConnectionException, OSError, termios.error) as error:
            raise self._lose(error) from error
        except ModbusException as error:
            raise self._unanswered_by(unit_id, block) from error
        finally:
            self._rest_until = self._clock.monotonic() + self._rest_s
        self._unanswered = 0
        return self._values(unit_id, block, answer)

    def close(self) -> None:
        """Let the line go; the next question opens it again."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _ask(self, unit_id: int, block: Block) -> ModbusPDU:
        ask = {
            "coil": self._client.read_coils,
            "discrete": self._client.read_discrete_inputs,
            "holding": self._client.read_holding_registers,
            "input": self._client.read_input_registers,
        }[block.table]
        return ask(block.start, count=block.count, device_id=unit_id)

    def _values(self, unit_id: int, block: Block, answer: ModbusPDU) -> list[int]:
        function = _FUNCTIONS[block.table]
        if isinstance(answer, ExceptionResponse) and answer.function_code == function | 0x80:
            said, hint = _REFUSALS.get(answer.exception_code, (f"code {answer.exception_code}", ""))
            raise SensorLostError(
                "modbus.refused",
                f"expected unit {unit_id} at {self.where} to give {block}, it refused: {said}",
                hint,
            )
        values = [int(bit) for bit in answer.bits] if block.table in BIT_TABLES else list(answer.registers)
        # Bits come in whole bytes.
        whole = -(-block.count // 8) * 8 if block.table in BIT_TABLES else block.count
        if answer.function_code != function or len(values) != whole:
            # Somebody else's answer, or one to an older question.
            raise self._unanswered_by(unit_id, block)
        return values[: block.count]

    def _open(self) -> None:
        if self._client.socket is not None:
            return
        now = self._clock.monotonic()
        if now < self._retry_at:
            raise self._no_line()
        try:
            _connect(self._client, self._settings)
        except (OSError, ValueError, termios.error) as error:
            raise self._lose(error) from error
        self._patience_s = self._settings.reconnect_s
        self._owes_until.clear()
        _log.info("modbus.open", line=self.where)

    def _lose(self, error: Exception) -> SensorLostError:
        """The line is not there: nobody tries for a while."""
        self.close()
        reason = getattr(error, "strerror", None) or str(error)
        self._closed_because = "a lost connection" if isinstance(error, ConnectionException) else reason
        self._retry_at = self._clock.monotonic() + self._patience_s
        self._patience_s = min(self._patience_s * 2, self._settings.longest_reconnect_s)
        return self._no_line()

    def _no_line(self) -> SensorLostError:
        return SensorLostError(
            "modbus.no_line",
            f"expected a Modbus line at {self.where}, got: {self._closed_because}",
            "is the adapter plugged in, may this account use it, and does nothing else (`drumtower edge run`)?"
            if isinstance(self._settings, SerialLineSettings)
            else "check host, port and cable; most controllers let in only a few at a time",
        )

    def _unanswered_by(self, unit_id: int, block: Block) -> SensorLostError:
        self._owes_until[unit_id] = self._clock.monotonic() + self._settings.timeout_s
        self._unanswered += 1
        transport = self._settings.transport
        # Without numbers on answers only a new connection is free of late ones; with them, one that died quietly is not.
        if transport == "rtu_over_tcp" or (transport == "tcp" and self._unanswered >= _DEAF):
            self.close()
            self._unanswered = 0
        power = "has the sensor power, and is `unit_id` right"
        wires = "; do speed and parity match, and are A and B the right way round?"
        return SensorLostError(
            "modbus.no_answer",
            f"expected unit {unit_id} at {self.where} to give {block} within {self._settings.timeout_s:g} s, "
            "got no whole answer",
            power + (wires if isinstance(self._settings, SerialLineSettings) else "?"),
        )


def _client_of(settings: LineSettings) -> ModbusTcpClient | ModbusSerialClient:
    # It writes to the process's root logger what is told as a SensorLostError here.
    logging.getLogger("pymodbus").propagate = False
    logging.getLogger("pymodbus").addHandler(logging.NullHandler())
    if isinstance(settings, TcpLineSettings):
        framer = FramerType.RTU if settings.transport == "rtu_over_tcp" else FramerType.SOCKET
        return ModbusTcpClient(
            settings.host, port=settings.port, framer=framer, timeout=settings.timeout_s, retries=0
        )
    return ModbusSerialClient(
        settings.port,
        baudrate=settings.baud,
        parity=settings.parity[0].upper(),
        stopbits=settings.stop_bits,
        handle_local_echo=settings.echo,
        timeout=settings.timeout_s,
        retries=0,
    )


def _connect(client: ModbusTcpClient | ModbusSerialClient, settings: LineSettings) -> None:
    """Open the line ourselves: the client's own way keeps the reason of a failure to its log."""
    if isinstance(client, ModbusTcpClient):
        assert isinstance(settings, TcpLineSettings)
        client.socket = socket.create_connection((settings.host, settings.port), settings.timeout_s)
        return
    assert isinstance(settings, SerialLineSettings)
    client.socket = serial.Serial(
        settings.port,
        baudrate=settings.baud,
        parity=settings.parity[0].upper(),
        stopbits=settings.stop_bits,
        timeout=settings.timeout_s,
        write_timeout=settings.timeout_s,
        exclusive=True,
    )
