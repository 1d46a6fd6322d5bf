"""SQL functions that write protobuf messages: what `marshal` does, for jsonb.

jsonb holds numbers as decimals. One without a fraction is an integer here, whether it was written
as 100 or as 1e2: jsonb does not tell.
"""

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION pb_varint(number bigint) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    low int;
    data bytea := ''::bytea;
BEGIN
    LOOP
        low := (number & 127)::int;
        number := (number >> 7) & 144115188075855871; -- 2^57 - 1: without the sign
        IF number = 0 THEN
            RETURN data || set_byte('\x00'::bytea, 0, low);
        END IF;
        data := data || set_byte('\x00'::bytea, 0, low | 128);
    END LOOP;
END $body$;

-- A field of bytes, given its tag as one byte.
CREATE OR REPLACE FUNCTION pb_field(tag int, data bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT set_byte('\x00'::bytea, 0, tag) || CASE
        WHEN octet_length(data) < 128 THEN set_byte('\x00'::bytea, 0, octet_length(data))
        ELSE dispatch_grpc.pb_varint(octet_length(data))
    END || data
$body$;

CREATE OR REPLACE FUNCTION pb_double(number float8) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT substr(big, 8, 1) || substr(big, 7, 1) || substr(big, 6, 1) || substr(big, 5, 1)
        || substr(big, 4, 1) || substr(big, 3, 1) || substr(big, 2, 1) || substr(big, 1, 1)
    FROM float8send(number) AS big
$body$;

-- The double that a JSON number stands for; integers that it does not hold exactly are refused.
CREATE OR REPLACE FUNCTION pb_number(number numeric, path text) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    rest numeric := abs(number);
BEGIN
    IF rest > 1.7976931348623158e308 OR rest > 0 AND rest < 2.5e-324 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            'input: %s: a number must be within the range of a double', path);
    END IF;
    IF scale(number) = 0 AND rest > 9007199254740992 THEN
        WHILE rest > 9007199254740992 AND mod(rest, 2) = 0 LOOP
            rest := div(rest, 2);
        END LOOP;
        -- Beyond 64 bits it may also be a double as it is written, in up to 17 digits: 1e23.
        IF rest > 9007199254740992 AND (
            abs(number) < 18446744073709551616 OR length(rtrim(abs(number)::text, '0')) > 17
        ) THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
                'input: %s: an integer inside an array or object must fit a double exactly; '
                'got %s (send it as a string)', path, left(number::text, 80));
        END IF;
    END IF;
    RETURN number;
END $body$;

-- google.protobuf.Value. `levels` bounds the depth, as `marshal` does.
CREATE OR REPLACE FUNCTION pb_value(value jsonb, levels int, path text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    data bytea;
BEGIN
    CASE jsonb_typeof(value)
        WHEN 'string' THEN
            RETURN pb_field(26, convert_to(value #>> '{}', 'UTF8'));
        WHEN 'number' THEN
            RETURN '\x11'::bytea || pb_double(pb_number(value::numeric, path));
        WHEN 'boolean' THEN
            RETURN CASE WHEN value::boolean THEN '\x2001'::bytea ELSE '\x2000'::bytea END;
        WHEN 'null' THEN
            RETURN '\x0800'::bytea;
        WHEN 'object' THEN
            levels := levels - 3;
        ELSE
            levels := levels - 2;
    END CASE;
    IF levels < 0 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format(
            'input: %s: arrays and objects are nested too deep: protobuf decoders stop at 100 '
            'messages, which is about 30 objects or 45 arrays', left(path, 80));
    END IF;
    IF jsonb_typeof(value) = 'object' THEN
        SELECT string_agg(pb_field(10, pb_field(10, convert_to(key, 'UTF8')) || pb_field(18,
            pb_value(item, levels, path || CASE WHEN key ~ '^[A-Za-z_][A-Za-z0-9_]*$'
                THEN '.' || key ELSE '[' || quote_literal(key) || ']' END))), ''::bytea)
        INTO data FROM jsonb_each(value) AS entry (key, item);
        RETURN pb_field(42, coalesce(data, ''::bytea));
    END IF;
    SELECT string_agg(pb_field(10, pb_value(item, levels, path || '[' || place - 1 || ']')),
        ''::bytea ORDER BY place)
    INTO data FROM jsonb_array_elements(value) WITH ORDINALITY AS element (item, place);
    RETURN pb_field(50, coalesce(data, ''::bytea));
END $body$;

-- google.protobuf.Any
CREATE OR REPLACE FUNCTION pb_any(value jsonb) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $body$
DECLARE
    kind text := coalesce(jsonb_typeof(value), 'null');
    number numeric;
    data bytea := ''::bytea;
BEGIN
    CASE kind
        WHEN 'null' THEN
            kind := 'Empty';
        WHEN 'boolean' THEN
            kind := 'BoolValue';
            IF value::boolean THEN
                data := '\x0801'::bytea;
            END IF;
        WHEN 'string' THEN
            kind := 'StringValue';
            IF value <> '""' THEN
                data := pb_field(10, convert_to(value #>> '{}', 'UTF8'));
            END IF;
        WHEN 'number' THEN
            number := value::numeric;
            kind := 'DoubleValue';
            IF scale(number) = 0 AND number BETWEEN -9223372036854775808 AND 18446744073709551615
            THEN
                kind := CASE WHEN number <= 9223372036854775807 THEN 'Int64Value'
                    ELSE 'UInt64Value' END;
                IF number <> 0 THEN
                    data := '\x08'::bytea || pb_varint(CASE kind WHEN 'Int64Value' THEN number
                        ELSE number - 18446744073709551616 END::bigint);
                END IF;
            ELSIF number <> 0 THEN
                data := '\x09'::bytea || pb_double(pb_number(number, '$'));
            END IF;
        ELSE
            kind := 'Value';
            data := pb_value(value, 90, '$');
    END CASE;
    RETURN pb_field(10, convert_to('type.googleapis.com/google.protobuf.' || kind, 'UTF8'))
        || CASE WHEN data = ''::bytea THEN data ELSE pb_field(18, data) END;
END $body$;

-- The reason to reject bytes as an Any, or null: its two fields, in their order.
CREATE OR REPLACE FUNCTION problem_of_any(data bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    size int := octet_length(data);
    place int := 0;
    shift int;
    length bigint;
    tag int;
    wanted int;
BEGIN
    FOREACH wanted IN ARRAY '{10,18}'::int[] LOOP
        CONTINUE WHEN place >= size OR get_byte(data, place) <> wanted;
        place := place + 1;
        length := 0;
        shift := 0;
        LOOP
            IF place >= size OR shift > 28 THEN
                RETURN 'input: the bytes are not a serialized google.protobuf.Any';
            END IF;
            tag := get_byte(data, place);
            place := place + 1;
            length := length | ((tag & 127)::bigint << shift);
            shift := shift + 7;
            EXIT WHEN tag < 128;
        END LOOP;
        IF length > size - place THEN
            RETURN 'input: the bytes are not a serialized google.protobuf.Any';
        END IF;
        IF wanted = 10 AND encode(substr(data, place + 1, length::int), 'escape')
            !~ '^[A-Za-z0-9._~:/?#@!$&()*+,;=%-]*$'
        THEN
            RETURN 'input: the type URL of the google.protobuf.Any is not a URL';
        END IF;
        place := place + length::int;
    END LOOP;
    RETURN CASE WHEN place < size THEN
        'input: the bytes are not a serialized google.protobuf.Any' END;
END $body$;
"""
