"""A worker's end of what connects it with the process that started it (``workers``)."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import dataclass

PLACE = "HEADRACE_WORKER"
"""The variable that makes the same command a worker: numbers of its descriptors, and its lane of the metrics."""

LISTENS, READY, RETIRE = b"L", b"R", b"D"
"""I made this socket; requests can come; others have taken over, so end without haste."""

NOBODY = -1


@dataclass
class Place:
    """Where a worker stands."""

    control: socket.socket
    listener: socket.socket | None
    board: int
    lane: int
    is_replaced: bool = False  # whether other workers serve on when this one ends

    def environ(self) -> dict[str, str]:
        """What a process is started with to be here."""
        listener = NOBODY if self.listener is None else self.listener.fileno()
        return {PLACE: f"{self.control.fileno()} {listener} {self.board} {self.lane}"}

    def descriptors(self) -> tuple[int, ...]:
        """What that process has to inherit."""
        numbers = (self.control.fileno(), self.board)
        return numbers if self.listener is None else (*numbers, self.listener.fileno())

    def listens(self, listener: socket.socket) -> None:
        """Hand over the socket that this worker has made."""
        socket.send_fds(self.control, [LISTENS], [listener.fileno()])

    def is_ready(self) -> None:
        """Say that requests can come."""
        self.control.send(READY)

    def obey(self) -> None:
        """Turn a request to retire, or the end of the other process, into SIGTERM; to be run in a thread."""
        self.is_replaced = self.control.recv(1) == RETIRE
        os.kill(os.getpid(), signal.SIGTERM)


def placed() -> Place | None:
    """Where this process stands as a worker, None if it is none. Without its parent it stops."""
    told = os.environ.pop(PLACE, None)
    if told is None:
        return None
    control, listener, board, lane = map(int, told.split())
    place = Place(
        socket.socket(fileno=control), None if listener == NOBODY else socket.socket(fileno=listener), board, lane
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent's business, also when a whole group is told
    threading.Thread(target=place.obey, daemon=True).start()
    return place
