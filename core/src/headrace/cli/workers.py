"""Several workers: this same command again in child processes, around one listening socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

_SOCKET, _LIFELINE = "HEADRACE_WORKER_SOCKET", "HEADRACE_WORKER_LIFELINE"
_AGAIN = "from headrace.cli import main; main()"
_POLL_S = 0.1
# A worker that fails sooner will fail again: a store that is not there, a file that is corrupt.
_PROVEN_S = 10.0


def inherited() -> socket.socket | None:
    """The socket that this process was given as a worker, None if it is none. Without its parent it stops."""
    number, lifeline = os.environ.pop(_SOCKET, None), os.environ.pop(_LIFELINE, None)
    if number is None or lifeline is None:
        return None
    threading.Thread(target=_stop_at_end_of, args=(int(lifeline),), daemon=True).start()
    return socket.socket(fileno=int(number))


def run(listener: socket.socket, count: int) -> int:
    """Run ``count`` workers until SIGINT or SIGTERM; each finishes what it has begun. Returns the exit code.

    A worker that dies is replaced, unless it died young: then all stop, and the exit code is 1.
    """
    end, ours = os.pipe()  # nothing is ever written: workers see it close when this process is gone, however it went
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    started: dict[subprocess.Popen[bytes], float] = {}
    failed = False
    while not stopping.is_set():
        for worker in [worker for worker in started if worker.poll() is not None]:
            failed = failed or time.monotonic() - started.pop(worker) < _PROVEN_S
        if failed:
            break
        while len(started) < count:
            started[_start(listener, end)] = time.monotonic()
        stopping.wait(_POLL_S)
    for worker in started:
        worker.send_signal(signal.SIGTERM)
    codes = [worker.wait() for worker in started]
    os.close(ours)
    # One that was still starting had nothing to finish, and no handler of its own yet.
    return int(failed or any(code not in (0, -signal.SIGTERM) for code in codes))


def _start(listener: socket.socket, lifeline: int) -> subprocess.Popen[bytes]:
    numbers = {_SOCKET: str(listener.fileno()), _LIFELINE: str(lifeline)}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _AGAIN, *sys.argv[1:]],
        pass_fds=(listener.fileno(), lifeline),
        env=os.environ | numbers,
        # A terminal's Ctrl-C goes to the whole group, but it is for this process to pass on.
        start_new_session=True,
    )


def _stop_at_end_of(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
