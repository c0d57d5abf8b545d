"""How a thread of ours tells those who wait in an event loop."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken


def wake(waiting: Sequence[anyio.Event], loop: EventLoopToken | None) -> None:
    """Set the events, in their loop."""

    def set_all() -> None:
        for event in waiting:
            event.set()

    try:
        from_thread.run_sync(set_all, token=loop)
    except RuntimeError:
        pass  # That event loop has ended, and with it everybody who waited.
