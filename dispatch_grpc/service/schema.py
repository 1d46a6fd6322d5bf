"""The tables of the service, and how they come to be as they are: migrations, in their order.

All is in a schema of its own, pgqueuer's tables too. A database may be shared with others.

`calls` holds the calls that have not finished, and those whose results their parents may still
ask for. After that a call moves to `finished`, which has a partition for each day. So the queries
that run calls work on a small table, however many calls have finished, and retention drops a
partition instead of deleting rows. Finishing a call is a DELETE and an INSERT; before it was an
UPDATE, which wrote the whole row and its index entries too, so the cost is about the same. The
alternative, `calls` itself in partitions by id, was not chosen: each statement about a call would
open every partition, and one call that runs for a month would keep the partition of its day.
`every_call` is a view of both tables.

A database of an older version is migrated at once: its finished calls are moved later, by a chore.

The module is long because most of it is SQL.
"""

import asyncio
import hashlib
from importlib.metadata import version
from typing import Any

import asyncpg
from pgqueuer.domain.settings import Durability
from pgqueuer.queries import Queries

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import sql_dispatch

SCHEMA = "dispatch_grpc"


def stamp_of(functions: str, queue_version: str) -> str:
    """Return a text that says which version of everything a database has."""
    digest = hashlib.sha256(functions.encode()).hexdigest()[:16]
    return f"migration {len(MIGRATIONS)}, pgqueuer {queue_version}, functions {digest}"


async def stamped(connection: Any) -> str | None:
    """Return the stamp of a database; None where there is none, or no tables."""
    found = await connection.fetchval(
        f"SELECT obj_description(to_regclass('{SCHEMA}.migrations'), 'pg_class')"
    )
    return None if found is None else str(found)


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
    ALTER TABLE calls ADD COLUMN trace text;
    ALTER TABLE finished ADD COLUMN trace text;
    COMMENT ON COLUMN calls.trace IS 'traceparent, and after a space the tracestate; null: none';
    ALTER TABLE policies ADD COLUMN concurrency int CHECK (concurrency > 0),
        ADD COLUMN rate float8 CHECK (rate > 0), ADD COLUMN paid_until timestamptz,
        ADD COLUMN priority int, ADD COLUMN max_attempts int CHECK (max_attempts > 0),
        ADD COLUMN first_backoff interval CHECK (first_backoff > interval '0'),
        ADD COLUMN max_backoff interval CHECK (max_backoff > interval '0'),
        ADD COLUMN retention interval CHECK (retention > interval '0');
    COMMENT ON COLUMN policies.paid_until IS
        'of a rate: up to when the calls that began are paid for; see policy_rules';
    ALTER TABLE calls ADD COLUMN uncounted int NOT NULL DEFAULT 0;
    ALTER TABLE finished ADD COLUMN uncounted int NOT NULL DEFAULT 0;
    COMMENT ON COLUMN calls.uncounted IS 'of the failures in a row: not for max_attempts';
    ALTER TABLE calls ADD COLUMN attempts bytea[];
    ALTER TABLE finished ADD COLUMN attempts bytea[];
    CREATE OR REPLACE VIEW every_call AS SELECT * FROM calls UNION ALL SELECT * FROM finished;
    COMMENT ON COLUMN calls.attempts IS
        'the last attempts that did not end the call, the oldest first: each an Attempt';

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

