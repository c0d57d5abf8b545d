"""The tables, step by step. A step that has been released is never changed; each may be done again, without harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

_N: Final = "LowCardinality(String)"
_TEXT: Final = "String CODEC(ZSTD(1))"
_TEXT_OR_NULL: Final = "Nullable(String) CODEC(ZSTD(1))"
_TAGS: Final = "tags Map(String, String)"
_BY_ID: Final = "INDEX by_id id TYPE bloom_filter(0.001) GRANULARITY 1"
_TAG_INDEXES: Final = (
    "INDEX by_tag_key mapKeys(tags) TYPE bloom_filter(0.01) GRANULARITY 1,"
    " INDEX by_tag_value mapValues(tags) TYPE bloom_filter(0.01) GRANULARITY 1"
)
# For people and dashboards; this store itself reckons with the number.
_TIMESTAMP: Final = (
    "timestamp DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(toUInt128(id), 80)), 'UTC')"
)
# A merge keeps the row of the greatest precedence: the server's clock, so that several gateways agree.
_LAST: Final = "toUnixTimestamp64Nano(now64(9))"
_FIRST: Final = f"-{_LAST}"

# Rows of long texts are looked up one by one: small granules, so that little is read for each.
_LONG: Final = "index_granularity = 512"
_SHORT: Final = "index_granularity = 2048"
# What an insert returned for survives a loss of power.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"


class Dialect(NamedTuple):
    """How tables are made here: on one server, or with replicas on those of a cluster."""

    cluster: str | None = None

    @property
    def on(self) -> str:
        """The clause that sends a statement to all servers."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def engine(self, name: str, table: str, *arguments: str) -> str:
        """A MergeTree engine, replicated in a cluster; its path has the table's own id, so it may be made again."""
        if self.cluster:
            path = f"'/clickhouse/tables/{{shard}}/headrace/{{database}}/{table}/{{uuid}}'"
            return f"Replicated{name}({', '.join((path, repr('{replica}'), *arguments))})"
        return f"{name}({', '.join(arguments)})"


class Step(NamedTuple):
    """One version: what it brings, the statements that bring it, those that take it back, and what is then lost."""

    says: str
    forward: Callable[[Dialect], list[str]]
    back: Callable[[Dialect], list[str]]
    loses: str


def _table(
    dialect: Dialect, name: str, columns: str, key: str, precedence: str = _FIRST, settings: str = _SHORT
) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{dialect.on} ({columns}, precedence Int64 DEFAULT {precedence})"
        f" ENGINE = {dialect.engine('ReplacingMergeTree', name, 'precedence')}"
        f" ORDER BY ({key}) SETTINGS {settings}, {_DURABLE}"
    )


def _id_table(
    dialect: Dialect, name: str, columns: str, key: str, precedence: str = _FIRST, settings: str = _SHORT
) -> str:
    return _table(dialect, name, f"id UUID, {columns}, {_TIMESTAMP}", key, precedence, settings)


