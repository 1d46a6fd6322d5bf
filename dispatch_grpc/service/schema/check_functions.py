"""SQL functions that check calls, and read what is given as text.

By the rules of `urls` and `calls`; tests compare the two.
"""

FUNCTIONS = r"""
-- An IPv4 address as inet_aton reads it: also 0xa9fea9fe and 2852039166 are 169.254.169.254.
CREATE OR REPLACE FUNCTION ipv4_of(host text) RETURNS inet
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    parts text[] := string_to_array(host, '.');
    number bigint;
    total bigint := 0;
    base int;
    digit text;
BEGIN
    IF cardinality(parts) NOT BETWEEN 1 AND 4 THEN
        RETURN NULL;
    END IF;
    FOR place IN 1 .. cardinality(parts) LOOP
        base := CASE WHEN parts[place] ~ '^0[xX][0-9A-Fa-f]+$' THEN 16
            WHEN parts[place] ~ '^0[0-7]*$' THEN 8 WHEN parts[place] ~ '^[1-9][0-9]*$' THEN 10 END;
        IF base IS NULL THEN
            RETURN NULL;
        END IF;
        number := 0;
        FOREACH digit IN ARRAY
            regexp_split_to_array(lower(regexp_replace(parts[place], '^0[xX]', '')), '')
        LOOP
            number := number * base + position(digit IN '0123456789abcdef') - 1;
            IF number >= 1::bigint << (8 * CASE WHEN place < cardinality(parts) THEN 1
                ELSE 5 - place END)
            THEN
                RETURN NULL;
            END IF;
        END LOOP;
        total := total | (number << CASE WHEN place < cardinality(parts) THEN 8 * (4 - place)
            ELSE 0 END);
    END LOOP;
    RETURN '0.0.0.0'::inet + total;
END $body$;

-- Whether an address is link-local or one of cloud metadata, also inside an IPv6 address.
CREATE OR REPLACE FUNCTION is_forbidden(address inet) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    found inet[] := ARRAY[address];
    parts bigint[];
BEGIN
    IF family(address) = 6 THEN
        -- Its last 32 bits, those after the first 16, the third 32.
        SELECT array_agg(('x' || encode(substr(inet_send(address), 4 + place, 4), 'hex'))::bit(32)
            ::bigint) INTO parts FROM unnest('{13,3,5}'::int[]) AS place;
        IF address <<= ANY ('{::ffff:0:0/96,::/96,64:ff9b::/96,64:ff9b:1::/48}'::inet[]) THEN
            found := found || ('0.0.0.0'::inet + parts[1]);
        ELSIF address <<= '2002::/16' THEN
            found := found || ('0.0.0.0'::inet + parts[2]);
        ELSIF address <<= '2001::/32' THEN
            found := found || ('0.0.0.0'::inet + parts[3])
                || ('0.0.0.0'::inet + (4294967295 - parts[1]));
        END IF;
    END IF;
    RETURN EXISTS (SELECT FROM unnest(found) AS one WHERE one <<= ANY (
        '{169.254.0.0/16,fe80::/10,100.100.100.200,168.63.129.16,192.0.0.192,fd00:ec2::254,'
        'fd20:ce::254}'::inet[]));
END $body$;

CREATE OR REPLACE FUNCTION problem_of_endpoint(endpoint text, allow_metadata boolean)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $body$
DECLARE
    given text := '; got ' || quote_nullable(
        left(regexp_replace(endpoint, '//.*@', '//********@'), 200));
    parts text[];
    host text;
    address inet;
BEGIN
    IF length(endpoint) > 2048 THEN
        RETURN 'endpoint: at most 2048 characters are allowed; got ' || length(endpoint);
    END IF;
    IF endpoint ~ '^(bridge://|arn:aws:lambda)' THEN
        RETURN 'endpoint: this service calls http:// and https:// endpoints only' || given;
    END IF;
    -- RFC 3986, section 3 and appendix A
    parts := regexp_match(endpoint, '^https?://(?:(?:[A-Za-z0-9._~!$&''()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?'
        '(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&''()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]*))?'
        '(?:/(?:[A-Za-z0-9._~!$&''()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*'
        '(\?(?:[A-Za-z0-9._~!$&''()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?'
        '(#(?:[A-Za-z0-9._~!$&''()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$');
    IF parts IS NULL THEN
        RETURN 'endpoint: a URI (RFC 3986) that begins with http:// or https:// is required'
            || given;
    END IF;
    IF parts[2] <> '' AND parts[2]::numeric > 65535 THEN
        RETURN 'endpoint: a port from 0 to 65535 is required' || given;
    END IF;
    IF length(parts[3]) > 1 OR length(parts[4]) > 1 THEN
        RETURN 'endpoint: a query or a fragment is not allowed' || given;
    END IF;
    host := lower(parts[1] COLLATE "C");
    IF host LIKE '[%' THEN
        BEGIN
            address := trim(host, '[]')::inet;
        EXCEPTION
            WHEN invalid_text_representation THEN NULL;
        END;
        IF address IS NULL OR family(address) <> 6 THEN
            RETURN 'endpoint: an IPv6 address is required in brackets' || given;
        END IF;
    ELSE
        address := ipv4_of(host);
    END IF;
    IF NOT allow_metadata AND (is_forbidden(address) OR rtrim(host, '.') IN (
        'metadata', 'metadata.google.internal', 'metadata.goog', 'instance-data'))
    THEN
        RETURN 'endpoint: link-local and metadata addresses are not called by this service'
            || given;
    END IF;
    RETURN NULL;
END $body$;

CREATE OR REPLACE FUNCTION problem_of_function(function text, version text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE
        WHEN length(function) > 1024 THEN
            'function: at most 1024 characters are allowed; got ' || length(function)
        WHEN length(version) > 1024 THEN
            'version: at most 1024 characters are allowed; got ' || length(version)
        WHEN function ~ '^[a-zA-Z_][a-zA-Z0-9_<>.]*$' THEN NULL
        ELSE 'function: a name that matches [a-zA-Z_][a-zA-Z0-9_<>.]* is required; got '
            || quote_nullable(left(function, 200))
    END
$body$;

CREATE OR REPLACE FUNCTION problem_of_time(name text, given interval, most interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE
        WHEN given < '0' THEN
            name || ': an interval of zero or more is required; got ' || given
        WHEN given > most THEN
            name || ': at most ' || most || ' is allowed by this service; got ' || given
    END
$body$;

-- As W3C Trace Context has it, perhaps with a tracestate after a space: see `tracing`.
CREATE OR REPLACE FUNCTION problem_of_traceparent(given text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE WHEN length(given) > 568 OR given !~
        '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}'
        '( [!-~]([ -~]*[!-~])?)?$'
    THEN 'traceparent: a W3C traceparent such as '
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 is required; got '
        || quote_literal(left(given, 80)) END
$body$;

CREATE OR REPLACE FUNCTION read_interval(name text, given text) RETURNS interval
LANGUAGE plpgsql STABLE STRICT AS $body$
BEGIN
    RETURN given::interval;
EXCEPTION
    WHEN invalid_datetime_format OR datetime_field_overflow OR interval_field_overflow THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            '%s: an interval such as 30 s is required; got %s', name,
            quote_literal(left(given, 80)));
END $body$;

CREATE OR REPLACE FUNCTION read_base64(name text, given text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $body$
BEGIN
    RETURN decode(given, 'base64');
EXCEPTION
    WHEN invalid_parameter_value THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            '%s: a serialized google.protobuf.Any as base64 is required; got %s', name,
            quote_literal(left(given, 80)));
END $body$;

-- The same bits as a signed integer: there is no other one of 64 bits.
CREATE OR REPLACE FUNCTION read_uint64(name text, given text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT AS $body$
BEGIN
    IF given ~ '^-?[0-9]{1,20}$'
        AND given::numeric BETWEEN -9223372036854775808 AND 18446744073709551615
    THEN
        RETURN given::numeric - CASE
            WHEN given::numeric > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END;
    END IF;
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
        '%s: an integer from 0 to 18446744073709551615 is required; got %s', name,
        quote_literal(left(given, 80)));
END $body$;

-- The lane of a function: see `lanes`.
CREATE OR REPLACE FUNCTION lane_of(endpoint text, function text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT lower(regexp_replace(endpoint, '^(https?://)(?:[^/?#]*@)?([^/?#]*).*$', '\1\2')
        COLLATE "C") || ' ' || function
$body$;
"""
