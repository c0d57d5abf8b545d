"""A provider in its place in a model, and what stands around every model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .cache import AnswerCache
from .contracts import Clock
from .costs import NO_RATES, Rates
from .extras import Extra
from .limiting import Limiter
from .media import File
from .timeouts import Timeouts
from .types import ApiType

NO_EXTRA, NO_TIMEOUTS = Extra(), Timeouts()

P_co = TypeVar("P_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Route(Generic[P_co]):
    """One provider of a model: its name there, its type, the object, and what the configuration says of it."""

    name: str
    type: str
    provider: P_co
    rates: Rates = NO_RATES
    extra: Extra = NO_EXTRA
    timeouts: Timeouts = NO_TIMEOUTS
    api_type: ApiType = "chat_completions"
    discard_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Around:
    """What every model shares: the clock, the cache if there is one, and how a file named by a URL gets its bytes.

    ``prefetch`` says that files have their bytes before any model sees them, which makes other requests of the same
    input, and so other cache keys. ``debug`` lets errors quote what went out and came in. ``limiter`` is None where
    no limit of our own concerns anybody.
    """

    clock: Clock
    cache: AnswerCache | None = None
    with_data: Callable[[File], Awaitable[File]] | None = None
    prefetch: bool = False
    debug: bool = False
    limiter: Limiter | None = None