# Made anew when they have changed. pgqueuer's trigger sends a notice in each transaction, and so
# has all commits wait for each other: `notices` sends them after the commit instead. A request is
# recorded by one statement, since each round trip to the database is a large part of the time that
# it takes to accept a call. `{enqueue}` is pgqueuer's. `record` is for processes of the version
# before, which go on while a newer one has migrated the database.
FUNCTIONS = """
DROP TRIGGER IF EXISTS tg_pgqueuer_changed ON pgqueuer;

CREATE OR REPLACE FUNCTION enqueue(int[], text[], bytea[], interval[], text[], jsonb[])
RETURNS TABLE (ord bigint, id bigint) LANGUAGE plpgsql AS $body$
#variable_conflict use_column
BEGIN
    RETURN QUERY {enqueue};
END $body$;

CREATE OR REPLACE FUNCTION record(
    request_key bytea, request_body bytea, call_ids uuid[], parents uuid[], generations int[],
    roots uuid[], correlations bigint[], endpoints text[], functions text[], versions text[],
    inputs bytea[], expirations timestamptz[], created timestamptz, hosts text[], payloads bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $body$
DECLARE
    number int[] := ARRAY[cardinality(call_ids)];
BEGIN
    IF request_key IS NOT NULL THEN
        -- When another transaction has the key, this waits for its end. By a lock, since a key is
        -- unique within a day's partition only.
        PERFORM pg_advisory_xact_lock(1684632432, hashtext(encode(request_key, 'hex')));
        IF EXISTS (SELECT FROM requests WHERE key = request_key) THEN
            RETURN false;
        END IF;
        INSERT INTO requests (key, body, ids) VALUES (request_key, request_body, call_ids);
    END IF;
    INSERT INTO calls (id, parent_id, parent_generation, root_id, correlation_id, endpoint,
        function, version, input, expires_at, created_at)
    SELECT *, created FROM unnest(call_ids, parents, generations, roots, correlations, endpoints,
        functions, versions, inputs, expirations);
    PERFORM enqueue(array_fill(0, number), hosts, payloads, array_fill(interval '0', number),
        array_fill(NULL::text, number), array_fill('null'::jsonb, number));
    RETURN true;
END $body$;
COMMENT ON FUNCTION record IS 'records calls and their jobs; false: the key was used before';

CREATE OR REPLACE FUNCTION accept(
    keys bytea[], bodies bytea[], firsts int[], lasts int[], call_ids uuid[], parents uuid[],
    generations int[], roots uuid[], correlations bigint[], endpoints text[], functions text[],
    versions text[], inputs bytea[], expirations timestamptz[], times timestamptz[], hosts text[],
    payloads bytea[], starts timestamptz[], labelled jsonb[], traces text[]
) RETURNS TABLE (number int, body bytea, ids uuid[]) LANGUAGE plpgsql AS $body$
#variable_conflict use_column
DECLARE
    size int[] := ARRAY[cardinality(call_ids)];
    delays interval[] := array_fill(interval '0', size);
    in_use int[] := '{{}}';
BEGIN
    IF cardinality(array_remove(keys, NULL)) > 0 THEN
        -- By a lock, since a key is unique within a day's partition only. Nothing waits here, for
        -- other requests of the statement would wait too.
        FOR place IN 1 .. cardinality(keys) LOOP
            IF NOT pg_try_advisory_xact_lock(1684632432, hashtext(encode(keys[place], 'hex'))) THEN
                in_use := in_use || place;
            END IF;
        END LOOP;
        IF cardinality(in_use) > 0 OR EXISTS (SELECT FROM requests WHERE key = ANY (keys)) THEN
            RETURN QUERY SELECT place, NULL::bytea, NULL::uuid[] FROM unnest(in_use) AS place
                UNION ALL
                SELECT place::int, used.body, used.ids
                FROM unnest(keys) WITH ORDINALITY AS given (key, place) CROSS JOIN LATERAL (
                    SELECT body, ids FROM requests WHERE key = given.key LIMIT 1) AS used;
            IF FOUND THEN
                RETURN;
            END IF;
        END IF;
        INSERT INTO requests (key, body, ids) SELECT key, body, call_ids[first:last]
            FROM unnest(keys, bodies, firsts, lasts) AS request (key, body, first, last)
            WHERE key IS NOT NULL
            -- A key that the snapshot of an application's transaction does not show is then a
            -- serialization failure. Other keys cannot conflict.
            ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO calls (id, parent_id, parent_generation, root_id, correlation_id, endpoint,
        function, version, input, expires_at, starts_at, labels, next_at, created_at, trace)
    SELECT id, parent, generation, root, correlation, endpoint, function, version, input,
        expires_at, starts_at, labels, starts_at, created_at, trace
    FROM unnest(call_ids, parents, generations, roots, correlations, endpoints, functions, versions,
            inputs, expirations, starts, labelled, times, traces)
        AS new (id, parent, generation, root, correlation, endpoint, function, version, input,
            expires_at, starts_at, labels, created_at, trace);
    IF cardinality(labelled) > 0 THEN
        INSERT INTO labels SELECT key || '=' || value, id
            FROM unnest(call_ids, labelled) AS new (id, labels), jsonb_each_text(labels);
    END IF;
    IF cardinality(starts) > 0 THEN
        delays := ARRAY(SELECT coalesce(greatest(starts_at - now(), '0'), '0')
            FROM unnest(starts) WITH ORDINALITY AS new (starts_at, place) ORDER BY place);
    END IF;
    PERFORM enqueue(array_fill(0, size), hosts, payloads, delays,
        array_fill(NULL::text, size), array_fill('null'::jsonb, size));
END $body$;
-- By its arguments: the function of the version before, which has no traces, is there as well
-- while processes of that version go on.
COMMENT ON FUNCTION accept(bytea[], bytea[], int[], int[], uuid[], uuid[], int[], uuid[], bigint[],
    text[], text[], text[], bytea[], timestamptz[], timestamptz[], text[], bytea[], timestamptz[],
    jsonb[], text[]) IS
    'records requests and their jobs, unless it returns rows: keys used before or (null) in use';

CREATE OR REPLACE FUNCTION tend_partitions(keep_finished interval, keep_requests interval)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, pg_temp SET timezone = 'UTC' SET lock_timeout = '500ms' AS $body$
DECLARE
    parent text;
    kept interval;
    first date;
    day date;
    name text;
BEGIN
    FOR parent, kept IN VALUES ('finished', keep_finished), ('requests', keep_requests) LOOP
        first := current_date;
        IF parent = 'finished' THEN
            -- Calls that finished on the days before, and are not filed yet.
            first := greatest((now() - kept)::date, least(first, (SELECT min(finished_at)
                FROM calls WHERE finished_at IS NOT NULL)::date));
        END IF;
        FOR day IN SELECT generate_series(first, current_date + 2, '1 day')::date LOOP
            name := parent || to_char(day, '_YYYYMMDD');
            CONTINUE WHEN to_regclass(name) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    name, parent, day::timestamptz, (day + 1)::timestamptz);
                IF parent = 'requests' THEN
                    EXECUTE format('CREATE UNIQUE INDEX ON %I (key)', name);
                END IF;
            EXCEPTION
                -- The partition of what belongs to no day has rows of this day, and keeps it.
                WHEN check_violation THEN NULL;
            END;
        END LOOP;
        FOR name IN SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = to_regclass(parent) AND relname ~ '_[0-9]{{8}}$'
                AND to_date(right(relname, 8), 'YYYYMMDD') < (now() - kept)::date
        LOOP
            EXECUTE format('DROP TABLE %I', name);
        END LOOP;
    END LOOP;
EXCEPTION
    WHEN lock_not_available THEN NULL; -- the next time
END $body$;
COMMENT ON FUNCTION tend_partitions IS
    'makes the partitions of the next days, and drops those past their retention';
-- It only makes some here: what is past its retention is for the service to say.
SELECT tend_partitions('100 years', '100 years');
"""


