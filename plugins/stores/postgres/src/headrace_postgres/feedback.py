"""What was said of inferences and episodes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from headrace.records import DemonstrationFeedback, Feedback, HumanFeedback

from .conditions import Sql
from .server import Connection
from .tables import BOOLEAN, COMMENT, DEMONSTRATION, FLOAT, HUMAN


async def about(
    connection: Connection, target_id: UUID, before: UUID | None, after: UUID | None, limit: int | None
) -> list[Feedback]:
    """Of all kinds together, newest id first: of each as many as could be on the page."""
    found: list[Feedback] = []
    for table in (BOOLEAN, FLOAT, COMMENT, DEMONSTRATION):
        sql = Sql().equal("inference_id" if table is DEMONSTRATION else "target_id", target_id)
        if before is not None:
            sql.where(f"id < {sql.value(before, 'uuid')}")
        if after is not None:
            sql.where(f"id > {sql.value(after, 'uuid')}")
        order = "DESC" if after is None else "ASC"
        text = f"SELECT {table.columns} FROM {table.name}{sql} ORDER BY id {order}{sql.page(limit)}"
        found += table.records(await connection.fetch(text, *sql.parameters))
    found.sort(key=lambda one: one.id, reverse=after is None)
    page = found[:limit]
    return page if after is None else page[::-1]


async def demonstrations(connection: Connection, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
    """The latest of each inference: a later one takes the place of an earlier one."""
    sql = Sql().ids("inference_id", inference_ids)
    text = (
        f"SELECT DISTINCT ON (inference_id) {DEMONSTRATION.columns} FROM demonstration_feedback{sql}"
        " ORDER BY inference_id, id DESC"
    )
    found = DEMONSTRATION.records(await connection.fetch(text, *sql.parameters))
    return {one.inference_id: one for one in found}


async def human(connection: Connection, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
    """The latest judgement of exactly this output."""
    sql = Sql().equal("datapoint_id", datapoint_id).equal("metric_name", metric_name).equal("output", output)
    text = f"SELECT {HUMAN.columns} FROM human_feedback{sql} ORDER BY id DESC LIMIT 1"
    found = HUMAN.records(await connection.fetch(text, *sql.parameters))
    return found[0] if found else None
