"""Who is let in: the verdicts on keys in their order, how long they hold, and how seldom the store is asked."""

from __future__ import annotations

import hashlib
import logging
import re
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from anyio.lowlevel import checkpoint
from headrace import authentication
from headrace.authentication import Authenticator, make_key
from headrace.conformance.script import SetClock
from headrace.errors import StoreError, Unauthenticated
from headrace.records import ApiKey
from msgspec import structs

pytestmark = pytest.mark.anyio

NOW = datetime.fromtimestamp(SetClock().time(), UTC)
TEXT, KEY = make_key(NOW)
FAILED = "TensorZero authentication error: Error performing authentication: "
SCHEME = "Error performing authentication: Authorization header must start with 'Bearer '"
SHAPE = "Invalid format for TensorZero API key: "
UNKNOWN = FAILED + "Provided API key does not exist in the database"


class Keys:
    """A store of keys that counts who asks, answers when it is ``open``, and may be away."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {key.public_id: key for key in keys}
        self.asked: list[str] = []
        self.is_away = False
        self.open = anyio.Event()
        self.open.set()

    async def api_key(self, public_id: str) -> ApiKey | None:
        """As the contract says."""
        self.asked.append(public_id)
        await checkpoint()
        await self.open.wait()
        if self.is_away:
            raise StoreError("postgres store db.internal:5432: connection refused for headrace:hunter2")
        return self.keys.get(public_id)


def shown(text: str = TEXT) -> bytes:
    """The header of a key."""
    return f"Bearer {text}".encode()


def other_secret(text: str = TEXT) -> str:
    """The same public id with a secret that is wrong."""
    return text[:-1] + ("a" if text[-1] != "a" else "b")


async def refusal(authenticator: Authenticator, header: bytes | None) -> str:
    """What a caller is told who is not let in."""
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.check(header)
    assert caught.value.http_status == 401
    return str(caught.value)


# -- keys -----------------------------------------------------------------------------------------------------


async def test_a_key_is_made_of_a_public_id_and_a_secret_that_is_kept_as_its_hash() -> None:
    text, key = make_key(NOW, description="ci")
    found = re.fullmatch(r"sk-t0-([A-Za-z0-9]{12})-([A-Za-z0-9]{48})", text)
    assert found is not None
    assert key.public_id == found[1]
    assert key.hash == hashlib.sha256(found[2].encode()).hexdigest()
    assert (key.created_at, key.updated_at, key.description, key.disabled_at) == (NOW, NOW, "ci", None)
    assert (key.organization, key.workspace) == ("default", "default")


async def test_no_two_keys_are_alike() -> None:
    made = [make_key(NOW) for _ in range(200)]
    assert len({text for text, _ in made}) == len({key.public_id for _, key in made}) == 200


# -- verdicts -------------------------------------------------------------------------------------------------


async def test_lets_a_good_key_in() -> None:
    assert await Authenticator(Keys(KEY), SetClock()).check(shown()) == KEY


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Error performing authentication: Authorization header is required"),
        (b"", SCHEME),
        (b"Basic eDp5", SCHEME),
        (b"Bearer", SCHEME),
        (b"bearer " + TEXT.encode(), SCHEME),
        (b"Bearer\t" + TEXT.encode(), SCHEME),
        (b"Bearer ", SHAPE + "API key must be of the form `sk-t0-<public_id>-<long_key>`"),
        (shown() + b"-", SHAPE + "API key must be of the form `sk-t0-<public_id>-<long_key>`"),
        (b"Bearer  " + TEXT.encode(), SHAPE + "API key must start with `sk-t0-`"),
        (shown("pk" + TEXT[2:]), SHAPE + "API key must start with `sk-t0-`"),
        (shown("sk-t1" + TEXT[5:]), SHAPE + "API key must start with `sk-t0-`"),
        (shown("sk-t0-abc-" + "x" * 48), SHAPE + "Public ID must be 12 characters"),
        (shown(TEXT + "x"), SHAPE + "Long key must be 48 characters"),
        (shown(TEXT + "\n"), SHAPE + "Long key must be 48 characters"),
        (shown("sk-t0-abcdefghijk_-" + "x" * 48), SHAPE + "Public ID must be alphanumeric"),
        (shown(TEXT[:-1] + "\n"), SHAPE + "Long key must be alphanumeric"),
        (shown(TEXT[:-1]) + b"\xff", SHAPE + "Long key must be alphanumeric"),
        (b"Bearer " + b"x" * 1_000_000, SHAPE + "API key must be of the form"),
    ],
    ids=range(18),
)
async def test_says_what_is_wrong_with_a_header_without_asking_the_store(header: bytes | None, detail: str) -> None:
    keys = Keys(KEY)
    told = await refusal(Authenticator(keys, SetClock()), header)
    assert told.startswith(f"TensorZero authentication error: {detail}")
    assert len(told) < 200
    assert keys.asked == []


async def test_a_wrong_secret_and_a_key_that_never_was_are_told_alike() -> None:
    authenticator = Authenticator(Keys(KEY), SetClock())
    assert await refusal(authenticator, shown(other_secret())) == UNKNOWN
    assert await refusal(authenticator, shown(make_key(NOW)[0])) == UNKNOWN
    assert await authenticator.check(shown()) == KEY


@pytest.mark.parametrize(
    "hash_",
    ["", "0" * 64, "é" * 64, KEY.hash.upper(), KEY.hash + " "],
    ids=["none", "zeros", "no ASCII", "upper case", "longer"],
)
async def test_no_other_hash_will_do(hash_: str) -> None:
    key = structs.replace(KEY, hash=hash_)
    assert await refusal(Authenticator(Keys(key), SetClock()), shown()) == UNKNOWN


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), "2025-01-02 03:04:05 UTC"),
        (datetime(2025, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC), "2025-01-02 03:04:05.120 UTC"),
        (datetime(2025, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC), "2025-01-02 03:04:05.678901 UTC"),
    ],
    ids=["seconds", "milliseconds", "microseconds"],
)
async def test_tells_since_when_a_key_is_no_good(at: datetime, told: str) -> None:
    clock = SetClock()
    disabled = Authenticator(Keys(structs.replace(KEY, disabled_at=at, expires_at=at)), clock)
    assert await refusal(disabled, shown()) == f"{FAILED}API key was disabled at: {told}"
    expired = Authenticator(Keys(structs.replace(KEY, expires_at=at)), clock)
    assert await refusal(expired, shown()) == f"{FAILED}API key expired at: {told}"


async def test_only_who_has_the_secret_hears_that_a_key_is_disabled() -> None:
    authenticator = Authenticator(Keys(structs.replace(KEY, disabled_at=NOW)), SetClock())
    assert await refusal(authenticator, shown(other_secret())) == UNKNOWN


async def test_a_key_expires_at_its_instant_even_while_its_look_up_holds() -> None:
    clock = SetClock()
    keys = Keys(structs.replace(KEY, expires_at=NOW + timedelta(seconds=10)))
    authenticator = Authenticator(keys, clock, ttl_s=1000)
    clock.advance(9.5)
    await authenticator.check(shown())
    clock.advance(0.5)
    assert "API key expired at: " in await refusal(authenticator, shown())
    assert len(keys.asked) == 1


# -- how long it holds ----------------------------------------------------------------------------------------


async def test_a_key_that_is_disabled_is_taken_no_longer_than_a_look_up_holds() -> None:
    keys, clock = Keys(KEY), SetClock()
    authenticator = Authenticator(keys, clock, ttl_s=1)
    await authenticator.check(shown())
    keys.keys[KEY.public_id] = structs.replace(KEY, disabled_at=NOW)
    clock.advance(0.9)
    await authenticator.check(shown())
    clock.advance(0.1)
    assert "was disabled" in await refusal(authenticator, shown())
    assert len(keys.asked) == 2


async def test_that_there_is_no_such_key_holds_as_long() -> None:
    keys, clock = Keys(), SetClock()
    authenticator = Authenticator(keys, clock, ttl_s=1)
    for _ in range(3):
        assert await refusal(authenticator, shown()) == UNKNOWN
    assert len(keys.asked) == 1
    keys.keys[KEY.public_id] = KEY
    clock.advance(1)
    assert await authenticator.check(shown()) == KEY


async def test_wrong_secrets_for_a_known_key_do_not_reach_the_store() -> None:
    keys = Keys(KEY)
    authenticator = Authenticator(keys, SetClock())
    for n in range(100):
        assert await refusal(authenticator, shown(f"{TEXT[:-4]}{n:04}")) == UNKNOWN
    assert len(keys.asked) == 1


async def test_the_time_that_the_store_takes_is_a_part_of_how_long_it_holds() -> None:
    keys, clock = Keys(KEY), SetClock()
    keys.open = anyio.Event()
    authenticator = Authenticator(keys, clock, ttl_s=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(authenticator.check, shown())
        await anyio.wait_all_tasks_blocked()
        clock.advance(1)
        keys.open.set()
    await authenticator.check(shown())
    assert len(keys.asked) == 2


async def test_without_a_cache_the_store_is_asked_each_time() -> None:
    keys = Keys(KEY)
    authenticator = Authenticator(keys, SetClock(), ttl_s=None)
    for _ in range(3):
        await authenticator.check(shown())
    keys.keys.clear()
    assert await refusal(authenticator, shown()) == UNKNOWN
    assert len(keys.asked) == 4


async def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    keys, most = Keys(KEY), authentication.MAX_KNOWN
    authenticator = Authenticator(keys, SetClock(), ttl_s=1000)
    await authenticator.check(shown())
    for n in range(most):
        await refusal(authenticator, shown(f"sk-t0-{n:012}-{'x' * 48}"))
    assert len(authenticator._known) == most
    await authenticator.check(shown())
    assert keys.asked.count(KEY.public_id) == 2
    assert len(keys.asked) == most + 2


# -- many at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False], ids=["good", "unknown"])
async def test_a_burst_of_one_key_asks_the_store_once(exists: bool) -> None:
    keys = Keys(*[KEY] * exists)
    keys.open = anyio.Event()
    authenticator = Authenticator(keys, SetClock())
    verdicts: list[bool] = []

    async def call() -> None:
        try:
            await authenticator.check(shown())
            verdicts.append(True)
        except Unauthenticated:
            verdicts.append(False)

    async with anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        keys.open.set()
    assert verdicts == [exists] * 500
    assert keys.asked == [KEY.public_id]


async def test_when_the_one_who_asks_is_cancelled_another_asks() -> None:
    keys = Keys(KEY)
    keys.open = anyio.Event()
    authenticator = Authenticator(keys, SetClock())
    answered: list[ApiKey] = []

    async def call() -> None:
        answered.append(await authenticator.check(shown()))

    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as first:
            first.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            for _ in range(5):
                others.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        keys.open.set()
    assert answered == [KEY] * 5
    assert len(keys.asked) == 2


# -- a store that is away -------------------------------------------------------------------------------------


async def test_a_store_that_is_away_refuses_everybody_and_its_words_are_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = Keys(KEY)
    keys.is_away = True
    authenticator = Authenticator(keys, SetClock())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            told = await refusal(authenticator, shown())
            assert told.startswith("TensorZero authentication error: Database error: ")
            assert "internal" not in told
            assert "hunter2" not in told
    assert [record.levelname for record in caplog.records] == ["ERROR"], "once, not for each"
    assert "db.internal:5432" in caplog.text
    assert TEXT not in caplog.text
    keys.is_away = False
    assert await authenticator.check(shown()) == KEY, "a failure is not kept"


async def test_what_is_known_holds_while_the_store_is_away() -> None:
    keys, clock = Keys(KEY), SetClock()
    authenticator = Authenticator(keys, clock, ttl_s=1)
    await authenticator.check(shown())
    keys.is_away = True
    await authenticator.check(shown())
    clock.advance(1)
    assert "Database error: " in await refusal(authenticator, shown())


async def test_a_burst_while_the_store_is_away_asks_it_once() -> None:
    keys = Keys(KEY)
    keys.is_away, keys.open = True, anyio.Event()
    authenticator = Authenticator(keys, SetClock())
    told: list[str] = []

    async def call() -> None:
        told.append(await refusal(authenticator, shown()))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        keys.open.set()
    assert len(told) == 50
    assert len(keys.asked) == 1


async def test_no_secret_is_kept() -> None:
    authenticator = Authenticator(Keys(KEY), SetClock())
    await authenticator.check(shown())
    await refusal(authenticator, shown(other_secret()))
    assert TEXT.rpartition("-")[2] not in repr(vars(authenticator))
