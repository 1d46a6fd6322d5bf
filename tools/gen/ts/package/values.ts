// Conversions between values and google.protobuf.Any.
import { create, createRegistry, type DescMessage, fromBinary, isMessage, type Message, type MessageShape, toBinary } from "@bufbuild/protobuf";
import {
  type Any,
  AnySchema,
  anyUnpack,
  BoolValueSchema,
  BytesValueSchema,
  DoubleValueSchema,
  EmptySchema,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  Int64ValueSchema,
  NullValue,
  StringValueSchema,
  type Struct,
  TimestampSchema,
  timestampFromDate,
  UInt64ValueSchema,
  type Value,
  ValueSchema,
} from "@bufbuild/protobuf/wkt";

import { file_dispatch_sdk_python_v1_pickled } from "./dispatch/sdk/python/v1/pickled_pb.js";
import { file_dispatch_sdk_v1_call } from "./dispatch/sdk/v1/call_pb.js";
import { file_dispatch_sdk_v1_function } from "./dispatch/sdk/v1/function_pb.js";
import { file_dispatch_sdk_v1_poll } from "./dispatch/sdk/v1/poll_pb.js";

export const registry = createRegistry(
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  file_dispatch_sdk_python_v1_pickled,
  file_dispatch_sdk_v1_call,
  file_dispatch_sdk_v1_function,
  file_dispatch_sdk_v1_poll,
);

// Decoders of protobuf stop at 100 messages inside each other. A list takes two of them, an object three.
const MAX_LEVELS = 90;
const LIST_LEVELS = 2;
const OBJECT_LEVELS = 3;
const INT64_MAX = 2n ** 63n - 1n;

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
export function marshal(value: unknown): Any {
  if (isMessage(value)) {
    return isMessage(value, AnySchema) ? value : packMessage(value);
  }
  switch (typeof value) {
    case "undefined":
      return pack(EmptySchema, create(EmptySchema));
    case "boolean":
      return pack(BoolValueSchema, create(BoolValueSchema, { value }));
    case "string":
      return pack(StringValueSchema, create(StringValueSchema, { value: text(value, "$") }));
    case "bigint":
      return marshalInteger(value);
    case "number":
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
        return marshalInteger(BigInt(value));
      }
      return pack(DoubleValueSchema, create(DoubleValueSchema, { value }));
  }
  if (value === null) {
    return pack(EmptySchema, create(EmptySchema));
  }
  if (value instanceof Uint8Array) {
    return pack(BytesValueSchema, create(BytesValueSchema, { value }));
  }
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) {
      throw new TypeError("$: the date is not valid");
    }
    return pack(TimestampSchema, timestampFromDate(value));
  }
  const converted = toValue(value, "$", MAX_LEVELS);
  if (converted.kind.case === "stringValue") { // of an object with toJSON
    return marshal(converted.kind.value);
  }
  return pack(ValueSchema, converted);
}

function marshalInteger(value: bigint): Any {
  if (value >= -INT64_MAX - 1n && value <= INT64_MAX) {
    return pack(Int64ValueSchema, create(Int64ValueSchema, { value }));
  }
  if (value < 0n || value >= 2n ** 64n) {
    throw new TypeError(`$: ${value} is beyond 64 bits; use a string`);
  }
  return pack(UInt64ValueSchema, create(UInt64ValueSchema, { value }));
}

// Not anyPack: keys are sorted here, so that equal values have equal bytes.
function pack<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Any {
  return create(AnySchema, { typeUrl: `type.googleapis.com/${schema.typeName}`, value: toBinary(schema, message) });
}

function packMessage(message: Message): Any {
  const schema = registry.getMessage(message.$typeName);
  if (schema === undefined) {
    throw new TypeError(`$: pass anyPack(schema, message) for a message of the type ${message.$typeName}`);
  }
  return pack(schema, message);
}

function toValue(value: unknown, path: string, levels: number): Value {
  const kind = toKind(value, path, levels);
  return create(ValueSchema, { kind });
}

