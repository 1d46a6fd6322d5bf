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
