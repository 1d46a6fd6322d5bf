import { createServer } from "node:http";
import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import { RunRequestSchema, RunResponseSchema } from "./dispatch/sdk/v1/function_pb.js";
import { Status } from "./dispatch/sdk/v1/status_pb.js";
import { parseVerificationKey, SignatureError, verifyRequest } from "./signature.js";
import { marshal, registry, unmarshal } from "./values.js";
export { Status } from "./dispatch/sdk/v1/status_pb.js";
export { parseVerificationKey, SignatureError, verifyRequest } from "./signature.js";
const PATH = "/dispatch.sdk.v1.FunctionService/Run";
const MAX_REQUEST_BYTES = 16_000_000;
const CODES = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "unimplemented",
    415: "unimplemented",
    500: "internal",
};
/** An error with a status: statuses such as PERMANENT_ERROR are final. After others the call is retried. */
export class Failure extends Error {
    status;
    constructor(status, message, options) {
        super(message, options);
        this.status = status;
        this.name = Status[status] ?? "Failure";
    }
}
/** The answer of a function that succeeded. */
export function done(output) {
    return { status: Status.OK, directive: { case: "exit", value: { result: { output } } } };
}
/** The answer of a function that failed. */
export function failed(problem) {
    const status = problem instanceof Failure ? problem.status : Status.TEMPORARY_ERROR;
    const { name: type, message } = problem instanceof Error ? problem : { name: "Error", message: String(problem) };
    const error = { type, message: (message || type).toWellFormed() };
    return { status, directive: { case: "exit", value: { result: { error } } } };
}
/** The answer of a function that suspends itself: it is resumed with the results of all calls, or after an hour. */
export function poll(calls, state = new Uint8Array()) {
    const count = Math.max(calls.length, 1);
    const value = { calls, minResults: count, maxResults: count, maxWait: { seconds: 3600n } };
    return { status: Status.OK, directive: { case: "poll", value: { ...value, state: { case: "coroutineState", value: state } } } };
}
/** The output of the call that a function waited for; throws a final Failure if it failed. */
export function result({ error, results: [first] }) {
    const problem = error ?? first?.error;
    if (problem !== undefined) {
        throw new Failure(Status.PERMANENT_ERROR, `${problem.type}: ${problem.message}`);
    }
    if (first === undefined) {
        throw new Failure(Status.TIMEOUT, "the call did not finish in time");
    }
    return first.output;
}
/** Functions that a Dispatch service calls. */
export class Endpoint {
    #functions = new Map();
    #key;
    #url;
    constructor(options = {}) {
        const key = options.verificationKey || process.env["DISPATCH_VERIFICATION_KEY"];
        this.#key = key ? parseVerificationKey(key) : undefined;
        this.#url = options.url || process.env["DISPATCH_ENDPOINT_URL"];
    }
    /** Host a function. Its input and output are converted by `unmarshal` and `marshal`; the type of the input is not checked. */
    function(name, run) {
        return this.handle(name, async ({ directive }) => {
            if (directive.case !== "input") {
                throw new Failure(Status.INCOMPATIBLE_STATE, `${name} was not suspended`);
            }
            const input = attempt(Status.INVALID_ARGUMENT, "the input", () => unmarshal(directive.value));
            const output = await run(input);
            return done(attempt(Status.INVALID_RESPONSE, "the output", () => marshal(output)));
        });
    }
    /** Host a function that answers requests itself, and so may suspend itself. */
    handle(name, handler) {
        if (!/^[a-zA-Z_][a-zA-Z0-9_<>.]*$/.test(name) || this.#functions.has(name)) {
            throw new TypeError(`the name of a function is not valid, or taken: ${JSON.stringify(name)}`);
        }
        this.#functions.set(name, handler);
        return this;
    }
    /** Listen on an address (default: DISPATCH_ENDPOINT_ADDR, else 127.0.0.1:8000). */
    async listen(address = process.env["DISPATCH_ENDPOINT_ADDR"] || "127.0.0.1:8000") {
        if (this.#key === undefined) {
            console.warn("dispatch: requests are not verified: set DISPATCH_VERIFICATION_KEY");
        }
        const { hostname, port } = new URL(`http://${address}`);
        const server = createServer(this.handler);
        await new Promise((resolve, reject) => {
            server.once("error", reject);
            server.listen(Number(port || 80), hostname.replace(/^\[|\]$/g, ""), resolve);
        });
        console.error(`dispatch: listening on http://${address}`);
        return server;
    }
    /** Answer a request, for `createServer` of node:http. */
    handler = (request, response) => {
        this.#answer(request).then(([type, body]) => send(response, 200, type, body), (problem) => {
            const [status, message] = problem instanceof HTTPError || problem instanceof SignatureError
                ? [problem.status, problem.message] : [500, "the endpoint failed"];
            if (status === 500) {
                console.error(problem);
            }
            send(response, status, "application/json", JSON.stringify({ code: CODES[status], message }));
        });
    };
    async #answer(request) {
        const body = await read(request);
        if (this.#key !== undefined) {
            verifyRequest(request, body, this.#key, { ownUrl: this.#url });
        }
        if (!request.url?.split("?")[0]?.endsWith(PATH)) {
            throw new HTTPError(404, `there is no such method: the endpoint serves POST ${PATH}`);
        }
        if (request.method !== "POST") {
            throw new HTTPError(405, `the endpoint serves POST ${PATH}`);
        }
        const type = (request.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
        const isJson = type === "application/json";
        if (!(isJson || type === "application/proto") || (request.headers["content-encoding"] ?? "identity") !== "identity") {
            throw new HTTPError(415, "application/proto or application/json is required, not compressed");
        }
        let message;
        try {
            message = isJson ? fromJsonString(RunRequestSchema, body.toString(), { registry, ignoreUnknownFields: true })
                : fromBinary(RunRequestSchema, body);
        }
        catch (problem) {
            throw new HTTPError(400, `the body is malformed: ${String(problem)}`);
        }
        const answer = create(RunResponseSchema, await this.#run(message));
        return [type, isJson ? toJsonString(RunResponseSchema, answer, { registry }) : toBinary(RunResponseSchema, answer)];
    }
    async #run(request) {
        const handler = this.#functions.get(request.function);
        if (handler === undefined) {
            throw new HTTPError(404, `there is no function ${JSON.stringify(request.function)}`);
        }
        try {
            return await handler(request);
        }
        catch (problem) {
            if (!(problem instanceof Failure)) {
                console.error(`dispatch: function ${request.function} failed:`, problem);
            }
            return failed(problem);
        }
    }
}
class HTTPError extends Error {
    status;
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}
function attempt(status, what, convert) {
    try {
        return convert();
    }
    catch (problem) {
        const text = problem instanceof Error ? problem.message : String(problem);
        throw new Failure(status, `${what}: ${text}`, { cause: problem });
    }
}
async function read(request) {
    const parts = [];
    let size = 0;
    for await (const part of request) {
        size += part.length;
        if (size <= MAX_REQUEST_BYTES) {
            parts.push(part);
        }
        else {
            parts.length = 0; // the rest is read, or the client would not see the answer
        }
    }
    if (size > MAX_REQUEST_BYTES) {
        throw new HTTPError(400, `the request has ${size} bytes; the endpoint accepts ${MAX_REQUEST_BYTES}`);
    }
    return Buffer.concat(parts);
}
function send(response, status, type, body) {
    response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
    response.end(body);
}
