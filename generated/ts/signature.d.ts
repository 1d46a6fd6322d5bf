import { type KeyObject } from "node:crypto";
import type { IncomingMessage } from "node:http";
/** Why a request is refused: 401 for a signature that is missing or malformed, 403 for another. */
export declare class SignatureError extends Error {
    readonly status: 401 | 403;
    constructor(status: 401 | 403, message: string);
}
/** Read the public key of a service: PEM, in which a literal \n is a newline too, or base64 of its 32 bytes. */
export declare function parseVerificationKey(text: string): KeyObject;
/** A part of the request that is verified: one of node:http fits. */
export type SignedRequest = Pick<IncomingMessage, "method" | "url" | "rawHeaders">;
/**
 * Verify that a request was signed with a key in the last 5 minutes, and was not changed since.
 *
 * @param options.ownUrl The URL that the request may have been signed for instead of its own.
 * @throws SignatureError
 */
export declare function verifyRequest(request: SignedRequest, body: Uint8Array, key: KeyObject, options?: {
    ownUrl?: string | undefined;
    now?: Date;
}): void;