# One number for all processes that prepare the same database.
_LOCK = 0x6469_7370_6174_6368


async def prepare(
    connect: dict[str, Any], grant_to: str | None = None, producer: str | None = None
) -> None:
    """Make the tables, or change those of an older version. Safe for many processes at once.

    A database that is up to date is left alone, so that no rights to change it are needed.

    Args:
        connect: Arguments of `asyncpg.connect`.
        grant_to: A role that gets the rights that the service needs to run.
        producer: A role that may call the SQL function `dispatch`, and do nothing else.
    """
    connection = await asyncpg.connect(**connect, timeout=10)
    try:
        queries = Queries.from_asyncpg_connection(connection)
        enqueue = queries.qbq.build_enqueue_query().rstrip()
        functions = FUNCTIONS.format(enqueue=enqueue, schema=SCHEMA)
        functions += sql_dispatch.FUNCTIONS
        stamp = stamp_of(functions, version("pgqueuer"))
        if await stamped(connection) != stamp and not await _is_newer(connection):
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            if await stamped(connection) != stamp:  # another process may have been quicker
                await _migrate(connection, queries, functions, stamp)
                # It waits for all transactions, those that wait for the lock as well.
                await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
                await _index_partitions(connection)
        if grant_to is not None:
            await connection.execute(_GRANTS.format(role=_quoted(grant_to)))
        if producer is not None:
            await sql_dispatch.grant(connection, producer)
    finally:
        await connection.close()  # which gives back the lock


