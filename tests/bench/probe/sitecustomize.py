"""With this folder on PYTHONPATH a process writes how many asyncio tasks it has to ``tasks-PID``, once a second.

The folder for it is in HEADRACE_SOAK_PROBE. A thread counts, through nothing but asyncio's public functions.
"""

import asyncio
import gc
import os
import threading
from pathlib import Path
from time import sleep


def _count(file: Path) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    while True:
        sleep(1)
        if not any(loop.is_running() for loop in loops):
            # The loop itself may be among what is frozen, where nobody finds it; of its tasks some never are.
            loops = list({each.get_loop() for each in gc.get_objects() if isinstance(each, asyncio.Task)})
        tasks = sum(len(asyncio.all_tasks(loop)) for loop in loops)
        part = file.with_suffix(".part")
        part.write_text(str(tasks))
        part.rename(file)


if folder := os.environ.get("HEADRACE_SOAK_PROBE"):
    threading.Thread(target=_count, args=(Path(folder) / f"tasks-{os.getpid()}",), daemon=True).start()