def _records(dialect: Dialect) -> list[str]:
    d, own = dialect, "toUInt128(id)"
    feedback = f"snapshot_hash {_N}, {_TAGS}, {_BY_ID}"
    target = "toUInt128(target_id), toUInt128(id)"
    batch = "toUInt128(batch_id), toUInt128(id)"
    names = f"function_name {_N}, variant_name {_N}"
    models = f"model_name {_N}, model_provider_name {_N}"
    return [
        _id_table(
            d,
            "inference",
            f"{names}, function_type {_N}, episode_id UUID, input {_TEXT_OR_NULL}, output {_TEXT_OR_NULL},"
            f" variant_probability Nullable(Float64), snapshot_hash {_N}, tools {_TEXT_OR_NULL},"
            f" output_schema {_TEXT_OR_NULL},"
            f" auxiliary_content {_TEXT}, inference_params {_TEXT}, extra_body {_TEXT},"
            f" processing_time_ms Nullable(Int64), ttft_ms Nullable(Int64), {_TAGS},"
            f" INDEX by_episode episode_id TYPE bloom_filter(0.01) GRANULARITY 1, {_TAG_INDEXES}",
            own,
            settings=_LONG,
        ),
        _id_table(
            d,
            "model_inference",
            f"inference_id UUID, {names}, {models}, snapshot_hash {_N}, raw_request {_TEXT}, raw_response {_TEXT},"
            f" system {_TEXT_OR_NULL}, input_messages {_TEXT}, output {_TEXT},"
            " finish_reason LowCardinality(Nullable(String)), input_tokens Nullable(Int64),"
            " output_tokens Nullable(Int64), provider_cache_read_input_tokens Nullable(Int64),"
            " provider_cache_write_input_tokens Nullable(Int64), cost Nullable(String),"
            " response_time_ms Nullable(Int64), ttft_ms Nullable(Int64), cached Bool, error Nullable(String),"
            f" {_BY_ID}",
            "toUInt128(inference_id), toUInt128(id)",
            settings=_LONG,
        ),
        _id_table(
            d,
            "boolean_metric_feedback",
            f"target_id UUID, metric_name {_N}, value Bool, {feedback}",
            f"metric_name, {target}",
        ),
        _id_table(
            d,
            "float_metric_feedback",
            f"target_id UUID, metric_name {_N}, value Float64, {feedback}",
            f"metric_name, {target}",
        ),
        _id_table(d, "comment_feedback", f"target_id UUID, target_type {_N}, value {_TEXT}, {feedback}", target),
        _id_table(
            d,
            "demonstration_feedback",
            f"inference_id UUID, value {_TEXT}, {feedback}",
            "toUInt128(inference_id), toUInt128(id)",
        ),
        _id_table(
            d,
            "human_feedback",
            f"metric_name {_N}, datapoint_id UUID, output {_TEXT}, value String,"
            f" evaluator_inference_id Nullable(UUID), {_BY_ID}",
            "metric_name, toUInt128(datapoint_id), toUInt128(id)",
        ),
        _id_table(
            d,
            "datapoint",
            f"dataset_name {_N}, function_name {_N}, function_type {_N}, input {_TEXT}, split {_N}, `group` String,"
            f" content_key String, updated_at String, snapshot_hash {_N}, output {_TEXT_OR_NULL},"
            f" episode_id Nullable(UUID), tools {_TEXT_OR_NULL}, output_schema {_TEXT_OR_NULL}, {_TAGS},"
            " is_custom Bool, source_inference_id Nullable(UUID), name Nullable(String), staled_at Nullable(String),"
            " near_keys Array(String), editor Nullable(String), replaces Nullable(UUID),"
            " INDEX by_content content_key TYPE bloom_filter(0.01) GRANULARITY 1,"
            " INDEX by_near_key near_keys TYPE bloom_filter(0.01) GRANULARITY 1,"
            f" {_TAG_INDEXES}",
            own,
            _LAST,
            _LONG,
        ),
        _id_table(
            d,
            "holdout_access",
            f"dataset_name {_N}, reader String, purpose String, datapoint_count Int64, snapshot_hash {_N}",
            own,
        ),
        _id_table(
            d,
            "dicl_example",
            f"{names}, input {_TEXT}, output {_TEXT}, embedding Array(Float32)",
            "function_name, variant_name, toUInt128(id)",
        ),
        _table(
            d,
            "config_snapshot",
            "`hash` String, config String CODEC(ZSTD(1)), extra_templates String, headrace_version String,"
            f" created_at String, last_used Nullable(String), {_TAGS}",
            "`hash`",
            _LAST,
        ),
        _id_table(
            d,
            "evaluation_run",
            f"evaluation_name String, function_name {_N}, function_type {_N}, dataset_name {_N}, split {_N},"
            f" variant_names String, metrics String, snapshot_hash {_N}, created_at String",
            own,
        ),
        _id_table(
            d,
            "workflow_run",
            f"variant_pins String, snapshot_hash {_N}, project_name Nullable(String), display_name Nullable(String),"
            f" {_TAGS}",
            own,
        ),
        _id_table(
            d,
            "workflow_episode",
            f"run_id UUID, variant_pins String, snapshot_hash {_N}, task_name Nullable(String), {_TAGS}",
            own,
        ),
        _id_table(
            d,
            "api_key",
            "public_id String, `hash` String, created_at String, updated_at String, organization String,"
            " workspace String, description Nullable(String), disabled_at Nullable(String),"
            " expires_at Nullable(String)",
            own,
            _LAST,
        ),
        _id_table(
            d,
            "batch_request",
            f"batch_id UUID, status {_N}, batch_params {_TEXT}, {names}, {models}, snapshot_hash {_N},"
            f" raw_request {_TEXT}, raw_response {_TEXT}, errors {_TEXT}, {_BY_ID}",
            batch,
        ),
        _id_table(
            d,
            "batch_inference",
            f"batch_id UUID, model_inference_id UUID, {names}, function_type {_N}, episode_id UUID, input {_TEXT},"
            f" variant_probability Nullable(Float64), {models}, snapshot_hash {_N}, system {_TEXT_OR_NULL},"
            f" input_messages {_TEXT}, tools {_TEXT_OR_NULL}, output_schema {_TEXT_OR_NULL}, inference_params {_TEXT},"
            f" raw_request {_TEXT}, {_TAGS}, {_BY_ID}",
            batch,
        ),
    ]


