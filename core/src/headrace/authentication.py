"""Who calls: the text of API keys, and the check of the one that a caller shows (http-api 3)."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import secrets
import string
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Final

import anyio
from msgspec import Struct

from .contracts import Clock, KeyStore
from .errors import StoreError, Unauthenticated
from .ids import new_id
from .records import ApiKey

log = logging.getLogger(__name__)

MAX_KNOWN = 10_000
"""Look-ups that are kept, of keys that exist and of those that do not; beyond, the oldest one goes."""

_ALPHABET: Final = string.ascii_letters + string.digits
_PUBLIC_LENGTH: Final = 12
_SECRET_LENGTH: Final = 48
_SHOWN: Final = re.compile(rb"Bearer sk-t0-([A-Za-z0-9]{12})-([A-Za-z0-9]{48})")
_FAILED: Final = "Error performing authentication: "
_UNKNOWN: Final = _FAILED + "Provided API key does not exist in the database"


def make_key(
    now: datetime,
    *,
    description: str | None = None,
    organization: str = "default",
    workspace: str = "default",
    expires_at: datetime | None = None,
) -> tuple[str, ApiKey]:
    """A fresh key: the text for its owner, which nothing can bring back, and the record to write."""
    public_id = "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC_LENGTH))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    record = ApiKey(
        id=new_id(),
        public_id=public_id,
        hash=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
        updated_at=now,
        organization=organization,
        workspace=workspace,
        description=description,
        expires_at=expires_at,
    )
    return f"sk-t0-{public_id}-{secret}", record


class _Known(Struct, frozen=True):
    """What the store says of a public id: ``key`` is None if there is none, ``failure`` set if it did not answer."""

    key: ApiKey | None
    hash: bytes = b""
    expires: float = math.inf  # seconds since the epoch
    until: float = 0.0  # on the clock that never goes back
    failure: str | None = None


class _Question:
    """A look-up under way. Who waits for it asks again if whoever asked was cancelled."""

    def __init__(self) -> None:
        self.is_over = anyio.Event()
        self.known: _Known | None = None


class Authenticator:
    """Tells keys that are good from those that are not.

    What the store says of a public id holds for ``ttl_s`` seconds, also that it has none, so a key that is disabled is
    taken for that long at most. Without ``ttl_s`` it is asked each time. Secrets are not kept, nor is their hash.
    """

    def __init__(self, keys: KeyStore, clock: Clock, *, ttl_s: float | None = 1.0) -> None:
        self._keys = keys
        self._clock = clock
        self._ttl_s = ttl_s
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, _Question] = {}
        self._is_failing = False

    async def check(self, header: bytes | None) -> ApiKey:
        """The key that an ``Authorization`` header shows. Raise Unauthenticated."""
        shown = _SHOWN.fullmatch(header) if header is not None else None
        if shown is None:
            raise Unauthenticated(_mistake(header))
        public_id = shown[1].decode()
        known = self._known.get(public_id)
        if known is None or known.until <= self._clock.perf():
            known = await self._look_up(public_id)
        if known.failure is not None:
            raise Unauthenticated(known.failure)
        key = known.key
        if key is None or not compare_digest(hashlib.sha256(shown[2]).hexdigest().encode(), known.hash):
            raise Unauthenticated(_UNKNOWN)
        if key.disabled_at is not None:
            raise Unauthenticated(f"{_FAILED}API key was disabled at: {_instant(key.disabled_at)}")
        if key.expires_at is not None and known.expires <= self._clock.time():
            raise Unauthenticated(f"{_FAILED}API key expired at: {_instant(key.expires_at)}")
        return key

    async def _look_up(self, public_id: str) -> _Known:
        """What the store says now. However many ask for one key at once, the store is asked once."""
        if self._ttl_s is None:
            return await self._ask(public_id, 0.0)
        while (asked := self._asking.get(public_id)) is not None:
            await asked.is_over.wait()
            if asked.known is not None:
                return asked.known
        question = self._asking[public_id] = _Question()
        try:
            question.known = known = await self._ask(public_id, self._clock.perf() + self._ttl_s)
        finally:
            del self._asking[public_id]
            question.is_over.set()
        if known.failure is None:
            self._known.pop(public_id, None)  # so that it comes last
            self._known[public_id] = known
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return known

    async def _ask(self, public_id: str, until: float) -> _Known:
        try:
            key = await self._keys.api_key(public_id)
        except StoreError as error:
            # Nobody knows who this is: what is wrong with our store is for the log. Once, not for each who tries.
            if not self._is_failing:
                log.error("API keys cannot be looked up, so every caller is refused: %s", error)
            self._is_failing = True
            return _Known(None, failure="Database error: the API key could not be looked up (see the gateway's log)")
        self._is_failing = False
        if key is None:
            return _Known(None, until=until)
        expires = math.inf if key.expires_at is None else key.expires_at.timestamp()
        return _Known(key, key.hash.encode(), expires, until)


def _mistake(header: bytes | None) -> str:
    """Why a header shows no key at all; not a word of what it does show."""
    if header is None:
        return f"{_FAILED}Authorization header is required"
    if not header.startswith(b"Bearer "):
        return f"{_FAILED}Authorization header must start with 'Bearer '"
    return f"Invalid format for TensorZero API key: {_misshape(header.removeprefix(b'Bearer ').split(b'-'))}"


def _misshape(parts: list[bytes]) -> str:
    if len(parts) != 4:
        return "API key must be of the form `sk-t0-<public_id>-<long_key>`"
    if parts[:2] != [b"sk", b"t0"]:
        return "API key must start with `sk-t0-`"
    if len(parts[2]) != _PUBLIC_LENGTH:
        return f"Public ID must be {_PUBLIC_LENGTH} characters"
    if len(parts[3]) != _SECRET_LENGTH:
        return f"Long key must be {_SECRET_LENGTH} characters"
    return f"{'Long key' if parts[2].isalnum() else 'Public ID'} must be alphanumeric"


def _instant(at: datetime) -> str:
    """In UTC, with as many decimal places of a second as there are thousands: none, three or six."""
    at = at.astimezone(UTC)
    digits = f"{at.microsecond:06}"
    fraction = "" if not at.microsecond else f".{digits.removesuffix('000')}"
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} UTC"
