// Uses the helpers of TypeScript on what its input holds, for test_helpers.py.
import { readFileSync } from "node:fs";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { apiKey, marshal, newCall, unmarshal } from "dispatch-grpc-stubs";
import { CallSchema } from "dispatch-grpc-stubs/dispatch/sdk/v1/call_pb.js";
import { DispatchService } from "dispatch-grpc-stubs/dispatch/sdk/v1/dispatch_pb.js";
import { Endpoint, Failure, parseVerificationKey, Status } from "dispatch-grpc-stubs/endpoint.js";

function form(value, inside = false) {
  if (value === null || ["boolean", "string"].includes(typeof value)) {
    return value;
  }
  if (typeof value === "bigint") {
    return { int: String(value) };
  }
  if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0) && !inside) {
      return { int: String(value) };
    }
    const bits = Buffer.alloc(8);
    bits.writeDoubleBE(value);
    return { float: bits.toString("hex") };
  }
  if (value instanceof Uint8Array) {
    return { bytes: Buffer.from(value).toString("hex") };
  }
  if (Array.isArray(value)) {
    return value.map((item) => form(item, true));
  }
  switch (value.$typeName) {
    case undefined:
      return { object: Object.fromEntries(Object.entries(value).map(([key, item]) => [key, form(item, true)])) };
    case "google.protobuf.Timestamp":
      return { time: `${value.seconds} ${value.nanos}` };
    case "google.protobuf.Duration":
      return { duration: `${value.seconds} ${value.nanos}` };
  }
  return { message: value.$typeName };
}

const hex = (any) => ({ type_url: any.typeUrl, value: Buffer.from(any.value).toString("hex") });

const vectors = JSON.parse(readFileSync(0, "utf-8")).map(({ name, type_url: typeUrl, value }) => {
  const natural = unmarshal(create(AnySchema, { typeUrl, value: Buffer.from(value, "hex") }));
  return { name, ...hex(marshal(natural)), form: form(natural) };
});

const errors = {};
function refused(name, make) {
  try {
    make();
  } catch (problem) {
    errors[name] = problem.message;
  }
}
let deep = "bottom";
for (let level = 0; level < 46; level++) {
  deep = [deep];
}
const cycle = {};
cycle.again = cycle;
for (const [name, value] of Object.entries({
  "nan in a list": [1, NaN],
  "int beyond a double": { n: [2n ** 53n + 1n] },
  "beyond uint64": 2n ** 64n,
  "not a text": ["a", "\ud800"],
  "not a text alone": "\ud800",
  "too deep": deep,
  cycle,
  "no form": { f: () => 1 },
  undefined: [undefined],
  map: new Map([["a", 1]]),
  time: new Date(NaN),
})) {
  refused(name, () => marshal(value));
}
const integer = "type.googleapis.com/google.protobuf.Int64Value";
for (const [name, any] of Object.entries({
  "unknown type": { typeUrl: "example.com/acme.Thing" },
  "empty any": {},
  malformed: { typeUrl: integer, value: new Uint8Array([0xff]) },
  nothing: undefined,
})) {
  refused(name, () => unmarshal(any && create(AnySchema, any)));
}
refused("another message", () => unmarshal(marshal(23), CallSchema));
refused("function", () => newCall("http://a", "f\n"));
refused("endpoint", () => newCall("ftp://u:secret@a", "f"));
refused("host", () => newCall("http://", "f"));
refused("input", () => newCall("http://a", "f", Symbol("x")));
refused("expiration", () => newCall("http://a", "f", 1, { expirationMs: -1 }));
refused("key", () => parseVerificationKey("not a key"));
refused("name", () => new Endpoint().function("f", () => 1).function("f", () => 1));

class Order {
  item = "x";
  when = new Date(1);
  note = new Uint8Array([0xff]);
  tags = ["a"];
  left = undefined;
  more = { n: null };
}
const typed = { order: form(unmarshal(marshal(new Order()))) };
const cause = new Error("no answer");
typed.wrapped = new Failure(Status.TIMEOUT, "the bank", { cause }).cause === cause;
for (const [name, value] of Object.entries({ undefined, url: new URL("http://a"), date: new Date(1), safe: 2 ** 53 - 1, unsafe: 2 ** 53 })) {
  typed[name] = marshal(value).typeUrl;
}

const baseUrl = process.env.DISPATCH_API_URL;
const interceptors = [apiKey(process.env.DISPATCH_API_KEY)];
const call = newCall("http://example.com", "greet", { name: "Ada" }, { expirationMs: 1500, version: "v1" });
const ids = [];
for (const transport of [
  createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors }),
  createGrpcTransport({ baseUrl, interceptors }),
]) {
  ids.push(...(await createClient(DispatchService, transport).dispatch({ calls: [call] })).dispatchIds);
}
console.log(JSON.stringify({ vectors, errors, typed, ids }));
process.exit(0);
