"""The SQL function `dispatch`: calls are recorded in the caller's own transaction.

A role that may do nothing else can call it: it runs with the rights of the owner of the tables.
NOTIFY inside a transaction is delivered after its commit, and has the commits of all transactions
that notify wait for each other: so these do, and those of the service's own clients do not. With 32
connections and commits of 6 ms there were 130 to 180 commits per second with it, and 850 to 1,180
without. `SET dispatch_grpc.notify = off` leaves it out: the next scan of the queue finds the calls.
"""

from typing import Any

from dispatch_grpc.service.schema import check_functions, value_functions

_DEFINER = """LANGUAGE plpgsql SECURITY DEFINER
SET search_path = dispatch_grpc, pg_temp SET standard_conforming_strings = on"""

_OPTIONS = """version text DEFAULT '',
    expiration interval DEFAULT NULL, delay interval DEFAULT NULL,
    idempotency_key text DEFAULT NULL, traceparent text DEFAULT NULL"""
_OPTION_TYPES = "text, interval, interval, text, text"

_DISPATCH = r"""
-- Made by clock_timestamp(): now() is when the transaction began.
CREATE OR REPLACE FUNCTION new_id() RETURNS uuid LANGUAGE plpgsql AS $body$
DECLARE
    id bytea := overlay(uuid_send(gen_random_uuid()) PLACING substr(int8send(
        floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 3) FROM 1 FOR 6);
BEGIN
    RETURN encode(set_byte(id, 6, (get_byte(id, 6) & 15) | 112), 'hex')::uuid;
END $body$;

-- A DispatchRequest with these calls, by which a repeated request is known.
CREATE OR REPLACE FUNCTION pb_request(
    endpoints text[], functions text[], inputs bytea[], versions text[], expirations interval[],
    correlations bigint[]
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
    RETURN (SELECT string_agg(pb_field(10,
            CASE WHEN correlation = 0 THEN '' ELSE '\x08'::bytea || pb_varint(correlation) END
            || pb_field(18, convert_to(endpoint, 'UTF8'))
            || pb_field(26, convert_to(function, 'UTF8')) || pb_field(34, input)
            || CASE WHEN micros IS NULL THEN '' ELSE pb_field(42,
                CASE WHEN micros < 1000000 THEN '' ELSE
                    '\x08'::bytea || pb_varint(div(micros, 1000000)::bigint) END
                || CASE WHEN mod(micros, 1000000) = 0 THEN '' ELSE
                    '\x10'::bytea || pb_varint(mod(micros, 1000000)::bigint * 1000) END) END
            || CASE WHEN version = '' THEN '' ELSE pb_field(50, convert_to(version, 'UTF8')) END
        ), ''::bytea ORDER BY place)
        FROM (
            SELECT *, trunc(extract(epoch FROM expiration)::numeric * 1000000) AS micros
            FROM unnest(endpoints, functions, inputs, versions, expirations, correlations)
                WITH ORDINALITY AS call (endpoint, function, input, version, expiration,
                    correlation, place)
        ) AS call);
END $body$;

CREATE OR REPLACE FUNCTION dispatch_calls(
    endpoints text[], functions text[], inputs bytea[], versions text[], expirations interval[],
    delays interval[], correlations bigint[], idempotency_key text, traces text[]
) RETURNS text[] LANGUAGE plpgsql AS $body$
#variable_conflict use_column
DECLARE
    number int := coalesce(cardinality(endpoints), 0);
    size int[] := ARRAY[number];
    bounds record;
    problem record;
    created timestamptz := clock_timestamp();
    ids uuid[];
    lanes text[];
    expires timestamptz[];
    starts timestamptz[];
    payloads bytea[];
    request_key bytea;
    request_body bytea;
    known record;
BEGIN
    IF number = 0 THEN
        RETURN '{}';
    END IF;
    SELECT limits.*, queued + delayed AS waiting INTO STRICT bounds FROM limits, backlog;
    IF number > bounds.max_calls THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            'calls: at most %s are allowed at once; got %s', bounds.max_calls, number);
    END IF;
    IF (SELECT sum(octet_length(input)) FROM unnest(inputs) AS input) > bounds.max_bytes THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            'input: at most %s bytes are allowed at once', bounds.max_bytes);
    END IF;
    WITH checked AS MATERIALIZED (
        SELECT endpoint, problem_of_endpoint(endpoint, bounds.allow_metadata) AS problem
        FROM (SELECT DISTINCT endpoint FROM unnest(endpoints) AS endpoint) AS one
    )
    SELECT * INTO problem FROM (
        SELECT place, coalesce(checked.problem, problem_of_function(function, version),
            problem_of_any(input), problem_of_time('expiration', expiration, bounds.max_expiration),
            problem_of_time('delay', delay, bounds.max_expiration),
            CASE WHEN delay > '0' AND delay >= expiration
                THEN format('delay: less than the expiration is required, which counts from now '
                    'too; got %s, and the expiration %s', delay, expiration) END,
            problem_of_traceparent(trace)) AS text
        FROM unnest(endpoints, functions, inputs, versions, expirations, delays, traces)
            WITH ORDINALITY
            AS call (endpoint, function, input, version, expiration, delay, trace, place)
        JOIN checked ON checked.endpoint IS NOT DISTINCT FROM call.endpoint
    ) AS found WHERE text IS NOT NULL ORDER BY place LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE =
            CASE WHEN number > 1 THEN 'calls[' || problem.place - 1 || '].' ELSE '' END
            || problem.text;
    END IF;
    IF idempotency_key !~ '^[!-~]{1,255}$' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            'idempotency_key: 1 to 255 printable ASCII characters without spaces are required; '
            'got %s', quote_literal(left(idempotency_key, 80)));
    END IF;
    IF bounds.waiting + number > bounds.max_backlog THEN
        RAISE EXCEPTION USING ERRCODE = '53400', MESSAGE = format(
            'the queue is full: %s calls wait, at most %s may; try again later',
            bounds.waiting, bounds.max_backlog);
    END IF;
    SELECT array_agg(new_id()) INTO ids FROM generate_series(1, number);
    SELECT array_agg(lane_of(endpoint, function) ORDER BY place),
        array_agg(uuid_send(ids[place]) || '\x00000000'::bytea ORDER BY place),
        -- As with Submit, the default counts from the start, and what the call asks for from now.
        array_agg(created + coalesce(expiration, coalesce(delay, '0') + least(
            bounds.default_expiration, bounds.max_expiration)) ORDER BY place),
        array_agg(CASE WHEN delay > '0' THEN created + delay END ORDER BY place)
    INTO lanes, payloads, expires, starts
    FROM unnest(endpoints, functions, expirations, delays) WITH ORDINALITY
        AS call (endpoint, function, expiration, delay, place);
    IF idempotency_key IS NOT NULL THEN
        request_body := pb_request(
            endpoints, functions, inputs, versions, expirations, correlations);
        IF EXISTS (SELECT FROM unnest(delays) AS delay WHERE delay IS NOT NULL) THEN
            request_body := request_body || convert_to(array_to_string(ARRAY(
                SELECT extract(epoch FROM delay) FROM unnest(delays) AS delay), ' ', '-'), 'UTF8');
        END IF;
        request_body := sha256(request_body);
        request_key := sha256(convert_to(idempotency_key, 'UTF8'));
        -- When another transaction has the key, this waits for its end.
        PERFORM pg_advisory_xact_lock(1684632432, hashtext(encode(request_key, 'hex')));
    END IF;
    SELECT * INTO known FROM accept(ARRAY[request_key], ARRAY[request_body], '{1}', size, ids,
        array_fill(NULL::uuid, size), array_fill(0, size), ids, correlations, endpoints, functions,
        versions, inputs, expires, array_fill(created, size), lanes, payloads, starts, '{}',
        traces, '{}');
    IF FOUND THEN
        IF known.body IS DISTINCT FROM request_body THEN
            RAISE EXCEPTION USING ERRCODE = '23505',
                MESSAGE = 'the idempotency key was used for other calls before';
        END IF;
        RETURN known.ids;
    END IF;
    IF current_setting('dispatch_grpc.notify', true) IS DISTINCT FROM 'off' THEN
        -- As `notices` does, but from no process.
        PERFORM pg_notify(CASE WHEN bool_or(start IS NOT NULL) THEN 'dispatch_grpc_later'
            ELSE 'dispatch_grpc_lanes' END, chr(10) || lane)
        FROM unnest(lanes, starts) AS call (lane, start) GROUP BY lane;
    END IF;
    RETURN ids;
END $body$;
"""

