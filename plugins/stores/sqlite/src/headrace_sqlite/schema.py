"""The version of a file's schema, and the way from one version to another."""

from __future__ import annotations

import logging
import sqlite3

from headrace.errors import StoreError
from headrace.storage import SchemaStatus

from .steps import STEPS

log = logging.getLogger(__name__)


def status(found: int) -> SchemaStatus:
    """How a file of this version stands."""
    return SchemaStatus(found=found, known=len(STEPS), steps=tuple(step.meaning for step in STEPS))


def version(connection: sqlite3.Connection) -> int:
    """The version that the file has; 0 if it is empty."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def migrate(connection: sqlite3.Connection, to: int | None = None) -> None:
    """Take the steps to a version, forward or back, all or none. Raise StoreError for a file from the future."""
    target = len(STEPS) if to is None else to
    if not 0 <= target <= len(STEPS):
        raise StoreError(f"there is no schema version {target}: this headrace-sqlite knows 0 to {len(STEPS)}")
    if version(connection) == target:
        return
    # In one transaction: whoever is interrupted, even by the end of the process, leaves the file as it was.
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again, now that nobody else can write: another process may have been here first.
        found = version(connection)
        check(found)
        for statement in _statements(found, target):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {target}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    for at in range(found, target, -1):
        log.warning("sqlite store: schema taken back from version %d to %d; lost: %s", at, at - 1, STEPS[at - 1].loss)


def check(found: int, *, is_migrated: bool = True) -> None:
    """Raise StoreError for a version from the future; unless ``is_migrated``, for any that is not the newest."""
    if found > len(STEPS):
        raise StoreError(
            f"schema version {found} found, this headrace-sqlite knows versions up to {len(STEPS)}: "
            "upgrade headrace-sqlite, or name another file"
        )
    if found < len(STEPS) and not is_migrated:
        raise StoreError(
            f"schema version {found} found, version {len(STEPS)} needed: run `headrace store migrate`, "
            "since sqlite.disable_automatic_migrations is set"
        )


def _statements(found: int, target: int) -> list[str]:
    if target >= found:
        return [statement for step in STEPS[found:target] for statement in step.forward]
    return [statement for step in reversed(STEPS[target:found]) for statement in step.backward]
