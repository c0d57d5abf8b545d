"""The tables, and the steps that bring a schema up to date. A step that has been released never changes.

Names that are compared or sorted have ``COLLATE "C"``: by code points, and faster. Nested values are JSON as text, so
that they come back byte for byte. Digests are what ``tables.digest`` makes of tags and near keys, ``timestamp`` is the
instant of the id, for those who ask by SQL. Indexes hold the beginning of a name (``conditions.INDEXED``), as
``metric_key`` does. To add a column: a field of the record in core, and a step here.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Step(NamedTuple):
    """From one version to the next, and back. ``loses`` is what the way back throws away, "" if nothing."""

    what: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    loses: str = ""


_RECORDS: Final = Step(
    what="tables and indexes of all records",
    up=(
        """CREATE TABLE inference (
            "timestamp" timestamptz GENERATED ALWAYS AS
                (to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)) STORED,
            id uuid PRIMARY KEY, function_name text COLLATE "C" NOT NULL, variant_name text COLLATE "C" NOT NULL,
            function_type text NOT NULL, episode_id uuid NOT NULL, input text, output text,
            variant_probability float8, snapshot_hash text NOT NULL, tools text, output_schema text,
            auxiliary_content text NOT NULL, inference_params text NOT NULL, extra_body text NOT NULL,
            processing_time_ms bigint, ttft_ms bigint, tags text NOT NULL, tag_digests uuid[] NOT NULL)""",
        """CREATE TABLE model_inference (
            "timestamp" timestamptz GENERATED ALWAYS AS
                (to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)) STORED,
            id uuid PRIMARY KEY, inference_id uuid NOT NULL, function_name text COLLATE "C" NOT NULL,
            variant_name text COLLATE "C" NOT NULL, model_name text COLLATE "C" NOT NULL,
            model_provider_name text COLLATE "C" NOT NULL, snapshot_hash text NOT NULL, raw_request text NOT NULL,
            raw_response text NOT NULL, system text, input_messages text NOT NULL, output text NOT NULL,
            finish_reason text, input_tokens bigint, output_tokens bigint, provider_cache_read_input_tokens bigint,
            provider_cache_write_input_tokens bigint, cost numeric, response_time_ms bigint, ttft_ms bigint,
            cached boolean NOT NULL, error text)""",
        """CREATE TABLE boolean_metric_feedback (
            metric_key text COLLATE "C" GENERATED ALWAYS AS (left(metric_name, 200)) STORED,
            id uuid PRIMARY KEY, target_id uuid NOT NULL, metric_name text COLLATE "C" NOT NULL,
            value boolean NOT NULL, snapshot_hash text NOT NULL, tags text NOT NULL)""",
        """CREATE TABLE float_metric_feedback (
            metric_key text COLLATE "C" GENERATED ALWAYS AS (left(metric_name, 200)) STORED,
            id uuid PRIMARY KEY, target_id uuid NOT NULL, metric_name text COLLATE "C" NOT NULL,
            value float8 NOT NULL, snapshot_hash text NOT NULL, tags text NOT NULL)""",
        """CREATE TABLE comment_feedback (
            id uuid PRIMARY KEY, target_id uuid NOT NULL, target_type text NOT NULL, value text NOT NULL,
            snapshot_hash text NOT NULL, tags text NOT NULL)""",
        """CREATE TABLE demonstration_feedback (
            id uuid PRIMARY KEY, inference_id uuid NOT NULL, value text NOT NULL, snapshot_hash text NOT NULL,
            tags text NOT NULL)""",
        """CREATE TABLE human_feedback (
            id uuid PRIMARY KEY, metric_name text COLLATE "C" NOT NULL, datapoint_id uuid NOT NULL,
            output text NOT NULL, value text NOT NULL, evaluator_inference_id uuid)""",
        """CREATE TABLE datapoint (
            id uuid PRIMARY KEY, dataset_name text COLLATE "C" NOT NULL, function_name text COLLATE "C" NOT NULL,
            function_type text NOT NULL, input text NOT NULL, split text NOT NULL, "group" text NOT NULL,
            content_key text COLLATE "C" NOT NULL, updated_at timestamptz NOT NULL, snapshot_hash text NOT NULL,
            output text, episode_id uuid, tools text, output_schema text, tags text NOT NULL,
            is_custom boolean NOT NULL, source_inference_id uuid, name text, staled_at timestamptz,
            near_keys text NOT NULL, editor text, replaces uuid, tag_digests uuid[] NOT NULL,
            near_digests uuid[] NOT NULL)""",
        """CREATE TABLE holdout_access (
            id uuid PRIMARY KEY, dataset_name text COLLATE "C" NOT NULL, reader text NOT NULL, purpose text NOT NULL,
            datapoint_count bigint NOT NULL, snapshot_hash text NOT NULL)""",
        """CREATE TABLE dicl_example (
            id uuid PRIMARY KEY, function_name text COLLATE "C" NOT NULL, variant_name text COLLATE "C" NOT NULL,
            input text NOT NULL, output text NOT NULL, embedding float4[] NOT NULL)""",
        """CREATE TABLE config_snapshot (
            hash text COLLATE "C" PRIMARY KEY, config text NOT NULL, extra_templates text NOT NULL,
            headrace_version text NOT NULL, created_at timestamptz NOT NULL, last_used timestamptz,
            tags text NOT NULL)""",
        """CREATE TABLE evaluation_run (
            id uuid PRIMARY KEY, evaluation_name text NOT NULL, function_name text COLLATE "C" NOT NULL,
            function_type text NOT NULL, dataset_name text COLLATE "C" NOT NULL, split text NOT NULL,
            variant_names text NOT NULL, metrics text NOT NULL, snapshot_hash text NOT NULL,
            created_at timestamptz NOT NULL)""",
        """CREATE TABLE workflow_run (
            id uuid PRIMARY KEY, variant_pins text NOT NULL, snapshot_hash text NOT NULL, project_name text,
            display_name text, tags text NOT NULL)""",
        """CREATE TABLE workflow_episode (
            id uuid PRIMARY KEY, run_id uuid NOT NULL, variant_pins text NOT NULL, snapshot_hash text NOT NULL,
            task_name text, tags text NOT NULL)""",
        """CREATE TABLE batch_request (
            id uuid PRIMARY KEY, batch_id uuid NOT NULL, status text NOT NULL, batch_params text NOT NULL,
            function_name text COLLATE "C" NOT NULL, variant_name text COLLATE "C" NOT NULL,
            model_name text COLLATE "C" NOT NULL, model_provider_name text COLLATE "C" NOT NULL,
            snapshot_hash text NOT NULL, raw_request text NOT NULL, raw_response text NOT NULL,
            errors text NOT NULL)""",
        """CREATE TABLE batch_inference (
            id uuid PRIMARY KEY, batch_id uuid NOT NULL, model_inference_id uuid NOT NULL,
            function_name text COLLATE "C" NOT NULL, variant_name text COLLATE "C" NOT NULL,
            function_type text NOT NULL, episode_id uuid NOT NULL, input text NOT NULL,
            variant_probability float8, model_name text COLLATE "C" NOT NULL,
            model_provider_name text COLLATE "C" NOT NULL, snapshot_hash text NOT NULL, system text,
            input_messages text NOT NULL, tools text, output_schema text, inference_params text NOT NULL,
            raw_request text NOT NULL, tags text NOT NULL)""",
        """CREATE TABLE api_key (
            id uuid PRIMARY KEY, public_id text NOT NULL, hash text COLLATE "C" NOT NULL,
            created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, organization text NOT NULL,
            workspace text NOT NULL, description text, disabled_at timestamptz, expires_at timestamptz)""",
        "CREATE INDEX inference_by_function ON inference (left(function_name, 200), id)",
        "CREATE INDEX inference_by_variant ON inference (left(function_name, 200), left(variant_name, 200), id)",
        "CREATE INDEX inference_by_episode ON inference (episode_id, id)",
        "CREATE INDEX inference_by_tag ON inference USING gin (tag_digests)",
        "CREATE INDEX model_inference_by_inference ON model_inference (inference_id, id)",
        "CREATE INDEX boolean_metric_feedback_by_target ON boolean_metric_feedback (target_id, metric_key, id)",
        "CREATE INDEX boolean_metric_feedback_by_value ON boolean_metric_feedback (metric_key, value, target_id)",
        "CREATE STATISTICS boolean_metric_feedback_values (mcv) ON metric_key, value FROM boolean_metric_feedback",
        "CREATE INDEX float_metric_feedback_by_target ON float_metric_feedback (target_id, metric_key, id)",
        "CREATE INDEX float_metric_feedback_by_value ON float_metric_feedback (metric_key, value, target_id)",
        "CREATE STATISTICS float_metric_feedback_values (mcv) ON metric_key, value FROM float_metric_feedback",
        "CREATE INDEX comment_feedback_by_target ON comment_feedback (target_id, id)",
        "CREATE INDEX demonstration_feedback_by_inference ON demonstration_feedback (inference_id, id)",
        "CREATE INDEX human_feedback_by_datapoint ON human_feedback (datapoint_id, id)",
        """CREATE INDEX datapoint_by_dataset ON datapoint (left(dataset_name, 200), updated_at, id)
            WHERE staled_at IS NULL""",
        "CREATE INDEX datapoint_by_content ON datapoint (left(content_key, 200))",
        "CREATE INDEX datapoint_by_near_key ON datapoint USING gin (near_digests)",
        "CREATE INDEX datapoint_by_tag ON datapoint USING gin (tag_digests)",
        "CREATE INDEX holdout_access_by_dataset ON holdout_access (left(dataset_name, 200), id)",
        "CREATE INDEX dicl_example_by_variant ON dicl_example (left(function_name, 200), left(variant_name, 200))",
        "CREATE INDEX batch_request_by_batch ON batch_request (batch_id, id)",
        "CREATE INDEX batch_inference_by_batch ON batch_inference (batch_id, id)",
        # Neighbours of the newest rows decide how a query is planned: count them more often than every tenth row.
        "ALTER TABLE inference SET (autovacuum_analyze_scale_factor = 0.02)",
        "ALTER TABLE boolean_metric_feedback SET (autovacuum_analyze_scale_factor = 0.02)",
        "ALTER TABLE float_metric_feedback SET (autovacuum_analyze_scale_factor = 0.02)",
    ),
    down=(
        "DROP TABLE api_key",
        "DROP TABLE batch_inference",
        "DROP TABLE batch_request",
        "DROP TABLE workflow_episode",
        "DROP TABLE workflow_run",
        "DROP TABLE evaluation_run",
        "DROP TABLE config_snapshot",
        "DROP TABLE dicl_example",
        "DROP TABLE holdout_access",
        "DROP TABLE datapoint",
        "DROP TABLE human_feedback",
        "DROP TABLE demonstration_feedback",
        "DROP TABLE comment_feedback",
        "DROP TABLE float_metric_feedback",
        "DROP TABLE boolean_metric_feedback",
        "DROP TABLE model_inference",
        "DROP TABLE inference",
    ),
    loses="every record",
)

_CACHE: Final = Step(
    what="the table of cached answers",
    # `written_at` in seconds since the epoch, by the gateway's clock: ages are reckoned from it.
    up=(
        """CREATE TABLE inference_cache (
            key text COLLATE "C" PRIMARY KEY, written_at float8 NOT NULL, entry bytea NOT NULL)""",
        "CREATE INDEX inference_cache_by_age ON inference_cache (written_at)",
    ),
    down=("DROP TABLE inference_cache",),
    loses="cached answers",
)

_KEYS: Final = Step(
    what="an index of API keys",
    up=("CREATE INDEX api_key_by_public_id ON api_key (left(public_id, 200))",),
    down=("DROP INDEX api_key_by_public_id",),
)

_BUCKETS: Final = Step(
    what="the buckets of rate limits",
    # Keys may be too long for an index, so their digests are in it. Space left in each page spares a busy row new
    # entries there.
    up=(
        """CREATE TABLE resource_bucket (
            id bytea PRIMARY KEY, key text COLLATE "C" NOT NULL, balance bigint NOT NULL,
            filled_at timestamptz NOT NULL) WITH (fillfactor = 50)""",
        # What each bucket had. Rows are locked one by one, in the order of the ids. A crash of the server may give back
        # what was taken last: others would have to wait for the disk as well, since the rows stay locked till then.
        """CREATE FUNCTION use_buckets(
            ids bytea[], keys text[], capacities bigint[], rates bigint[], windows text[], changes bigint[],
            is_take boolean) RETURNS bigint[] LANGUAGE plpgsql AS $$
        DECLARE
            had bigint[] := '{}';
            filled timestamptz[] := '{}';
            enough boolean := true;
            at timestamptz;
            since timestamptz;
            balance_now bigint;
            length int;
            passed numeric;
        BEGIN
            PERFORM set_config('synchronous_commit', 'off', true);
            FOR i IN 1 .. cardinality(ids) LOOP
                SELECT balance, filled_at INTO balance_now, since FROM resource_bucket WHERE id = ids[i] FOR UPDATE;
                IF NOT FOUND THEN
                    INSERT INTO resource_bucket (id, key, balance, filled_at)
                        VALUES (ids[i], keys[i], capacities[i], clock_timestamp()) ON CONFLICT (id) DO NOTHING;
                    SELECT balance, filled_at INTO balance_now, since FROM resource_bucket WHERE id = ids[i] FOR UPDATE;
                END IF;
                at := greatest(clock_timestamp(), since);
                IF windows[i] = 'month' THEN
                    passed := (extract(year FROM at AT TIME ZONE 'UTC') - extract(year FROM since AT TIME ZONE 'UTC'))
                        * 12 + extract(month FROM at AT TIME ZONE 'UTC') - extract(month FROM since AT TIME ZONE 'UTC');
                    IF (since AT TIME ZONE 'UTC' + passed::int * interval '1 month') AT TIME ZONE 'UTC' > at THEN
                        passed := passed - 1;
                    END IF;
                    since := (since AT TIME ZONE 'UTC' + passed::int * interval '1 month') AT TIME ZONE 'UTC';
                ELSE
                    length := CASE windows[i] WHEN 'second' THEN 1 WHEN 'minute' THEN 60 WHEN 'hour' THEN 3600
                        WHEN 'day' THEN 86400 WHEN 'week' THEN 604800 END;
                    passed := floor(extract(epoch FROM at - since)::numeric / length);
                    since := since + passed::float8 * length * interval '1 second';
                END IF;
                balance_now := least(balance_now + passed * rates[i], capacities[i]);
                had := had || balance_now;
                filled := filled || since;
                enough := enough AND (balance_now >= changes[i] OR changes[i] = 0);
            END LOOP;
            IF enough OR NOT is_take THEN
                FOR i IN 1 .. cardinality(ids) LOOP
                    UPDATE resource_bucket SET filled_at = filled[i], balance = CASE
                        WHEN is_take THEN had[i] - changes[i]
                        ELSE greatest(least(had[i]::numeric + changes[i], capacities[i]), -9223372036854775807) END
                        WHERE id = ids[i];
                END LOOP;
            END IF;
            RETURN had;
        END $$""",
    ),
    down=("DROP FUNCTION use_buckets", "DROP TABLE resource_bucket"),
    loses="what has been used up of rate limits",
)

_PRICES: Final = Step(
    what="by whose prices model inferences have their cost",
    up=("ALTER TABLE model_inference ADD COLUMN price_version text",),
    down=("ALTER TABLE model_inference DROP COLUMN price_version",),
    loses="by whose prices model inferences have their cost",
)

STEPS: Final[tuple[Step, ...]] = (_RECORDS, _CACHE, _KEYS, _BUCKETS, _PRICES)
