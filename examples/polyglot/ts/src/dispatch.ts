// The guide "calling remote functions" in TypeScript: a call and a batch, by gRPC and by Connect.
import { randomUUID } from "node:crypto";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack, Int64ValueSchema, type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import type { CallSchema } from "dispatch-grpc-stubs/dispatch/sdk/v1/call_pb.js";
import { DispatchService } from "dispatch-grpc-stubs/dispatch/sdk/v1/dispatch_pb.js";

type NewCall = MessageInitShape<typeof CallSchema>;

const baseUrl = process.env["DISPATCH_API_URL"] || "https://api.dispatch.run";
const apiKey = process.env["DISPATCH_API_KEY"];
if (!apiKey) {
  throw new Error("set DISPATCH_API_KEY");
}

function text(name: string): Value {
  const fields = { name: create(ValueSchema, { kind: { case: "stringValue", value: name } }) };
  return create(ValueSchema, { kind: { case: "structValue", value: { fields } } });
}

// The call of the guide.
const call: NewCall = {
  endpoint: "http://example.com",
  function: "myFunction",
  input: anyPack(Int64ValueSchema, create(Int64ValueSchema, { value: 23n })),
  expiration: { seconds: 90n, nanos: 500_000_000 },
  version: "ts",
};

// The batch of the guide: all of its calls are recorded, or none.
const batch: NewCall[] = ["Ada", "Grace"].map((name) => ({
  endpoint: "http://example.com",
  function: "greet",
  input: anyPack(ValueSchema, text(name)),
}));

const transports = {
  grpc: createGrpcTransport({ baseUrl }),
  connect: createConnectTransport({ baseUrl, httpVersion: "1.1" }),
};
for (const [protocol, transport] of Object.entries(transports)) {
  const client = createClient(DispatchService, transport);
  for (const [name, calls] of [["call", [call]], ["batch", batch]] as const) {
    // The key is chosen once for a request, and kept when it is sent again.
    const headers = { authorization: `Bearer ${apiKey}`, "idempotency-key": randomUUID() };
    const { dispatchIds } = await client.dispatch({ calls: [...calls] }, { headers, timeoutMs: 10_000 });
    if (dispatchIds.length !== calls.length) {
      throw new Error("the service answered with another number of ids");
    }
    console.log(`${protocol} ${name}: ${dispatchIds.join(" ")}`);
  }
}
