"""The migrations of the tables, in their order. A migration that was released never changes."""

MIGRATIONS = (
    """
    CREATE TABLE calls (
        id uuid PRIMARY KEY,
        parent_id uuid,
        parent_generation int NOT NULL DEFAULT 0,
        root_id uuid NOT NULL,
        correlation_id bigint NOT NULL,
        endpoint text NOT NULL,
        function text NOT NULL,
        version text NOT NULL,
        input bytea NOT NULL,
        state smallint NOT NULL DEFAULT 1,
        status smallint NOT NULL DEFAULT 0,
        turn int NOT NULL DEFAULT 0,
        generation int NOT NULL DEFAULT 0,
        runs int NOT NULL DEFAULT 0,
        pickups int NOT NULL DEFAULT 0,
        failures int NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        next_at timestamptz,
        finished_at timestamptz,
        poll bytea,
        poll_error bytea,
        min_results int NOT NULL DEFAULT 0,
        ready int NOT NULL DEFAULT 0,
        outstanding int NOT NULL DEFAULT 0,
        delivered boolean NOT NULL DEFAULT false,
        last_error bytea,
        result bytea
    ) WITH (fillfactor = 80);
    COMMENT ON COLUMN calls.state IS '1 queued, 2 running, 3 waiting, 4 finished';
    COMMENT ON COLUMN calls.correlation_id IS 'the bits of an unsigned integer';
    COMMENT ON COLUMN calls.turn IS 'counts what is to be done; a job of another turn is stale';
    COMMENT ON COLUMN calls.generation IS 'counts beginnings; children of another do not count';
    COMMENT ON COLUMN calls.pickups IS 'how often this turn has begun';
    COMMENT ON COLUMN calls.failures IS 'failed runs in a row';
    COMMENT ON COLUMN calls.next_at IS 'queued: not before; waiting: not after';
    COMMENT ON COLUMN calls.ready IS 'results of children that are not delivered';
    COMMENT ON COLUMN calls.outstanding IS 'children that have not finished';

    -- No index depends on the state, so that most updates need not touch any.
    CREATE INDEX calls_next ON calls (next_at) WHERE next_at IS NOT NULL;
    CREATE INDEX calls_children ON calls (parent_id, parent_generation, finished_at, id)
        WHERE parent_id IS NOT NULL;
    CREATE INDEX calls_finished ON calls (finished_at) WHERE finished_at IS NOT NULL;

    CREATE TABLE requests (
        key bytea PRIMARY KEY,
        body bytea NOT NULL,
        ids uuid[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX requests_created ON requests (created_at);
    """,
    """
    ALTER TABLE calls ADD COLUMN passing_since timestamptz;
    COMMENT ON COLUMN calls.passing_since IS 'first of the failures in a row that may pass';
    """,
    """
    -- What is waited for is found by what is open, however many calls have finished.
    DROP INDEX calls_next;
    CREATE INDEX calls_wake ON calls (next_at) WHERE next_at IS NOT NULL AND poll IS NOT NULL;
    CREATE INDEX calls_expiring ON calls (expires_at) WHERE finished_at IS NULL;

    CREATE TABLE processes (
        id uuid PRIMARY KEY,
        seen_at timestamptz NOT NULL
    );
    COMMENT ON TABLE processes IS 'each process writes its row every few seconds';

    CREATE TABLE resting_hosts (
        host text PRIMARY KEY,
        failures int NOT NULL,
        until timestamptz NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE resting_hosts IS 'hosts that cannot be reached, for all processes';
    """,
    """
    -- A column that `calls` gets later, `finished` and the view get as well, in the same order.
    CREATE TABLE finished (LIKE calls) PARTITION BY RANGE (finished_at);
    COMMENT ON TABLE finished IS 'finished calls whose results nobody waits for, by day';
    CREATE INDEX finished_ids ON finished (id);
    CREATE INDEX finished_times ON finished (finished_at);
    CREATE INDEX finished_children ON finished (parent_id, parent_generation, finished_at, id)
        WHERE parent_id IS NOT NULL;
    CREATE TABLE finished_other PARTITION OF finished DEFAULT;
    CREATE VIEW every_call AS SELECT * FROM calls UNION ALL SELECT * FROM finished;

    -- The table as it was is the partition for what belongs to no day. No index spans the
    -- partitions, so that none has to be made now: each day has its own.
    ALTER TABLE requests RENAME TO requests_other;
    CREATE TABLE requests (LIKE requests_other INCLUDING DEFAULTS) PARTITION BY RANGE (created_at);
    ALTER TABLE requests ATTACH PARTITION requests_other DEFAULT;
    """,
    """
    ALTER TABLE processes ADD COLUMN since timestamptz NOT NULL DEFAULT now();
    COMMENT ON COLUMN processes.since IS 'since when it has written its row without a gap';

    CREATE TABLE schedules (
        id uuid PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        definition bytea NOT NULL,
        input bytea NOT NULL,
        paused boolean NOT NULL DEFAULT false,
        note text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL DEFAULT now(),
        next_at timestamptz,
        buffered_at timestamptz,
        recent_ticks timestamptz[] NOT NULL DEFAULT '{}',
        recent_ids uuid[] NOT NULL DEFAULT '{}',
        fired bigint NOT NULL DEFAULT 0,
        skipped bigint NOT NULL DEFAULT 0,
        missed bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 80);
    COMMENT ON COLUMN schedules.definition IS 'a Schedule, without the input of its call';
    COMMENT ON COLUMN schedules.next_at IS 'the next tick; null: paused, or there is none';
    COMMENT ON COLUMN schedules.buffered_at IS 'a tick that waits for a call to finish';
    COMMENT ON COLUMN schedules.recent_ids IS 'calls of the last firings, the newest first';
    CREATE INDEX schedules_next ON schedules (next_at) WHERE next_at IS NOT NULL;
    CREATE INDEX schedules_buffered ON schedules (id) WHERE buffered_at IS NOT NULL;

    ALTER TABLE calls ADD COLUMN schedule text, ADD COLUMN scheduled_at timestamptz,
        ADD COLUMN starts_at timestamptz, ADD COLUMN labels jsonb, ADD COLUMN rerun_of uuid,
        ADD COLUMN rerun_as uuid, ADD COLUMN dead boolean NOT NULL DEFAULT false;
    ALTER TABLE finished ADD COLUMN schedule text, ADD COLUMN scheduled_at timestamptz,
        ADD COLUMN starts_at timestamptz, ADD COLUMN labels jsonb, ADD COLUMN rerun_of uuid,
        ADD COLUMN rerun_as uuid, ADD COLUMN dead boolean NOT NULL DEFAULT false;
    CREATE OR REPLACE VIEW every_call AS SELECT * FROM calls UNION ALL SELECT * FROM finished;
    COMMENT ON COLUMN calls.schedule IS 'name of the schedule that dispatched the call';
    COMMENT ON COLUMN calls.scheduled_at IS 'the tick of the schedule';
    COMMENT ON COLUMN calls.starts_at IS 'the start that the client asked for; null: at once';
    COMMENT ON COLUMN calls.rerun_of IS 'the call that this one is a rerun of';
    COMMENT ON COLUMN calls.rerun_as IS 'the last rerun of this call';
    COMMENT ON COLUMN finished.dead IS
        'has no parent, failed, and was neither cancelled nor rerun: a dead letter';
    -- For new partitions; `_index_partitions` makes the indexes of those that have rows.
    CREATE INDEX finished_dead ON ONLY finished (id) WHERE dead;

    -- Finds calls by a label, the newest first. An index of jsonb has no order, and to make one of
    -- `finished` would lock it for long.
    CREATE TABLE labels (
        label text,
        id uuid,
        PRIMARY KEY (label, id)
    );
    COMMENT ON COLUMN labels.label IS 'key=value; a key has no =';
    CREATE INDEX labels_ids ON labels (id);

    CREATE TABLE backlog (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        queued bigint NOT NULL DEFAULT 0,
        delayed bigint NOT NULL DEFAULT 0,
        running bigint NOT NULL DEFAULT 0,
        waiting bigint NOT NULL DEFAULT 0,
        counted_at timestamptz,
        next_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO backlog DEFAULT VALUES;
    COMMENT ON TABLE backlog IS 'calls that have not finished, as one process counted them';
    COMMENT ON COLUMN backlog.next_at IS 'when they are counted again, by whoever comes first';

    CREATE TABLE limits (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        default_expiration interval NOT NULL DEFAULT '1 hour',
        max_expiration interval NOT NULL DEFAULT '30 days',
        max_calls int NOT NULL DEFAULT 10000,
        max_bytes bigint NOT NULL DEFAULT 4194304,
        max_backlog bigint NOT NULL DEFAULT 1000000,
        allow_metadata boolean NOT NULL DEFAULT false
    );
    COMMENT ON TABLE limits IS 'what processes accept, for calls that are dispatched by SQL';
    INSERT INTO limits DEFAULT VALUES;

    CREATE TABLE policies (
        host text NOT NULL DEFAULT '',
        function text NOT NULL DEFAULT '',
        run_timeout interval CHECK (run_timeout > interval '0'),
        changed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (host, function)
    );
    COMMENT ON TABLE policies IS
        'how calls are run, by host and function; empty for any. A NULL is left to the others';

    CREATE TABLE pauses (
        host text,
        function text,
        since timestamptz NOT NULL DEFAULT now(),
        reason text NOT NULL,
        PRIMARY KEY (host, function)
    );
    COMMENT ON TABLE pauses IS 'calls that do not begin; an empty host or function is any';
    """,
    """
    ALTER TABLE calls ADD COLUMN trace text, ADD COLUMN uncounted int NOT NULL DEFAULT 0,
        ADD COLUMN attempts bytea[];
    ALTER TABLE finished ADD COLUMN trace text, ADD COLUMN uncounted int NOT NULL DEFAULT 0,
        ADD COLUMN attempts bytea[];
    CREATE OR REPLACE VIEW every_call AS SELECT * FROM calls UNION ALL SELECT * FROM finished;
    COMMENT ON COLUMN calls.trace IS 'traceparent, and after a space the tracestate; null: none';
    COMMENT ON COLUMN calls.uncounted IS 'of the failures in a row: not for max_attempts';
    COMMENT ON COLUMN calls.attempts IS
        'the last attempts that did not end the call, the oldest first: each an Attempt';

    ALTER TABLE policies ADD COLUMN concurrency int CHECK (concurrency > 0),
        ADD COLUMN rate float8 CHECK (rate > 0), ADD COLUMN paid_until timestamptz,
        ADD COLUMN priority int, ADD COLUMN max_attempts int CHECK (max_attempts > 0),
        ADD COLUMN first_backoff interval CHECK (first_backoff > interval '0'),
        ADD COLUMN max_backoff interval CHECK (max_backoff > interval '0'),
        ADD COLUMN retention interval CHECK (retention > interval '0');
    COMMENT ON COLUMN policies.paid_until IS
        'of a rate: up to when the calls that began are paid for; see policy_rules';

    CREATE TABLE minutes (
        minute timestamptz,
        status smallint,
        calls bigint NOT NULL,
        seconds bigint[] NOT NULL,
        PRIMARY KEY (minute, status)
    ) WITH (fillfactor = 50);
    COMMENT ON TABLE minutes IS 'how many calls finished in each minute, by their status';
    COMMENT ON COLUMN minutes.seconds IS
        'how many of them took how long, from recorded to finished: see rates.BOUNDS';
    """,
)
