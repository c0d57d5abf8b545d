"""The portable transport's promises, on both event loops."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from headrace.conformance.transport import TransportConformance
from headrace.http.outgoing import HttpxTransport
from headrace.transport import Transport


class TestHttpx(TransportConformance):
    def build(self) -> AbstractAsyncContextManager[Transport]:
        return HttpxTransport()
