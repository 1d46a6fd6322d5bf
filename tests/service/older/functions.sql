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