_RECORD_TABLES: Final = (
    "inference",
    "model_inference",
    "boolean_metric_feedback",
    "float_metric_feedback",
    "comment_feedback",
    "demonstration_feedback",
    "human_feedback",
    "datapoint",
    "holdout_access",
    "dicl_example",
    "config_snapshot",
    "evaluation_run",
    "workflow_run",
    "workflow_episode",
    "api_key",
    "batch_request",
    "batch_inference",
)


def _cache(dialect: Dialect) -> list[str]:
    columns = "key String, written_at Float64, entry String"  # base64, since JSON cannot carry bytes
    return [_table(dialect, "inference_cache", columns, "key", _LAST)]


def _dropping(*tables: str) -> Callable[[Dialect], list[str]]:
    return lambda dialect: [f"DROP TABLE IF EXISTS {table}{dialect.on} SYNC" for table in tables]


# What a step sets of a table that is there, for parts that are written from then on.
_TUNED: Final = (
    # Up to this size the columns of a part share one file, else each has two, and an insert waits until the disk has
    # every file. A batch of long texts has some 20 MB; what many of them are merged to gets its files as before.
    ("model_inference", "min_bytes_for_wide_part", 128 << 20),
    # A page of rows from all over the table unpacks a block of each column for every row: 64 KiB are 16 granules of
    # numbers, this is one.
    ("inference", "min_compress_block_size", 4096),
)


def _tune(dialect: Dialect) -> list[str]:
    return [f"ALTER TABLE {table}{dialect.on} MODIFY SETTING {name} = {value:d}" for table, name, value in _TUNED]


def _untune(dialect: Dialect) -> list[str]:
    return [f"ALTER TABLE {table}{dialect.on} RESET SETTING {name}" for table, name, _ in _TUNED]


def _priced(dialect: Dialect) -> list[str]:
    column = "price_version LowCardinality(Nullable(String))"
    return [f"ALTER TABLE model_inference{dialect.on} ADD COLUMN IF NOT EXISTS {column}"]


def _unpriced(dialect: Dialect) -> list[str]:
    return [f"ALTER TABLE model_inference{dialect.on} DROP COLUMN IF EXISTS price_version"]


STEPS: Final = (
    Step("one table for each kind of record", _records, _dropping(*_RECORD_TABLES), "every record"),
    Step("cached answers of models", _cache, _dropping("inference_cache"), "every cached answer"),
    Step("attempts in fewer files, inferences in smaller blocks", _tune, _untune, "nothing but speed"),
    Step("by whose prices attempts have their cost", _priced, _unpriced, "by whose prices attempts have their cost"),
)


def version_table(dialect: Dialect) -> str:
    """Where it is written which step was done last; a line for each time."""
    return (
        f"CREATE TABLE IF NOT EXISTS schema_migration{dialect.on}"
        " (version UInt32, applied_at DateTime64(9, 'UTC') DEFAULT now64(9))"
        f" ENGINE = {dialect.engine('MergeTree', 'schema_migration')} ORDER BY applied_at SETTINGS {_DURABLE}"
    )
