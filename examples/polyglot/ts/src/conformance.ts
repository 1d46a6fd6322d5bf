// The functions that `dispatch-grpc conformance` calls.
import { unmarshal } from "dispatch-grpc-stubs";
import { CallSchema } from "dispatch-grpc-stubs/dispatch/sdk/v1/call_pb.js";
import { done, Endpoint, Failure, poll, result, Status } from "dispatch-grpc-stubs/endpoint.js";

const endpoint = new Endpoint();

endpoint.function("echo", (input: unknown) => input);

endpoint.function("fail", (name: keyof typeof Status) => {
  if (!(name in Status)) {
    throw new Failure(Status.INVALID_ARGUMENT, "the name of a status is required");
  }
  throw new Failure(Status[name], "as was asked");
});

endpoint.function("crash", (text: string) => {
  throw new Error(text);
});

endpoint.handle("relay", ({ directive }) => {
  switch (directive.case) {
    case "input":
      return poll([unmarshal(directive.value, CallSchema)]);
    case "pollResult":
      return done(result(directive.value));
    default:
      throw new Failure(Status.INVALID_ARGUMENT, "a Call is required");
  }
});

await endpoint.listen();
