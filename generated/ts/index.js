// Calls and values, and the API key of a client; `endpoint.js` hosts functions.
import { create } from "@bufbuild/protobuf";
import { CallSchema } from "./dispatch/sdk/v1/call_pb.js";
import { marshal } from "./values.js";
export { marshal, unmarshal } from "./values.js";
/**
 * Make a call of a function with an input, which `marshal` converts.
 *
 * @param endpoint The URL of the function's host: http://, https://, bridge:// or arn:aws:lambda.
 * @throws TypeError for a field that is not valid; it names the field.
 */
export function newCall(endpoint, name, input, options = {}) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_<>.]*$/.test(name)) {
        throw new TypeError(`function: a name of letters, digits, _, <, > and . is required; got ${JSON.stringify(name)}`);
    }
    if (!endpoint.startsWith("arn:aws:lambda") && !(/^(https?|bridge):\/\/[^/?#]/.test(endpoint) && URL.canParse(endpoint))) {
        // It may hold a password: it is not shown.
        throw new TypeError("endpoint: an http://, https://, bridge:// or arn:aws:lambda URI is required");
    }
    const { expirationMs, version = "" } = options;
    const call = create(CallSchema, { endpoint, function: name, input: marshal(input), version });
    if (expirationMs !== undefined) {
        if (!(expirationMs >= 0 && Number.isFinite(expirationMs))) {
            throw new TypeError(`expirationMs: 0 or more is required; got ${expirationMs}`);
        }
        const seconds = Math.floor(expirationMs / 1000);
        const nanos = Math.floor((expirationMs - seconds * 1000) * 1_000_000);
        call.expiration = { $typeName: "google.protobuf.Duration", seconds: BigInt(seconds), nanos };
    }
    return call;
}
/**
 * Make an interceptor that sends the API key with each request, and an idempotency key where the
 * request has none: `createConnectTransport({ …, interceptors: [apiKey(key)] })`.
 */
export function apiKey(key) {
    return (next) => (request) => {
        request.header.set("authorization", `Bearer ${key}`);
        if (!request.header.has("idempotency-key")) {
            request.header.set("idempotency-key", crypto.randomUUID());
        }
        return next(request);
    };
}
