"""The child process: llama.cpp's own server on the loopback, for as long as the parent holds our standard input open.

Run by its path and not with ``-m``: the package around it would cost a quarter of a second and 50 MB for nothing.
So it imports nothing of ours, and is told what to do by one argument, the JSON of ``server.Plan``.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import sys
import time
from typing import Any
from urllib.parse import urlsplit

_PR_SET_PDEATHSIG = 1
# llama.cpp logs from a thread of its own; the cause it names there is worth the wait.
_LOG_LAG_S = 0.5

_CACHED_PROMPTS_MIB = 256  # llama.cpp's own limit for prompts that no slot holds any more is 8 GiB


def main() -> None:
    """Serve; print the address on standard output as soon as the model answers, and nothing else ever."""
    plan = json.loads(sys.argv[1])
    _die_with_the_parent()
    # An interrupt at a terminal, or a supervisor's TERM, reaches the whole group. The gateway still has requests
    # to finish then, and closes our standard input after the last one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever llama.cpp has to say goes to standard error
    try:
        server = _serve(plan)
        _wait_until_healthy(server.listening_address)
    except RuntimeError as error:
        time.sleep(_LOG_LAG_S)
        sys.exit(str(error))
    os.write(answers, f"{server.listening_address}\n".encode())
    os.close(answers)
    sys.stdin.buffer.read()
    os._exit(0)  # at once: there is nothing to save, and the server's threads would be waited for


def _die_with_the_parent() -> None:
    """Where there is no prctl (not Linux), the end of standard input alone has to tell."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(plan: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = plan["path"]
    params.model_alias = {"local"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the kernel picks a free one
    params.n_ctx = plan["n_ctx"]
    params.n_parallel = plan["n_parallel"]
    params.cpuparams.n_threads = plan["threads"]
    params.cpuparams_batch.n_threads = plan["batch_threads"]
    params.embedding = plan["embeddings"]
    params.use_jinja = True
    if plan["chat_template"]:
        params.chat_template = plan["chat_template"]
    params.cache_ram_mib = _CACHED_PROMPTS_MIB
    params.cors_origins = ""  # no web page has business here
    params.ui = False
    params.verbosity = 1  # errors only
    return xllamacpp.Server(params)


def _wait_until_healthy(address: str) -> None:
    """Return when the model answers; the parent minds the time."""
    url = urlsplit(address)
    while True:
        connection = http.client.HTTPConnection(url.hostname or "", url.port)
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
