// An endpoint that hosts one function, `greet`, which a Dispatch service calls: it takes
// {"name": …} and returns a text.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { create } from "@bufbuild/protobuf";
import { type Any, anyPack, anyUnpack, type StringValue, StringValueSchema, ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { FunctionService } from "dispatch-grpc-stubs/dispatch/sdk/v1/function_pb.js";
import { Status } from "dispatch-grpc-stubs/dispatch/sdk/v1/status_pb.js";

function greet(input: Any | undefined): StringValue {
  const value = input && anyUnpack(input, ValueSchema);
  const fields = value?.kind.case === "structValue" ? value.kind.value.fields : {};
  const name = fields["name"]?.kind;
  if (name?.case !== "stringValue") {
    throw new TypeError("the input has no name");
  }
  return create(StringValueSchema, { value: `Hello, ${name.value}, from TypeScript` });
}

function routes(router: ConnectRouter): void {
  router.service(FunctionService, {
    run({ function: name, directive }) {
      if (name !== "greet") {
        throw new ConnectError(`there is no function ${JSON.stringify(name)}`, Code.NotFound);
      }
      try {
        const output = anyPack(StringValueSchema, greet(directive.case === "input" ? directive.value : undefined));
        return { status: Status.OK, directive: { case: "exit", value: { result: { output } } } };
      } catch (problem) {
        const error = { type: "TypeError", message: String(problem) };
        return { status: Status.INVALID_ARGUMENT, directive: { case: "exit", value: { result: { error } } } };
      }
    },
  });
}

const [host, port] = (process.env["DISPATCH_ENDPOINT_ADDR"] || "127.0.0.1:8000").split(":");
const server = createServer(connectNodeAdapter({ routes }));
server.listen(Number(port), host, () => {
  const address = server.address() as AddressInfo;
  console.log(`http://${address.address}:${address.port}`);
});
