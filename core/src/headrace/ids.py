"""UUIDv7: new ones, and what an old one says of its time."""

from __future__ import annotations

from uuid import UUID, SafeUUID

from uuid_utils import uuid7

from .errors import BadRequest

__all__ = ["check_episode_id", "is_workflow_episode", "new_id", "new_workflow_episode_id", "unix_seconds"]

_EARLIEST_S = 1_579_751_960  # 2020-01-23T03:59:20Z
_WORKFLOW_OFFSET_S = 10_000_000_000  # workflow-evaluation episodes are stamped this far ahead


_blank, _set, _UNKNOWN = object.__new__, object.__setattr__, SafeUUID.unknown


def new_id() -> UUID:
    """A UUIDv7; those of one process are in the order in which they were made.

    Made past the constructor of ``UUID``, which checks for 2 µs what cannot be wrong here.
    """
    id_ = _blank(UUID)
    _set(id_, "int", uuid7().int)
    _set(id_, "is_safe", _UNKNOWN)
    return id_


def unix_seconds(id_: UUID) -> float:
    """When a UUIDv7 was made, in seconds since the epoch; the workflow-evaluation offset is taken off."""
    seconds = (id_.int >> 80) / 1000
    return seconds - _WORKFLOW_OFFSET_S if seconds >= _WORKFLOW_OFFSET_S else seconds


def is_workflow_episode(id_: UUID) -> bool:
    """Whether an id is that of an episode of a workflow evaluation: a UUIDv7 of the far future."""
    return id_.version == 7 and (id_.int >> 80) >= _WORKFLOW_OFFSET_S * 1000


def new_workflow_episode_id() -> UUID:
    """A UUIDv7 that is stamped 10^10 seconds ahead, which is what tells such an episode from others."""
    return UUID(int=new_id().int + (_WORKFLOW_OFFSET_S * 1000 << 80))


def check_episode_id(id_: UUID, now: float) -> None:
    """Raise BadRequest unless a caller may use this id for an episode at ``now`` (seconds since the epoch)."""
    if id_.version in (1, 2, 6):
        raise BadRequest(f"Invalid Episode ID: Version must be 7, got {id_.version}")
    if id_.version != 7:
        raise BadRequest(f"Failed to parse UUID as v7: {id_} has version {id_.version} and carries no timestamp")
    seconds = (id_.int >> 80) // 1000
    if seconds < _EARLIEST_S:
        raise BadRequest("Invalid Episode ID: Timestamp is too early")
    if seconds >= _WORKFLOW_OFFSET_S:
        raise BadRequest(f"Workflow evaluation run not found for episode id: {id_}")
    if seconds > int(now):
        raise BadRequest("Invalid Episode ID: Timestamp is in the future")