_PUBLIC = (
    r"""
CREATE OR REPLACE FUNCTION dispatch(
    endpoint text, function text, input jsonb DEFAULT NULL, OPTIONS
) RETURNS text DEFINER AS $body$
BEGIN
    RETURN (dispatch_calls(ARRAY[endpoint], ARRAY[function], ARRAY[pb_any(input)],
        ARRAY[coalesce(version, '')], ARRAY[expiration], ARRAY[delay], '{0}',
        idempotency_key, ARRAY[traceparent]))[1];
END $body$;
COMMENT ON FUNCTION dispatch(text, text, jsonb, TYPES) IS
    'records a call in this transaction, and returns its id';

-- JSON as text: a literal would fit jsonb and bytea alike.
CREATE OR REPLACE FUNCTION dispatch(
    endpoint text, function text, input text, OPTIONS
) RETURNS text DEFINER AS $body$
DECLARE
    parsed jsonb;
BEGIN
    BEGIN
        parsed := input::jsonb;
    EXCEPTION
        WHEN invalid_text_representation OR untranslatable_character THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'input: JSON is required '
                '(to_jsonb() makes it of any value); got ' || quote_literal(left(input, 80));
    END;
    RETURN dispatch(endpoint, function, parsed, version, expiration, delay, idempotency_key,
        traceparent);
END $body$;
COMMENT ON FUNCTION dispatch(text, text, text, TYPES) IS
    'records a call in this transaction, and returns its id; the input is JSON';

CREATE OR REPLACE FUNCTION dispatch(
    endpoint text, function text, input bytea, OPTIONS
) RETURNS text DEFINER AS $body$
BEGIN
    RETURN (dispatch_calls(ARRAY[endpoint], ARRAY[function],
        ARRAY[coalesce(input, pb_any(NULL))], ARRAY[coalesce(version, '')], ARRAY[expiration],
        ARRAY[delay], '{0}', idempotency_key, ARRAY[traceparent]))[1];
END $body$;
COMMENT ON FUNCTION dispatch(text, text, bytea, TYPES) IS
    'records a call in this transaction, and returns its id; the input is a google.protobuf.Any';

CREATE OR REPLACE FUNCTION dispatch_many(calls jsonb[], idempotency_key text DEFAULT NULL)
RETURNS text[] DEFINER AS $body$
#variable_conflict use_column
DECLARE
    strange record;
    columns record;
BEGIN
    SELECT place - 1 AS index, key, jsonb_typeof(call) AS kind INTO strange
    FROM unnest(calls) WITH ORDINALITY AS one (call, place)
    LEFT JOIN LATERAL (
        SELECT key FROM jsonb_each(CASE jsonb_typeof(call) WHEN 'object' THEN call ELSE '{}' END)
            AS field (key, value)
        WHERE NOT key = ANY ('{endpoint,function,input,any,version,expiration,delay,'
                'correlation_id,traceparent}')
            OR key <> 'input' AND jsonb_typeof(value) <> 'string'
    ) AS other ON true
    WHERE key IS NOT NULL OR jsonb_typeof(call) IS DISTINCT FROM 'object'
    ORDER BY place LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = CASE
            WHEN strange.key IS NULL THEN format('calls[%s]: an object is required; got %s',
                strange.index, coalesce(strange.kind, 'NULL'))
            ELSE format('calls[%s].%s: an object with endpoint, function, input (or any: a '
                'serialized google.protobuf.Any as base64), version, expiration, delay and '
                'traceparent is required, all strings but the input', strange.index,
                left(strange.key, 80)) END;
    END IF;
    SELECT array_agg(call ->> 'endpoint' ORDER BY place) AS endpoints,
        array_agg(call ->> 'function' ORDER BY place) AS functions,
        array_agg(CASE WHEN call ? 'any'
            THEN read_base64('calls[' || place - 1 || '].any', call ->> 'any')
            ELSE pb_any(call -> 'input') END ORDER BY place) AS inputs,
        array_agg(coalesce(call ->> 'version', '') ORDER BY place) AS versions,
        array_agg(read_interval('calls[' || place - 1 || '].expiration', call ->> 'expiration')
            ORDER BY place) AS expirations,
        array_agg(read_interval('calls[' || place - 1 || '].delay', call ->> 'delay')
            ORDER BY place) AS delays,
        array_agg(read_uint64('calls[' || place - 1 || '].correlation_id',
            coalesce(call ->> 'correlation_id', '0')) ORDER BY place) AS correlations,
        array_agg(call ->> 'traceparent' ORDER BY place) AS traces
    INTO columns FROM unnest(calls) WITH ORDINALITY AS one (call, place);
    RETURN dispatch_calls(columns.endpoints, columns.functions, columns.inputs, columns.versions,
        columns.expirations, columns.delays, columns.correlations, idempotency_key,
        columns.traces);
END $body$;
COMMENT ON FUNCTION dispatch_many IS
    'records calls in this transaction, all or none, and returns their ids';
""".replace("OPTIONS", _OPTIONS)
    .replace("TYPES", _OPTION_TYPES)
    .replace("DEFINER", _DEFINER)
)

