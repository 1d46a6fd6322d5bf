"""The SQL functions that record calls and tend partitions.

They are made anew when they have changed. A request is recorded by one statement, since each round
trip to the database is a large part of the time that it takes to accept a call. pgqueuer's trigger
sends a notice in each transaction, and so has all commits wait for each other: it is dropped, and
`notices` sends notices after the commit instead.
"""

# `{enqueue}` is pgqueuer's statement. `record` is for processes of the version before, which go on
# while a newer one has migrated the database.
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
    payloads bytea[], starts timestamptz[], labelled jsonb[], traces text[], takers uuid[]
) RETURNS TABLE (number int, body bytea, ids uuid[], job bigint) LANGUAGE plpgsql AS $body$
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
            RETURN QUERY SELECT place, NULL::bytea, NULL::uuid[], NULL::bigint
                FROM unnest(in_use) AS place
                UNION ALL
                SELECT place::int, used.body, used.ids, NULL
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
        function, version, input, expires_at, starts_at, labels, next_at, created_at, trace,
        state, pickups)
    SELECT id, parent, generation, root, correlation, endpoint, function, version, input,
        expires_at, starts_at, labels, starts_at, created_at, trace,
        CASE WHEN taker IS NULL THEN 1 ELSE 2 END, (taker IS NOT NULL)::int
    FROM unnest(call_ids, parents, generations, roots, correlations, endpoints, functions, versions,
            inputs, expirations, starts, labelled, times, traces, takers)
        AS new (id, parent, generation, root, correlation, endpoint, function, version, input,
            expires_at, starts_at, labels, created_at, trace, taker);
    IF cardinality(labelled) > 0 THEN
        INSERT INTO labels SELECT key || '=' || value, id
            FROM unnest(call_ids, labelled) AS new (id, labels), jsonb_each_text(labels);
    END IF;
    IF cardinality(starts) > 0 THEN
        delays := ARRAY(SELECT coalesce(greatest(starts_at - now(), '0'), '0')
            FROM unnest(starts) WITH ORDINALITY AS new (starts_at, place) ORDER BY place);
    END IF;
    IF cardinality(takers) > 0 THEN
        RETURN QUERY INSERT INTO pgqueuer
                (priority, entrypoint, payload, execute_after, status, queue_manager_id, heartbeat)
            SELECT 0, host, payload, now(), 'picked', taker, now()
            FROM unnest(hosts, payloads, takers) AS new (host, payload, taker)
            WHERE taker IS NOT NULL
            RETURNING 0, payload, NULL::uuid[], id;
        SELECT array_agg(host), array_agg(payload), array_agg(delay), ARRAY[count(*)::int]
            INTO hosts, payloads, delays, size
            FROM unnest(hosts, payloads, delays, takers) AS new (host, payload, delay, taker)
            WHERE taker IS NULL;
    END IF;
    IF size[1] > 0 THEN
        PERFORM enqueue(array_fill(0, size), hosts, payloads, delays,
            array_fill(NULL::text, size), array_fill('null'::jsonb, size));
    END IF;
END $body$;
-- By its arguments: the functions of versions before, which have fewer, are there as well while
-- processes of those versions go on.
COMMENT ON FUNCTION accept(bytea[], bytea[], int[], int[], uuid[], uuid[], int[], uuid[], bigint[],
    text[], text[], text[], bytea[], timestamptz[], timestamptz[], text[], bytea[], timestamptz[],
    jsonb[], text[], uuid[]) IS
    'records requests and their jobs, and returns (as number 0) the jobs that a process takes at '
    'once; unless it returns requests whose keys were used before or (null) are in use';

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
