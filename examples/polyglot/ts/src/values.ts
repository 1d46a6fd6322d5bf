// Reads value vectors from its input, and writes for each what TypeScript makes of it: the bytes
// after decoding and encoding them, the bytes from the JSON form, and the JSON form.
import { readFileSync } from "node:fs";

import { create, createRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import {
  AnySchema,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
} from "@bufbuild/protobuf/wkt";
import { file_dispatch_sdk_python_v1_pickled } from "dispatch-grpc-stubs/dispatch/sdk/python/v1/pickled_pb.js";
import { file_dispatch_sdk_v1_call } from "dispatch-grpc-stubs/dispatch/sdk/v1/call_pb.js";
import { file_dispatch_sdk_v1_function } from "dispatch-grpc-stubs/dispatch/sdk/v1/function_pb.js";
import { file_dispatch_sdk_v1_poll } from "dispatch-grpc-stubs/dispatch/sdk/v1/poll_pb.js";

type Vector = { name: string; type_url: string; value: string; json: JsonValue };

const registry = createRegistry(
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

function transcode(vector: Vector) {
  const value = Buffer.from(vector.value, "hex");
  const schema = registry.getMessage(vector.type_url.slice(vector.type_url.lastIndexOf("/") + 1));
  if (schema === undefined) {
    throw new Error(`no message for ${vector.type_url}`);
  }
  const binary = toBinary(schema, fromBinary(schema, value));
  const parsed = fromJson(AnySchema, vector.json, { registry });
  return {
    name: vector.name,
    binary: Buffer.from(binary).toString("hex"),
    parsed: Buffer.from(parsed.value).toString("hex"),
    json: toJson(AnySchema, create(AnySchema, { typeUrl: vector.type_url, value }), { registry }),
  };
}

const vectors = JSON.parse(readFileSync(0, "utf-8")) as Vector[];
const results = vectors.map((vector) => {
  try {
    return transcode(vector);
  } catch (problem) {
    throw new Error(`${vector.name}: ${String(problem)}`, { cause: problem });
  }
});
console.log(JSON.stringify(results));
