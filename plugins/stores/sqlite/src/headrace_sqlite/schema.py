"""The tables, and the steps that bring a file up to date. A step that has been released never changes.

Ids are UUIDv7 as 16-byte BLOBs, so that they sort by time; instants are ISO 8601 text in UTC with microseconds,
which sorts as well; nested values are JSON text. To add a column: a field of the record in core, and a step here.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from headrace.errors import StoreError

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE inference (
            id BLOB PRIMARY KEY, function_name TEXT NOT NULL, variant_name TEXT NOT NULL, function_type TEXT NOT NULL,
            episode_id BLOB NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, variant_probability REAL NOT NULL,
            snapshot_hash TEXT NOT NULL, tools TEXT, output_schema TEXT, auxiliary_content TEXT NOT NULL,
            inference_params TEXT NOT NULL, processing_time_ms INTEGER, ttft_ms INTEGER, tags TEXT NOT NULL)""",
        "CREATE INDEX inference_by_function ON inference (function_name, id)",
        "CREATE INDEX inference_by_episode ON inference (episode_id, id)",
        """CREATE TABLE inference_tag (
            key TEXT NOT NULL, value TEXT NOT NULL, inference_id BLOB NOT NULL,
            PRIMARY KEY (key, value, inference_id)) WITHOUT ROWID""",
        """CREATE TABLE model_inference (
            id BLOB PRIMARY KEY, inference_id BLOB NOT NULL, function_name TEXT NOT NULL, variant_name TEXT NOT NULL,
            model_name TEXT NOT NULL, model_provider_name TEXT NOT NULL, snapshot_hash TEXT NOT NULL,
            raw_request TEXT NOT NULL, raw_response TEXT NOT NULL, system TEXT, input_messages TEXT NOT NULL,
            output TEXT NOT NULL, finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER,
            provider_cache_read_input_tokens INTEGER, provider_cache_write_input_tokens INTEGER, cost TEXT,
            response_time_ms INTEGER, ttft_ms INTEGER, cached INTEGER NOT NULL, error TEXT)""",
        "CREATE INDEX model_inference_by_inference ON model_inference (inference_id, id)",
        """CREATE TABLE boolean_metric_feedback (
            id BLOB PRIMARY KEY, target_id BLOB NOT NULL, metric_name TEXT NOT NULL, value INTEGER NOT NULL,
            snapshot_hash TEXT NOT NULL, tags TEXT NOT NULL)""",
        "CREATE INDEX boolean_metric_feedback_by_target ON boolean_metric_feedback (target_id, id)",
        """CREATE TABLE float_metric_feedback (
            id BLOB PRIMARY KEY, target_id BLOB NOT NULL, metric_name TEXT NOT NULL, value REAL NOT NULL,
            snapshot_hash TEXT NOT NULL, tags TEXT NOT NULL)""",
        "CREATE INDEX float_metric_feedback_by_target ON float_metric_feedback (target_id, id)",
        """CREATE TABLE comment_feedback (
            id BLOB PRIMARY KEY, target_id BLOB NOT NULL, target_type TEXT NOT NULL, value TEXT NOT NULL,
            snapshot_hash TEXT NOT NULL, tags TEXT NOT NULL)""",
        "CREATE INDEX comment_feedback_by_target ON comment_feedback (target_id, id)",
        """CREATE TABLE demonstration_feedback (
            id BLOB PRIMARY KEY, inference_id BLOB NOT NULL, value TEXT NOT NULL,
            snapshot_hash TEXT NOT NULL, tags TEXT NOT NULL)""",
        "CREATE INDEX demonstration_feedback_by_inference ON demonstration_feedback (inference_id, id)",
        """CREATE TABLE datapoint (
            id BLOB PRIMARY KEY, dataset_name TEXT NOT NULL, function_name TEXT NOT NULL, function_type TEXT NOT NULL,
            input TEXT NOT NULL, split TEXT NOT NULL, "group" TEXT NOT NULL, content_key TEXT NOT NULL,
            updated_at TEXT NOT NULL, snapshot_hash TEXT NOT NULL, output TEXT, episode_id BLOB, tools TEXT,
            output_schema TEXT, tags TEXT NOT NULL, is_custom INTEGER NOT NULL, source_inference_id BLOB, name TEXT,
            staled_at TEXT)""",
        "CREATE INDEX datapoint_by_dataset ON datapoint (dataset_name, updated_at, id) WHERE staled_at IS NULL",
        "CREATE INDEX datapoint_by_content ON datapoint (content_key)",
        """CREATE TABLE dicl_example (
            id BLOB PRIMARY KEY, function_name TEXT NOT NULL, variant_name TEXT NOT NULL, input TEXT NOT NULL,
            output TEXT NOT NULL, embedding BLOB NOT NULL)""",
        "CREATE INDEX dicl_example_by_variant ON dicl_example (function_name, variant_name)",
        """CREATE TABLE config_snapshot (
            hash TEXT PRIMARY KEY, config TEXT NOT NULL, extra_templates TEXT NOT NULL,
            headrace_version TEXT NOT NULL, created_at TEXT NOT NULL)""",
        """CREATE TABLE evaluation_run (
            id BLOB PRIMARY KEY, evaluation_name TEXT NOT NULL, function_name TEXT NOT NULL,
            function_type TEXT NOT NULL, dataset_name TEXT NOT NULL, split TEXT NOT NULL, variant_names TEXT NOT NULL,
            metrics TEXT NOT NULL, snapshot_hash TEXT NOT NULL, created_at TEXT NOT NULL)""",
    ),
    # With a rowid, since an entry may be far larger than a page. Its age is reckoned, so its instant is a number.
    ("CREATE TABLE inference_cache (key TEXT PRIMARY KEY, written_at REAL NOT NULL, entry BLOB NOT NULL)",),
    (
        """CREATE TABLE batch_request (
            id BLOB PRIMARY KEY, batch_id BLOB NOT NULL, status TEXT NOT NULL, batch_params TEXT NOT NULL,
            function_name TEXT NOT NULL, variant_name TEXT NOT NULL, model_name TEXT NOT NULL,
            model_provider_name TEXT NOT NULL, snapshot_hash TEXT NOT NULL, raw_request TEXT NOT NULL,
            raw_response TEXT NOT NULL, errors TEXT NOT NULL)""",
        "CREATE INDEX batch_request_by_batch ON batch_request (batch_id, id)",
        """CREATE TABLE batch_inference (
            id BLOB PRIMARY KEY, batch_id BLOB NOT NULL, model_inference_id BLOB NOT NULL, function_name TEXT NOT NULL,
            variant_name TEXT NOT NULL, function_type TEXT NOT NULL, episode_id BLOB NOT NULL, input TEXT NOT NULL,
            variant_probability REAL NOT NULL, model_name TEXT NOT NULL, model_provider_name TEXT NOT NULL,
            snapshot_hash TEXT NOT NULL, system TEXT, input_messages TEXT NOT NULL, tools TEXT, output_schema TEXT,
            inference_params TEXT NOT NULL, raw_request TEXT NOT NULL, tags TEXT NOT NULL)""",
        "CREATE INDEX batch_inference_by_batch ON batch_inference (batch_id, id)",
    ),
    (
        "ALTER TABLE inference ADD COLUMN extra_body TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE datapoint ADD COLUMN near_keys TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE datapoint ADD COLUMN editor TEXT",
        "ALTER TABLE datapoint ADD COLUMN replaces BLOB",
        "ALTER TABLE config_snapshot ADD COLUMN last_used TEXT",
        "ALTER TABLE config_snapshot ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'",
        """CREATE TABLE human_feedback (
            id BLOB PRIMARY KEY, metric_name TEXT NOT NULL, datapoint_id BLOB NOT NULL, output TEXT NOT NULL,
            value TEXT NOT NULL, evaluator_inference_id BLOB)""",
        """CREATE TABLE holdout_access (
            id BLOB PRIMARY KEY, dataset_name TEXT NOT NULL, reader TEXT NOT NULL, purpose TEXT NOT NULL,
            datapoint_count INTEGER NOT NULL, snapshot_hash TEXT NOT NULL)""",
        """CREATE TABLE workflow_run (
            id BLOB PRIMARY KEY, variant_pins TEXT NOT NULL, snapshot_hash TEXT NOT NULL, project_name TEXT,
            display_name TEXT, tags TEXT NOT NULL)""",
        """CREATE TABLE workflow_episode (
            id BLOB PRIMARY KEY, run_id BLOB NOT NULL, variant_pins TEXT NOT NULL, snapshot_hash TEXT NOT NULL,
            task_name TEXT, tags TEXT NOT NULL)""",
        """CREATE TABLE api_key (
            id BLOB PRIMARY KEY, public_id TEXT NOT NULL, hash TEXT NOT NULL, created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL, organization TEXT NOT NULL, workspace TEXT NOT NULL, description TEXT,
            disabled_at TEXT, expires_at TEXT)""",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that the file has not seen, all or none. Raise StoreError for a file from the future."""
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again, now that nobody else can write: another process may have been here first.
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise StoreError(
                f"schema version {version} found, this headrace-sqlite knows versions up to {len(MIGRATIONS)}: "
                "upgrade headrace-sqlite, or name another file"
            )
        for statement in [each for step in MIGRATIONS[version:] for each in step]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
