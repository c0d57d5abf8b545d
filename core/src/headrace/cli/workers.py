"""The process that holds the port and looks after its workers. It imports nothing of the gateway, so it stays small.

Each worker is this same command again with one end of a socket pair. It says there that it is ready, and the first one
which socket it has made; it sees the pair close when this process is gone, however it went.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from ..counting import Board
from .worker import LISTENS, READY, RETIRE, Place

log = logging.getLogger(__name__)

_AGAIN = "from headrace.cli import main; main()"
# A worker that ends sooner may well end again: a store that is not there, a file that is corrupt.
_PROVEN_S = 10.0
_PAUSE_S = 1.0


@dataclass(eq=False)
class Worker:
    """A process that is about to serve, serves, or finishes what it has begun."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    lane: int
    role: Literal["coming", "serving", "leaving"]
    began: float
    is_ready: bool = False


class Supervisor:
    """``count`` workers around one listening socket, which the first of them makes.

    The first starts alone: what is wrong with a configuration is told once. SIGHUP starts new ones in the same way,
    which read the configuration anew; when all of them are ready the old ones leave, and if one of them ends before,
    the old ones stay. A worker that dies is replaced. SIGTERM and SIGINT end all, each after what it has begun; a
    second one ends them at once.
    """

    def __init__(self, count: int, announce: Callable[[socket.socket], None]) -> None:
        """``announce`` hears of the socket once somebody answers there."""
        self._count = count
        self._announce = announce
        self._listener: socket.socket | None = None
        self._board = Board()
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._stops = 0  # signals to stop so far
        self._has_to_roll = True
        self._has_failed = False
        self._next_start = 0.0  # when a dead worker may be replaced

    def run(self) -> int:
        """Work until the last worker is gone; returns the exit code."""
        heard, wake = socket.socketpair()
        heard.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._hear_signal)
        self._selector.register(heard, selectors.EVENT_READ)
        told = 0
        while True:
            if told < self._stops:
                told = self._stops
                self._end(signal.SIGTERM if told == 1 else signal.SIGKILL)
            if self._is_ending and not self._workers:
                self._board.close()
                return int(self._has_failed)
            self._fill()
            for key, _ in self._selector.select(_PAUSE_S):
                if key.data is None:
                    with suppress(BlockingIOError):
                        heard.recv(1024)
                else:
                    self._hear(key.data)
            for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
                self._lost(worker)

    @property
    def _is_ending(self) -> bool:
        return bool(self._stops) or self._has_failed

    def _are(self, role: str) -> list[Worker]:
        return [worker for worker in self._workers if worker.role == role]

    # -- what is heard ------------------------------------------------------------------------------------

    def _hear_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._has_to_roll = True
        elif number != signal.SIGCHLD:
            self._stops += 1

    def _hear(self, worker: Worker) -> None:
        try:
            said, numbers, _, _ = socket.recv_fds(worker.control, 16, 1)
        except OSError:
            said, numbers = b"", []
        if LISTENS in said:
            self._listener = socket.socket(fileno=numbers[0])
        if READY in said:
            worker.is_ready = True
            self._advance()
        if not said:
            self._selector.unregister(worker.control)

    def _lost(self, worker: Worker) -> None:
        self._workers.remove(worker)
        with suppress(KeyError):  # its end may have been heard before
            self._selector.unregister(worker.control)
        worker.control.close()
        self._board.close_lane(worker.lane)
        code = worker.process.returncode
        if self._is_ending:
            # One that was still starting had nothing to finish, and no handler of its own yet.
            self._has_failed = self._has_failed or code not in (0, -signal.SIGTERM)
        elif worker.role == "coming":
            self._give_up(code)
        elif worker.role == "serving":
            self._mourn(worker, code)
        elif code != 0:
            log.warning("a worker that was to end did so with status %d", code)

    # -- what is done -------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start the first of new workers if it is time to, else those that are missing."""
        if self._is_ending or self._are("coming"):
            return
        serving = self._are("serving")
        if self._has_to_roll:
            self._has_to_roll = False
            if serving:
                log.info("reading the configuration again, in a new worker")
            self._start("coming")
        elif len(serving) < self._count and time.monotonic() >= self._next_start:
            self._start("serving")

    def _advance(self) -> None:
        """The first new worker brings the others; when all are ready they take over."""
        coming, serving = self._are("coming"), self._are("serving")
        if not coming or not all(worker.is_ready for worker in coming) or self._is_ending:
            return
        if not serving and len(coming) == 1 and self._listener is not None:
            self._announce(self._listener)
        if len(coming) < self._count:
            for _ in range(self._count - len(coming)):
                self._start("coming")
            return
        if serving or self._count > 1:
            log.info("%d workers serve%s", len(coming), " the new configuration" if serving else "")
        for worker in serving:
            worker.role = "leaving"
            with suppress(OSError):
                worker.control.send(RETIRE)
        for worker in coming:
            worker.role = "serving"

    def _give_up(self, code: int) -> None:
        """A new worker has ended before all were ready. It has told why."""
        if self._are("serving"):
            log.error("a new worker ended with status %d: the old configuration serves on", code)
            for worker in self._are("coming"):
                worker.role = "leaving"
                worker.process.send_signal(signal.SIGTERM)
        else:
            self._fail()

    def _mourn(self, worker: Worker, code: int) -> None:
        """One that serves has died. If it did so young and nobody is left, then so would the next."""
        was_young = time.monotonic() - worker.began < _PROVEN_S
        if was_young and not any(other.is_ready for other in self._are("serving")):
            self._fail()
            return
        log.error("a worker ended with status %d; another takes its place", code)
        self._next_start = time.monotonic() + (_PAUSE_S if was_young else 0)

    def _fail(self) -> None:
        self._has_failed = True
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._listener is not None:  # it closes with the last worker's; what comes then is refused, not left waiting
            self._listener.close()
            self._listener = None
        for worker in self._workers:
            worker.process.send_signal(how)

    def _start(self, role: Literal["coming", "serving"]) -> None:
        lane = next(free for free in range(len(self._workers) + 1) if free not in {each.lane for each in self._workers})
        self._board.open_lane(lane)
        ours, theirs = socket.socketpair()
        place = Place(theirs, self._listener, self._board.number, lane)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _AGAIN, *sys.argv[1:]],
            pass_fds=place.descriptors(),
            env=os.environ | place.environ(),
            # A terminal's Ctrl-C goes to the whole group, but it is for this process to pass on.
            start_new_session=True,
        )
        theirs.close()
        worker = Worker(process, ours, lane, role, time.monotonic())
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
