"""What a conformance suite lets a plugin say and what it refuses; and the outside world it brings."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import ClassVar

import pytest
from headrace import Provider, Services
from headrace.conformance.provider import ProviderConformance
from headrace.conformance.script import Broken, Script, SetClock, services
from headrace.conformance.suite import Suite, needs
from headrace.errors import ConfigError, Unreachable
from headrace.transport import Call, Reply
from headrace.types import Chunk, ModelRequest, ModelResponse, Text


class Promises(Suite):
    async def test_walks(self) -> None:
        pass

    @needs("wings")
    async def test_flies(self) -> None:
        raise AssertionError("a penguin flew")


class TestPenguin(Promises):
    lacks: ClassVar = {"wings": "it swims instead"}

    async def test_swims(self) -> None:
        pass


def test_replacing_a_test_raises_at_import() -> None:
    with pytest.raises(TypeError, match=r"Cheat\.test_walks replaces a test of its .*xfail\(reason=\.\.\.\)"):

        class Cheat(Promises):
            async def test_walks(self) -> None:
                pass


def test_replacing_a_test_raises_however_deep_it_was_inherited() -> None:
    with pytest.raises(TypeError, match="test_flies"):

        class Cheat(TestPenguin):
            test_flies = None  # type: ignore[assignment]


def test_a_replacement_that_says_why_it_fails_is_allowed() -> None:
    class Honest(Promises):
        @pytest.mark.xfail(reason="knee injury")
        async def test_walks(self) -> None:
            raise AssertionError

    assert issubclass(Honest, Promises)


def test_an_xfail_without_a_reason_does_not_excuse() -> None:
    with pytest.raises(TypeError, match="test_walks"):

        class Silent(Promises):
            @pytest.mark.xfail
            async def test_walks(self) -> None:
                raise AssertionError


def test_lacking_an_unknown_feature_is_a_typo() -> None:
    with pytest.raises(TypeError, match=r"no test needs \['wigns'\] \(features: \['wings'\]\)"):

        class Typo(Promises):
            lacks: ClassVar = {"wigns": "?"}


# -- the outside world ------------------------------------------------------------------------------------

ASK = Call("http://upstream.invalid/")
DOWN = Unreachable("down")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("piece", "parts"), [(7, [b"a short", b" body"]), (1, [b"%c" % c for c in b"a short body"]), (0, [b"a short body"])]
)
async def test_a_script_streams_in_pieces(piece: int, parts: list[bytes]) -> None:
    script = Script(Reply(200, {"x": "y"}, b"a short body"), piece=piece)
    async with script.stream(ASK) as reply:
        assert (reply.status, reply.headers, script.open_streams) == (200, {"x": "y"}, 1)
        assert [part async for part in reply.body] == parts
    assert (script.calls, script.open_streams) == ([ASK], 0)


@pytest.mark.anyio
async def test_a_script_answers_in_order_and_then_complains() -> None:
    script = Script(Reply(200, {}, b"one"), DOWN, Broken(Reply(200, {}, b"two"), DOWN), Reply(200, {}, b"three"))
    assert (await script.send(ASK)).body == b"one"
    with pytest.raises(Unreachable):
        await script.send(ASK)
    with pytest.raises(Unreachable):
        await script.send(ASK)
    async with script.stream(ASK) as reply:
        assert await reply.read() == b"three"
    with pytest.raises(AssertionError, match="no answer to call 5: POST http://"):
        await script.send(ASK)


@pytest.mark.anyio
async def test_a_broken_stream_gives_what_it_has_first() -> None:
    parts: list[bytes] = []
    with pytest.raises(Unreachable):
        async with Script(Broken(Reply(200, {}, b"two"), DOWN)).stream(ASK) as reply:
            async for part in reply.body:
                parts.append(part)
    assert parts == [b"two"]


def test_a_set_clock_moves_only_when_told() -> None:
    clock = SetClock(100.0)
    clock.advance(2.5)
    assert (clock.time(), clock.perf()) == (102.5, 102.5)


def test_services_know_no_other_secrets_than_they_were_given() -> None:
    lent = services(Script(), KEY="sk-test")
    assert lent.secret("env::KEY").reveal({}) == "sk-test"
    with pytest.raises(ConfigError, match="`HOME` is missing"):
        lent.secret("env::HOME")


# -- a provider that leaves things out --------------------------------------------------------------------


class Deaf:
    """Hears text alone, and says nothing of the rest."""

    def __init__(self, lent: Services) -> None:
        self._transport = lent.transport

    async def complete(self, request: ModelRequest) -> ModelResponse:
        said = [block.text for turn in request.messages for block in turn.content if isinstance(block, Text)]
        reply = await self._transport.send(Call("http://upstream.invalid/", json.dumps(said).encode()))
        return ModelResponse(output=(Text(reply.body.decode()),))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        raise AssertionError("not asked")
        yield Chunk()


class _DeafConformance(ProviderConformance):
    says_hi = b"{}"

    def build(self, services: Services) -> Provider:
        return Deaf(services)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "promise",
    [
        "test_a_file_is_taken_or_refused",
        "test_a_provider_tool_is_taken_or_refused",
        "test_a_custom_tool_is_taken_or_refused",
        "test_files_reach_the_wire_in_their_declared_form",
        "test_extra_headers_are_sent_in_place_of_the_providers_own",
        "test_raw_usage_is_what_the_upstream_said",
    ],
)
async def test_leaving_a_part_of_the_request_out_breaks_a_promise(promise: str) -> None:
    with pytest.raises(AssertionError):
        await getattr(_DeafConformance(), promise)()


@pytest.mark.anyio
async def test_ignoring_extra_parts_breaks_a_promise() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await _DeafConformance().test_a_wrong_pointer_is_the_attempts_error_and_nothing_is_sent()
