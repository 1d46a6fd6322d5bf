import { type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Call } from "./dispatch/sdk/v1/call_pb.js";
import { type RunRequest, RunResponseSchema } from "./dispatch/sdk/v1/function_pb.js";
import type { PollResult } from "./dispatch/sdk/v1/poll_pb.js";
import { Status } from "./dispatch/sdk/v1/status_pb.js";
export { Status } from "./dispatch/sdk/v1/status_pb.js";
export { parseVerificationKey, SignatureError, verifyRequest } from "./signature.js";
/** The answer to a request to run a function. */
export type Response = MessageInitShape<typeof RunResponseSchema>;
/** Runs or resumes a function. */
export type Handler = (request: RunRequest) => Response | Promise<Response>;
/** An error with a status: statuses such as PERMANENT_ERROR are final. After others the call is retried. */
export declare class Failure extends Error {
    readonly status: Status;
    constructor(status: Status, message: string, options?: ErrorOptions);
}
/** The answer of a function that succeeded. */
export declare function done(output: Any | undefined): Response;
/** The answer of a function that failed. */
export declare function failed(problem: unknown): Response;
/** The answer of a function that suspends itself: it is resumed with the results of all calls, or after an hour. */
export declare function poll(calls: Call[], state?: Uint8Array): Response;
/** The output of the call that a function waited for; throws a final Failure if it failed. */
export declare function result({ error, results: [first] }: PollResult): Any | undefined;
/** Settings of an endpoint, where those of the environment are not meant. */
export interface EndpointOptions {
    /** The public key of the service (default: DISPATCH_VERIFICATION_KEY; without one, requests are not verified). */
    verificationKey?: string;
    /** The URL by which the service calls it, if a proxy changes the Host or the path (default: DISPATCH_ENDPOINT_URL). */
    url?: string;
}
/** Functions that a Dispatch service calls. */
export declare class Endpoint {
    #private;
    constructor(options?: EndpointOptions);
    /** Host a function. Its input and output are converted by `unmarshal` and `marshal`; the type of the input is not checked. */
    function<Input = any>(name: string, run: (input: Input) => unknown): this;
    /** Host a function that answers requests itself, and so may suspend itself. */
    handle(name: string, handler: Handler): this;
    /** Listen on an address (default: DISPATCH_ENDPOINT_ADDR, else 127.0.0.1:8000). */
    listen(address?: string): Promise<Server>;
    /** Answer a request, for `createServer` of node:http. */
    readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
}