function toKind(value: unknown, path: string, levels: number): Value["kind"] {
  if (levels < 0) {
    throw new TypeError(`${path}: arrays and objects are nested too deep for protobuf`);
  }
  switch (typeof value) {
    case "boolean":
      return { case: "boolValue", value };
    case "string":
      return { case: "stringValue", value: text(value, path) };
    case "bigint":
      if (BigInt(Number(value)) !== value) {
        throw new TypeError(`${path}: a double cannot hold ${value} exactly; use a string`);
      }
      return { case: "numberValue", value: Number(value) };
    case "number":
      if (!Number.isFinite(value)) {
        throw new TypeError(`${path}: JSON has no ${value}`);
      }
      return { case: "numberValue", value };
  }
  if (value === null) {
    return { case: "nullValue", value: NullValue.NULL_VALUE };
  }
  if (Array.isArray(value)) {
    const values = value.map((item, index) => toValue(item, `${path}[${index}]`, levels - LIST_LEVELS));
    return { case: "listValue", value: { $typeName: "google.protobuf.ListValue", values } };
  }
  if (value instanceof Uint8Array) {
    return { case: "stringValue", value: Buffer.from(value).toString("base64") };
  }
  if (typeof value !== "object" || isMessage(value) || value instanceof Map || value instanceof Set) {
    throw new TypeError(`${path}: there is no form in JSON for ${isMessage(value) ? value.$typeName : nameOf(value)}`);
  }
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return toKind(value.toJSON(), path, levels - 1);
  }
  const fields = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    .map(([key, item]) => [text(key, path), toValue(item, `${path}.${key}`, levels - OBJECT_LEVELS)] as const);
  return { case: "structValue", value: struct(fields) };
}

function struct(fields: (readonly [string, Value])[]): Struct {
  return { $typeName: "google.protobuf.Struct", fields: Object.fromEntries(fields) };
}

function text(value: string, path: string): string {
  if (/\p{Surrogate}/u.test(value)) {
    throw new TypeError(`${path}: the text has half of a surrogate pair`);
  }
  return value;
}

function nameOf(value: unknown): string {
  return typeof value === "object" && value !== null ? value.constructor.name : typeof value;
}

/**
 * Convert an Any to its natural value, or to a message of a schema.
 *
 * Int64Value and UInt64Value become a number, or a bigint where a number would not be exact.
 * Timestamps and durations stay messages, which are more precise than a Date: see `timestampDate`.
 * So do messages of other types.
 *
 * @throws TypeError if the type is not known, or not the one of the schema.
 */
export function unmarshal(any: Any | undefined): unknown;
export function unmarshal<Desc extends DescMessage>(any: Any | undefined, schema: Desc): MessageShape<Desc>;
export function unmarshal(any: Any | undefined, schema?: DescMessage): unknown {
  if (any === undefined) {
    throw new TypeError("there is no value");
  }
  if (schema !== undefined) {
    const message = anyUnpack(any, schema);
    if (message === undefined) {
      throw new TypeError(`a ${schema.typeName} is required; got ${any.typeUrl}`);
    }
    return message;
  }
  const found = registry.getMessage(any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1));
  if (found === undefined) {
    throw new TypeError(`the type ${JSON.stringify(any.typeUrl)} is not known: pass its schema`);
  }
  return natural(fromBinary(found, any.value));
}

function natural(message: Message): unknown {
  if (isMessage(message, EmptySchema)) {
    return null;
  }
  if (isMessage(message, ValueSchema)) {
    return fromValue(message);
  }
  switch (message.$typeName) {
    case "google.protobuf.Struct":
      return fromStruct(message as Struct);
    case "google.protobuf.ListValue":
      return (message as Message & { values: Value[] }).values.map(fromValue);
    case "google.protobuf.Int64Value":
    case "google.protobuf.UInt64Value": {
      const { value } = message as Message & { value: bigint };
      return BigInt.asIntN(54, value) === value && value !== -(2n ** 53n) ? Number(value) : value;
    }
  }
  if (/^google\.protobuf\.\w+Value$/.test(message.$typeName)) {
    return (message as Message & { value: unknown }).value;
  }
  return message;
}

function fromStruct({ fields }: Struct): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, item]) => [key, fromValue(item)]));
}

function fromValue({ kind }: Value): unknown {
  switch (kind.case) {
    case "nullValue":
      return null;
    case "listValue":
      return kind.value.values.map(fromValue);
    case "structValue":
      return fromStruct(kind.value);
    case undefined:
      throw new TypeError("a google.protobuf.Value is empty");
    default:
      return kind.value;
  }
}
