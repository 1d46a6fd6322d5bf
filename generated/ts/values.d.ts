import { type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { type Any } from "@bufbuild/protobuf/wkt";
export declare const registry: import("@bufbuild/protobuf").Registry;
/**
 * Convert a value to an Any.
 *
 * Null and undefined, booleans, numbers, bigints, strings, Uint8Array and Date become the well-known
 * message of their type; an integral number becomes an Int64Value. Messages stay what they are; of
 * types that are not part of this package, pass `anyPack(schema, message)`. Arrays and plain objects
 * become a google.protobuf.Value, as JSON.stringify would write them.
 *
 * @throws TypeError for what has no such form, or would lose something; it names the path.
 */
export declare function marshal(value: unknown): Any;
/**
 * Convert an Any to its natural value, or to a message of a schema.
 *
 * Int64Value and UInt64Value become a number, or a bigint where a number would not be exact.
 * Timestamps and durations stay messages, which are more precise than a Date: see `timestampDate`.
 * So do messages of other types.
 *
 * @throws TypeError if the type is not known, or not the one of the schema.
 */
export declare function unmarshal(any: Any | undefined): unknown;
export declare function unmarshal<Desc extends DescMessage>(any: Any | undefined, schema: Desc): MessageShape<Desc>;
