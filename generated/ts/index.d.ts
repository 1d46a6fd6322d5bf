import type { Interceptor } from "@connectrpc/connect";
import { type Call } from "./dispatch/sdk/v1/call_pb.js";
export { marshal, unmarshal } from "./values.js";
/** What a call may be given beside its function and input. */
export interface CallOptions {
    /** The longest time that the call may take, in milliseconds. */
    expirationMs?: number;
    /** The version of the application that the call is meant for. */
    version?: string;
}
/**
 * Make a call of a function with an input, which `marshal` converts.
 *
 * @param endpoint The URL of the function's host: http://, https://, bridge:// or arn:aws:lambda.
 * @throws TypeError for a field that is not valid; it names the field.
 */
export declare function newCall(endpoint: string, name: string, input?: unknown, options?: CallOptions): Call;
/**
 * Make an interceptor that sends the API key with each request, and an idempotency key where the
 * request has none: `createConnectTransport({ …, interceptors: [apiKey(key)] })`.
 */
export declare function apiKey(key: string): Interceptor;
