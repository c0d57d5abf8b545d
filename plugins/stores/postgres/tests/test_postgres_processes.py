"""What survives the end of a process, of a session or of the server, and what several do to one database."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from engines.postgres import Server
from headrace.conformance.rows import inference, model_inference, uid
from headrace.errors import RecordRefused, StoreError
from headrace.queries import InferenceQuery
from headrace.records import Record
from headrace_postgres import Postgres, Settings


def child(url: str, first: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("child_postgres.py")), url, str(first), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def whole_batches(server: Server, url: str) -> set[UUID]:
    """The ids in the database, each of which must have the other record of its batch."""
    inferences = {UUID(str(id_)) for (id_,) in server.run("SELECT id FROM headrace.inference", url=url)}
    attempts = {UUID(str(id_)) for (id_,) in server.run("SELECT inference_id FROM headrace.model_inference", url=url)}
    assert inferences == attempts
    return inferences


def test_keeps_what_write_returned_for_when_the_process_is_killed(
    postgres_server: Server, postgres_database: str
) -> None:
    said: set[UUID] = set()
    for round_ in range(3):
        with child(postgres_database, round_ * 100_000, 100_000) as writer:
            assert writer.stdout is not None
            said.add(uid(int(writer.stdout.readline())))
            time.sleep(random.uniform(0, 0.2))
            writer.kill()
            said |= {uid(int(line)) for line in writer.stdout}
        found = whole_batches(postgres_server, postgres_database)
        assert said <= found
        # Of each process, at most the batch that it was about to report.
        assert len(found - said) <= round_ + 1


def test_lets_two_processes_create_and_write_one_database_at_once(
    postgres_server: Server, postgres_database: str
) -> None:
    with child(postgres_database, 0, 100) as one, child(postgres_database, 1000, 100) as other:
        for writer in (one, other):
            _, errors = writer.communicate(timeout=60)
            assert (writer.returncode, errors) == (0, "")
    expected = {uid(n) for first in (0, 1000) for n in range(first, first + 100)}
    assert whole_batches(postgres_server, postgres_database) == expected


@pytest.mark.anyio
async def test_keeps_what_write_returned_for_when_the_server_is_killed(
    postgres_server: Server, postgres_database: str
) -> None:
    said: set[UUID] = set()
    troubles: list[StoreError] = []

    async def write(first: int) -> None:
        for n in range(first, first + 100_000):
            try:
                await store.write([inference(n), model_inference(n, uid(n))])
            except StoreError as error:
                troubles.append(error)
                return
            said.add(uid(n))

    async with Postgres(Settings(url=postgres_database)) as store:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for writer in range(4):
                    tasks.start_soon(write, writer * 1_000_000)
                while len(said) < 200:
                    await anyio.lowlevel.checkpoint()
                await to_thread.run_sync(postgres_server.kill9)
        assert len(troubles) == 4
        assert not any(isinstance(error, RecordRefused) for error in troubles)
        with pytest.raises(StoreError):
            await store.ping()
        await to_thread.run_sync(postgres_server.start)
        # The same store goes on, on new connections, and what failed can be written again.
        await store.ping()
        found = {record.id for record in await store.inferences(InferenceQuery(limit=None))}
        assert said <= found
        assert len(found - said) <= 4
        again: list[Record] = [inference(0), model_inference(0, uid(0))]
        await store.write(again)
        assert {record.id for record in await store.inferences(InferenceQuery(limit=None))} == found
