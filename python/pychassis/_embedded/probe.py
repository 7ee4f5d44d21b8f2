"""Asks a unix socket whether the server behind it accepts connections.

Separate because it speaks just enough of PostgreSQL's protocol for that one
question: a start-up message, and the first byte of the answer.  It needs no
driver, so that waiting for a server costs neither its import nor an exception
per try.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import socket
import struct
from enum import Enum

__all__ = ["Answer", "probe"]

_PROTOCOL_3 = 196608


class Answer(Enum):
    """What the server said."""

    READY = "ready"
    ABSENT = "absent"  # nobody listens
    BUSY = "busy"  # starting up, shutting down, out of connection slots, silent
    REFUSED = "refused"  # listens, but will not have this user or database


def _startup_message(user: str, database: str) -> bytes:
    body = struct.pack("!i", _PROTOCOL_3)
    for word in ("user", user, "database", database, "application_name", "chassis"):
        body += word.encode() + b"\0"
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _sqlstate(error: bytes) -> str:
    """The C field of an ErrorResponse: type byte, length, then fields."""
    for field in error[5:].split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode("ascii", "replace")
    return ""


def _judge(reply: bytes) -> tuple[Answer, str]:
    if reply[:1] == b"R":
        return Answer.READY, ""
    if reply[:1] != b"E":
        return Answer.BUSY, ""
    state = _sqlstate(reply)
    # 57P03 cannot_connect_now, 57P01-2 shutting down, 53300 too many connections,
    # 53200/53100 out of memory or disk for this connection
    if state.startswith(("57P0", "53")):
        return Answer.BUSY, state
    return Answer.REFUSED, state


def probe(
    path: str, user: str, database: str, timeout: float = 5.0
) -> tuple[Answer, str]:
    """Connect to the socket ``path``; the answer and an error's SQLSTATE."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return Answer.ABSENT, ""
        except OSError:
            # backlog full, or no answer in time
            return Answer.BUSY, ""
        try:
            connection.sendall(_startup_message(user, database))
            answer = _judge(connection.recv(4096))
        except OSError:
            # it died or is stopping
            return Answer.BUSY, ""
        if answer[0] is Answer.READY:
            with contextlib.suppress(OSError):
                connection.sendall(b"X\0\0\0\4")
        return answer
