"""The steps that bring a file from one version of the schema to the next, and back.

A step that has been released never changes.

Ids are UUIDv7 as 16-byte BLOBs, so that they sort by time; instants are ISO 8601 text in UTC with microseconds,
which sorts as well; nested values are JSON text. To add a column: a field of the record in core, and a step here.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Step(NamedTuple):
    """What it does, the statements, those that take it back, and what is lost then ("" if nothing is)."""

    meaning: str
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    loss: str


STEPS: Final[tuple[Step, ...]] = (
    Step(
        "inferences, feedback, datapoints, examples, configurations, runs of evaluations",
        (
            """CREATE TABLE inference (
                id BLOB PRIMARY KEY, function_name TEXT NOT NULL, variant_name TEXT NOT NULL,
                function_type TEXT NOT NULL, episode_id BLOB NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL,
                variant_probability REAL NOT NULL, snapshot_hash TEXT NOT NULL, tools TEXT, output_schema TEXT,
                auxiliary_content TEXT NOT NULL,
                inference_params TEXT NOT NULL, processing_time_ms INTEGER, ttft_ms INTEGER, tags TEXT NOT NULL)""",
            "CREATE INDEX inference_by_function ON inference (function_name, id)",
            "CREATE INDEX inference_by_episode ON inference (episode_id, id)",
            """CREATE TABLE inference_tag (
                key TEXT NOT NULL, value TEXT NOT NULL, inference_id BLOB NOT NULL,
                PRIMARY KEY (key, value, inference_id)) WITHOUT ROWID""",
            """CREATE TABLE model_inference (
                id BLOB PRIMARY KEY, inference_id BLOB NOT NULL, function_name TEXT NOT NULL,
                variant_name TEXT NOT NULL, model_name TEXT NOT NULL, model_provider_name TEXT NOT NULL,
                snapshot_hash TEXT NOT NULL,
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
                id BLOB PRIMARY KEY, dataset_name TEXT NOT NULL, function_name TEXT NOT NULL,
                function_type TEXT NOT NULL, input TEXT NOT NULL, split TEXT NOT NULL, "group" TEXT NOT NULL,
                content_key TEXT NOT NULL,
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
                function_type TEXT NOT NULL, dataset_name TEXT NOT NULL, split TEXT NOT NULL,
                variant_names TEXT NOT NULL, metrics TEXT NOT NULL, snapshot_hash TEXT NOT NULL,
                created_at TEXT NOT NULL)""",
        ),
        tuple(
            f"DROP TABLE {name}"
            for name in (
                "inference",
                "inference_tag",
                "model_inference",
                "boolean_metric_feedback",
                "float_metric_feedback",
                "comment_feedback",
                "demonstration_feedback",
                "datapoint",
                "dicl_example",
                "config_snapshot",
                "evaluation_run",
            )
        ),
        "every record",
    ),
    Step(
        "the cache of answers",
        # With a rowid, since an entry may be far larger than a page. Its age is reckoned, so its instant is a number.
        ("CREATE TABLE inference_cache (key TEXT PRIMARY KEY, written_at REAL NOT NULL, entry BLOB NOT NULL)",),
        ("DROP TABLE inference_cache",),
        "the cached answers",
    ),
    Step(
        "batches",
        (
            """CREATE TABLE batch_request (
                id BLOB PRIMARY KEY, batch_id BLOB NOT NULL, status TEXT NOT NULL, batch_params TEXT NOT NULL,
                function_name TEXT NOT NULL, variant_name TEXT NOT NULL, model_name TEXT NOT NULL,
                model_provider_name TEXT NOT NULL, snapshot_hash TEXT NOT NULL, raw_request TEXT NOT NULL,
                raw_response TEXT NOT NULL, errors TEXT NOT NULL)""",
            "CREATE INDEX batch_request_by_batch ON batch_request (batch_id, id)",
            """CREATE TABLE batch_inference (
                id BLOB PRIMARY KEY, batch_id BLOB NOT NULL, model_inference_id BLOB NOT NULL,
                function_name TEXT NOT NULL, variant_name TEXT NOT NULL, function_type TEXT NOT NULL,
                episode_id BLOB NOT NULL, input TEXT NOT NULL,
                variant_probability REAL NOT NULL, model_name TEXT NOT NULL, model_provider_name TEXT NOT NULL,
                snapshot_hash TEXT NOT NULL, system TEXT, input_messages TEXT NOT NULL, tools TEXT, output_schema TEXT,
                inference_params TEXT NOT NULL, raw_request TEXT NOT NULL, tags TEXT NOT NULL)""",
            "CREATE INDEX batch_inference_by_batch ON batch_inference (batch_id, id)",
        ),
        ("DROP TABLE batch_request", "DROP TABLE batch_inference"),
        "the batches",
    ),
    Step(
        "runs of workflows, API keys, judgements, retention, near copies; indexes for filters and sums",
        (
            "ALTER TABLE inference ADD COLUMN extra_body TEXT NOT NULL DEFAULT '[]'",
            # SQLite cannot take NOT NULL off a column.
            "ALTER TABLE inference RENAME COLUMN variant_probability TO probability",
            "ALTER TABLE inference ADD COLUMN variant_probability REAL",
            "UPDATE inference SET variant_probability = probability",
            "ALTER TABLE inference DROP COLUMN probability",
            "ALTER TABLE batch_inference RENAME COLUMN variant_probability TO probability",
            "ALTER TABLE batch_inference ADD COLUMN variant_probability REAL",
            "UPDATE batch_inference SET variant_probability = probability",
            "ALTER TABLE batch_inference DROP COLUMN probability",
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
            "CREATE INDEX human_feedback_by_datapoint ON human_feedback (datapoint_id, metric_name, id)",
            "CREATE INDEX holdout_access_by_dataset ON holdout_access (dataset_name, id)",
            # Of datapoints, what filters select by.
            """CREATE TABLE datapoint_tag (
                datapoint_id BLOB NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
                PRIMARY KEY (datapoint_id, key)) WITHOUT ROWID""",
            """CREATE TABLE datapoint_near_key (
                datapoint_id BLOB NOT NULL, near_key TEXT NOT NULL,
                PRIMARY KEY (datapoint_id, near_key)) WITHOUT ROWID""",
            "CREATE INDEX datapoint_near_key_by_key ON datapoint_near_key (near_key, datapoint_id)",
            "CREATE INDEX datapoint_by_episode ON datapoint (episode_id) WHERE episode_id IS NOT NULL",
            """INSERT OR IGNORE INTO datapoint_tag (datapoint_id, key, value)
                SELECT datapoint.id, tag.key, tag.value FROM datapoint, json_each(datapoint.tags) AS tag""",
            # Of inferences, all that filters and sums ask for: their rows hold payloads, which are slow to step over.
            "DROP INDEX inference_by_function",
            """CREATE INDEX inference_by_function ON inference
                (function_name, id, variant_name, episode_id, processing_time_ms, ttft_ms)""",
            "DROP INDEX inference_by_episode",
            "CREATE INDEX inference_by_episode ON inference (episode_id, id, function_name)",
            "CREATE INDEX inference_tag_by_inference ON inference_tag (inference_id, key, value)",
            """CREATE TRIGGER inference_tag_ends AFTER DELETE ON inference
                BEGIN DELETE FROM inference_tag WHERE inference_id = old.id; END""",
            """CREATE INDEX model_inference_sums ON model_inference
                (model_name, model_provider_name, function_name, variant_name, id, inference_id, input_tokens,
                output_tokens, provider_cache_read_input_tokens, provider_cache_write_input_tokens, cost,
                response_time_ms, ttft_ms, cached) WHERE error IS NULL""",
            # The latest value about a target, and the targets that have a value.
            "DROP INDEX boolean_metric_feedback_by_target",
            """CREATE INDEX boolean_metric_feedback_by_target ON boolean_metric_feedback
                (target_id, metric_name, id, value)""",
            "CREATE INDEX boolean_metric_feedback_by_value ON boolean_metric_feedback (metric_name, value, target_id)",
            "DROP INDEX float_metric_feedback_by_target",
            "CREATE INDEX float_metric_feedback_by_target ON float_metric_feedback (target_id, metric_name, id, value)",
            "CREATE INDEX float_metric_feedback_by_value ON float_metric_feedback (metric_name, value, target_id)",
        ),
        (
            "DROP INDEX boolean_metric_feedback_by_value",
            "DROP INDEX boolean_metric_feedback_by_target",
            "CREATE INDEX boolean_metric_feedback_by_target ON boolean_metric_feedback (target_id, id)",
            "DROP INDEX float_metric_feedback_by_value",
            "DROP INDEX float_metric_feedback_by_target",
            "CREATE INDEX float_metric_feedback_by_target ON float_metric_feedback (target_id, id)",
            "DROP INDEX model_inference_sums",
            "DROP TRIGGER inference_tag_ends",
            "DROP INDEX inference_tag_by_inference",
            "DROP INDEX inference_by_function",
            "CREATE INDEX inference_by_function ON inference (function_name, id)",
            "DROP INDEX inference_by_episode",
            "CREATE INDEX inference_by_episode ON inference (episode_id, id)",
            "DROP INDEX datapoint_by_episode",
            "DROP TABLE datapoint_near_key",
            "DROP TABLE datapoint_tag",
            "DROP TABLE human_feedback",
            "DROP TABLE holdout_access",
            "DROP TABLE workflow_run",
            "DROP TABLE workflow_episode",
            "DROP TABLE api_key",
            # The version before knows no payload that is gone.
            "UPDATE inference SET input = '{}' WHERE input = 'null'",
            """UPDATE inference SET output =
                CASE function_type WHEN 'json' THEN '{"raw":null,"parsed":null}' ELSE '[]' END WHERE output = 'null'""",
            # Nor a probability that is not known.
            "ALTER TABLE inference RENAME COLUMN variant_probability TO probability",
            "ALTER TABLE inference ADD COLUMN variant_probability REAL NOT NULL DEFAULT 1.0",
            "UPDATE inference SET variant_probability = probability WHERE probability IS NOT NULL",
            "ALTER TABLE inference DROP COLUMN probability",
            "ALTER TABLE batch_inference RENAME COLUMN variant_probability TO probability",
            "ALTER TABLE batch_inference ADD COLUMN variant_probability REAL NOT NULL DEFAULT 1.0",
            "UPDATE batch_inference SET variant_probability = probability WHERE probability IS NOT NULL",
            "ALTER TABLE batch_inference DROP COLUMN probability",
            "ALTER TABLE inference DROP COLUMN extra_body",
            "ALTER TABLE datapoint DROP COLUMN near_keys",
            "ALTER TABLE datapoint DROP COLUMN editor",
            "ALTER TABLE datapoint DROP COLUMN replaces",
            "ALTER TABLE config_snapshot DROP COLUMN last_used",
            "ALTER TABLE config_snapshot DROP COLUMN tags",
        ),
        "API keys, runs of workflows, human judgements, the record of who read test splits, near keys and editors of "
        "datapoints, extra bodies of inferences, tags and last use of configurations",
    ),
    Step(
        "the buckets of rate limits",
        # Refills are reckoned from their instant, so it is a number: microseconds since the epoch.
        (
            """CREATE TABLE resource_bucket (
                key TEXT PRIMARY KEY, balance INTEGER NOT NULL, filled_us INTEGER NOT NULL)""",
        ),
        ("DROP TABLE resource_bucket",),
        "what has been used up of rate limits",
    ),
    Step(
        "an index of API keys",
        ("CREATE INDEX api_key_by_public_id ON api_key (public_id)",),
        ("DROP INDEX api_key_by_public_id",),
        "",
    ),
    Step(
        "by whose prices model inferences have their cost",
        ("ALTER TABLE model_inference ADD COLUMN price_version TEXT",),
        ("ALTER TABLE model_inference DROP COLUMN price_version",),
        "by whose prices model inferences have their cost",
    ),
)
