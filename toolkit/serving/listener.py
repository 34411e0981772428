"""A listening socket that is closed without resetting anybody.

Closing a listener resets every connection that the kernel has set up and nobody has accepted, and between the last
look and the close there is always a moment for one more. So the door is locked first: a filter on the socket drops
the packets that begin a connection, those that have begun finish, the last are accepted, and then it is closed. Who
knocks meanwhile tries again after a second, as for a lost packet, and is told plainly that nobody listens.

Source: Linux `socket(7)`, SO_ATTACH_FILTER; RFC 9293 (TCP), section 3.1, for the flags. On other systems, or where
filters are not allowed, the moment stays: some microseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; Python names neither
FLAGS_OFFSET, SYN, SYN_OR_ACK = 13, 0x02, 0x12  # of a TCP header
WHOLE = 0xFFFF  # bytes of a packet that passes
# classic BPF, as (code, jump if true, jump if false, constant)
DROP_FIRST_PACKETS = (
    (0x30, 0, 0, FLAGS_OFFSET),  # load the byte of flags
    (0x54, 0, 0, SYN_OR_ACK),  # keep these two of them
    (0x15, 0, 1, SYN),  # SYN alone begins a connection
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, WHOLE),  # pass
)


def lock(listener: socket.socket) -> None:
    """Begin no more connections; every process that shares the socket is locked with it."""
    code = b"".join(struct.pack("=HBBI", *step) for step in DROP_FIRST_PACKETS)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(DROP_FIRST_PACKETS), ctypes.addressof(held))
    _set(listener, SO_ATTACH_FILTER, program)


def unlock(listener: socket.socket) -> None:
    """Take connections again: a worker may have locked the socket that its successor inherits."""
    _set(listener, SO_DETACH_FILTER, struct.pack("i", 0))


def accept_all(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait in the kernel; none is waited for."""
    listener.setblocking(False)
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(listener.accept()[0])
    return waiting


def _set(listener: socket.socket, option: int, value: bytes) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not allowed here, or nothing to take off
            listener.setsockopt(socket.SOL_SOCKET, option, value)
