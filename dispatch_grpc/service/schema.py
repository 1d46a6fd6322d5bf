"""The tables of the service, and how they come to be as they are: migrations, in their order.

All is in a schema of its own, pgqueuer's tables too. A database may be shared with others.
"""

SCHEMA = "dispatch_grpc"

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
)

# Made anew at each start. A request is recorded by one statement, since every other way to and from
# the database is a large part of what it takes to accept a call. `{enqueue}` is pgqueuer's.
FUNCTIONS = """
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
        -- When another transaction has the key, this waits for its end.
        INSERT INTO requests (key, body, ids) VALUES (request_key, request_body, call_ids)
        ON CONFLICT (key) DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
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
"""