# A call would fit a function of an earlier version as well, which has no traceparent. The new one
# is for the same roles. What depends on the old one, such as a view, keeps it.
_REPLACED = """
DO $do$
DECLARE
    old record;
    role text;
BEGIN
    FOR old IN
        SELECT oid::regprocedure::text AS name, proacl, proowner,
            rtrim(oid::regprocedure::text, ')') || ',text)' AS new
        FROM pg_proc
        WHERE proname = 'dispatch' AND pronargs = 7
            AND pronamespace = 'dispatch_grpc'::regnamespace
    LOOP
        FOR role IN
            SELECT DISTINCT grantee::regrole::text FROM aclexplode(old.proacl)
            WHERE grantee NOT IN (0, old.proowner)
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', old.new, role);
        END LOOP;
        BEGIN
            EXECUTE 'DROP FUNCTION ' || old.name;
        EXCEPTION
            WHEN dependent_objects_still_exist THEN
                EXECUTE format('ALTER FUNCTION %s RENAME TO dispatch_without_trace', old.name);
        END;
    END LOOP;
END $do$;
"""

# Whoever may change calls may use all tables and functions, new ones too; others only what they are
# granted.
_RIGHTS = """
DO $do$
DECLARE
    role text;
BEGIN
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dispatch_grpc FROM PUBLIC;
    FOR role IN
        SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'dispatch_grpc.calls'::regclass AND privilege_type = 'DELETE'
            AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dispatch_grpc TO %s', role);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dispatch_grpc '
            'TO %s', role);
    END LOOP;
END $do$;
"""

FUNCTIONS = (
    value_functions.FUNCTIONS
    + check_functions.FUNCTIONS
    + _DISPATCH
    + _PUBLIC
    + _REPLACED
    + _RIGHTS
)
"""All functions, to be executed with the schema as the search path."""

_GRANT = f"""
GRANT USAGE ON SCHEMA dispatch_grpc TO {{role}};
GRANT EXECUTE ON FUNCTION dispatch_grpc.dispatch(text, text, jsonb, {_OPTION_TYPES}),
    dispatch_grpc.dispatch(text, text, text, {_OPTION_TYPES}),
    dispatch_grpc.dispatch(text, text, bytea, {_OPTION_TYPES}),
    dispatch_grpc.dispatch_many(jsonb[], text) TO {{role}};
"""


async def grant(connection: Any, role: str) -> None:
    """Let a role call `dispatch` and `dispatch_many`, and nothing else; make it if it is missing.

    Args:
        connection: A connection of a role that owns the functions.
        role: Name of the role.
    """
    quoted = '"' + role.replace('"', '""') + '"'
    if not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role
    ):
        await connection.execute(f"CREATE ROLE {quoted} NOLOGIN")
    await connection.execute(_GRANT.format(role=quoted))
