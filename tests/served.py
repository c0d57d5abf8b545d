"""A gateway as its users run it: a process of its own, on a free port, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

READY = "headrace is listening on "
HEADRACE = str(Path(sys.executable).with_name("headrace"))


@dataclass
class Served:
    """A running ``headrace serve``."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and wait for the end; returns the exit code."""
        pid = self.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.process.send_signal(how)
        if how == signal.SIGKILL:  # a machine that kills does not ask whose child it is
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(int(worker), how)
        return self.process.wait(30)


Serve = Callable[..., AbstractContextManager[Served]]


def serve_in(folder: Path) -> Serve:
    @contextmanager
    def run(toml: str, *arguments: str, name: str = "headrace", **environment: str) -> Iterator[Served]:
        (folder / f"{name}.toml").write_text(toml)
        log = folder / f"{name}.log"
        command = [HEADRACE, "serve", "--config", f"{name}.toml", "--bind-address", "127.0.0.1:0", *arguments]
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                line = next((line for line in process.stdout if line.startswith(READY)), "")
                assert line, log.read_text()
                yield Served(line.removeprefix(READY).strip(), process, log)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    return run
