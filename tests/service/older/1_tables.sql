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