async def _is_newer(connection: asyncpg.Connection) -> bool:
    """Whether the database belongs to a later version, and is to be left as it is."""
    if await connection.fetchval(f"SELECT to_regclass('{SCHEMA}.migrations')") is None:
        return False
    done = await connection.fetchval(f"SELECT max(number) FROM {SCHEMA}.migrations") or 0  # noqa: S608
    if done <= len(MIGRATIONS):
        return False
    logger.warning(
        "the database belongs to a later version of this package: it has migration %d, this "
        "version knows %d. This process goes on, and leaves the tables as they are",
        done,
        len(MIGRATIONS),
    )
    return True


async def _migrate(
    connection: asyncpg.Connection, queries: Queries, functions: str, stamp: str
) -> None:
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    await connection.execute(f"SET search_path TO {SCHEMA}")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, at timestamptz)"
    )
    done = int(await connection.fetchval("SELECT max(number) FROM migrations") or 0)
    queries.qbe.settings.durability = Durability.balanced  # its log may be lost
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        await queries.install()
    while True:
        try:
            async with connection.transaction():
                # Who waits for a lock on a table has all others wait: give up soon, and try again.
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                for number, statements in enumerate(MIGRATIONS[done:], done + 1):
                    await connection.execute(statements)
                    await connection.execute("INSERT INTO migrations VALUES ($1, now())", number)
                await connection.execute(functions)
                await connection.execute(f"COMMENT ON TABLE migrations IS '{stamp}'")
        except asyncpg.LockNotAvailableError:
            logger.info("the migration waits for transactions that use the tables")
            await asyncio.sleep(1)
        else:
            break
    for number in range(done + 1, len(MIGRATIONS) + 1):
        logger.info("the database has migration %d now", number)


async def _index_partitions(connection: asyncpg.Connection) -> None:
    """Make the indexes that partitions lack, without holding up those who use them."""
    partitions = await connection.fetch(
        """
        SELECT inhrelid::regclass::text AS name, inhrelid::regclass || '_dead' AS index
        FROM pg_index AS whole JOIN pg_inherits ON inhparent = whole.indrelid
        WHERE whole.indexrelid = to_regclass('finished_dead') AND NOT EXISTS (
            SELECT FROM pg_index AS own JOIN pg_inherits AS index ON index.inhrelid = own.indexrelid
            WHERE own.indrelid = pg_inherits.inhrelid AND index.inhparent = whole.indexrelid
        )
        """
    )
    await connection.execute("SET lock_timeout = '10s'")
    for name, index in partitions:
        await connection.execute(f"DROP INDEX IF EXISTS {index}")  # of an attempt that was ended
        try:
            await connection.execute(f"CREATE INDEX CONCURRENTLY {index} ON {name} (id) WHERE dead")
            await connection.execute(f"ALTER INDEX finished_dead ATTACH PARTITION {index}")
        except (
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
        ):  # a transaction has been open all the time
            await connection.execute(f"DROP INDEX {index}")
            logger.warning("the table %s gets no index of its dead letters: it is in use", name)


_GRANTS = f"""
GRANT USAGE ON SCHEMA {SCHEMA} TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {{role}};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {{role}};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {{role}};
"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
