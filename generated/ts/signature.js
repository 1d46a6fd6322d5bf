// HTTP Message Signatures (RFC 9421) by Ed25519. Only the one labelled `dispatch` counts.
import { createHash, createPublicKey, verify } from "node:crypto";
const LABEL = "dispatch";
const MAX_AGE_SECONDS = 300;
const CLOCK_SKEW_SECONDS = 5;
const COVERED = ["@method", "@path", "@authority", "content-type", "content-digest"];
const INPUT = /^\(((?:"[^"\\]+"(?: "[^"\\]+")*)?)\)((?:;[a-z]+=(?:-?\d{1,15}|"[^"\\]*"))*)$/;
const PARAMETER = /;([a-z]+)=(-?\d+|"[^"]*")/g;
const BYTES = /^:([A-Za-z0-9+/]*={0,2}):$/;
const FIXED = { keyid: '"default"', alg: '"ed25519"' };
const SPKI = Buffer.from("302a300506032b6570032100", "hex"); // goes before the 32 bytes of a key
/** Why a request is refused: 401 for a signature that is missing or malformed, 403 for another. */
export class SignatureError extends Error {
    status;
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}
/** Read the public key of a service: PEM, in which a literal \n is a newline too, or base64 of its 32 bytes. */
export function parseVerificationKey(text) {
    const pem = text.trim().replaceAll("\\n", "\n");
    try {
        const raw = Buffer.from(pem, "base64");
        const key = pem.includes("-----BEGIN PUBLIC KEY") || raw.length !== 32
            ? createPublicKey(pem) : createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
        if (key.asymmetricKeyType === "ed25519" && !pem.includes("PRIVATE")) {
            return key;
        }
    }
    catch {
        // The error of the library might show the key.
    }
    throw new TypeError("an Ed25519 public key is required, as PEM or as base64 of its 32 bytes");
}
/**
 * Verify that a request was signed with a key in the last 5 minutes, and was not changed since.
 *
 * @param options.ownUrl The URL that the request may have been signed for instead of its own.
 * @throws SignatureError
 */
export function verifyRequest(request, body, key, options = {}) {
    const headers = new Map();
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
        const name = request.rawHeaders[at].toLowerCase();
        headers.set(name, [...(headers.get(name) ?? []), request.rawHeaders[at + 1]]);
    }
    const input = member(headers, "signature-input");
    const form = INPUT.exec(input);
    const encoded = BYTES.exec(member(headers, "signature"));
    if (form === null || encoded === null) {
        throw new SignatureError(401, "the signature, or its input, is malformed");
    }
    checkParameters(form[2], (options.now ?? new Date()).getTime() / 1000);
    const names = form[1].replaceAll('"', "").split(" ");
    for (const name of COVERED) {
        if (!names.includes(name)) {
            throw new SignatureError(403, `the signature does not cover ${name}`);
        }
    }
    const path = (request.url ?? "/").split("?")[0];
    const targets = [{ host: only(headers, "host"), path }];
    if (options.ownUrl) {
        const own = new URL(options.ownUrl);
        const method = path.slice(Math.max(path.indexOf("/dispatch.sdk.v1."), 0));
        targets.push({ host: own.host, path: own.pathname.replace(/\/$/, "") + method });
    }
    const fits = targets.some((target) => {
        const derived = new Map([
            ["@method", request.method ?? ""],
            ["@path", target.path],
            ["@authority", target.host.toLowerCase().replace(/:(80|443)$/, "")],
        ]);
        const lines = names.map((name) => `"${name}": ${derived.get(name) ?? only(headers, name)}\n`);
        const base = `${lines.join("")}"@signature-params": ${input}`;
        return verify(null, Buffer.from(base, "latin1"), key, Buffer.from(encoded[1], "base64"));
    });
    if (!fits) {
        throw new SignatureError(403, "the signature does not fit the request: something was changed, or it was made with another key");
    }
    const digest = createHash("sha512").update(body).digest("base64");
    if (!only(headers, "content-digest").split(/,\s*/).includes(`sha-512=:${digest}:`)) {
        throw new SignatureError(403, "the body does not fit the header content-digest, of which sha-512 is required");
    }
}
/** The member of a header with our label (RFC 8941, a dictionary). */
function member(headers, header) {
    const values = headers.get(header) ?? [];
    if (values.length !== 1) {
        throw new SignatureError(401, `one header ${header} is required; there are ${values.length}`);
    }
    const members = values[0].match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
    const ours = members.map((text) => text.trim()).filter((text) => text.startsWith(`${LABEL}=`));
    if (ours.length !== 1) {
        throw new SignatureError(401, `one member ${LABEL} of the header ${header} is required; there are ${ours.length}`);
    }
    return ours[0].slice(LABEL.length + 1);
}
function checkParameters(text, now) {
    const parameters = new Map();
    for (const [, name, value] of text.matchAll(PARAMETER)) {
        if (parameters.has(name)) {
            throw new SignatureError(401, `the parameter ${name} of the signature occurs twice`);
        }
        parameters.set(name, value);
    }
    for (const name of ["created", "keyid"]) {
        if (!parameters.has(name)) {
            throw new SignatureError(401, `the signature has no parameter ${name}`);
        }
    }
    for (const [name, value] of parameters) {
        if (name === "created" || name === "expires") {
            if (!/^-?\d+$/.test(value)) {
                throw new SignatureError(401, `the parameter ${name} of the signature is not a number`);
            }
            const age = now - Number(value);
            if (name === "created" && (age > MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS || age < -CLOCK_SKEW_SECONDS)) {
                throw new SignatureError(403, `the signature is ${age.toFixed(1)} s old; ${MAX_AGE_SECONDS} s are allowed`);
            }
            if (name === "expires" && age > CLOCK_SKEW_SECONDS) {
                throw new SignatureError(403, "the signature has expired");
            }
        }
        else if (name in FIXED && value !== FIXED[name]) {
            throw new SignatureError(403, `the parameter ${name} of the signature must be ${FIXED[name]}`);
        }
        else if (!(name in FIXED) && name !== "nonce" && name !== "tag") {
            throw new SignatureError(403, `the parameter ${name} of the signature is not known`);
        }
    }
}
function only(headers, name) {
    const values = headers.get(name) ?? [];
    if (values.length !== 1) {
        throw new SignatureError(403, `one header ${name} is required; there are ${values.length}`);
    }
    return values[0].trim();
}
