// Tokens for real gateways, made by hand: header and claims signed with a shared secret (RFC 7515, RFC 7518 section 3.2).

import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cleanup, type Gateway, type GatewayOptions, startGateway } from "./processes.js";

const SECRET = "a secret of thirty-two bytes, or more";

const encoded = (part: object | string) => Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");

/** A token for one room that ends in so many seconds; signed with `secret`. */
export function tokenFor(room: string, seconds: number, secret = SECRET): string {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const signed = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded({ sub: "ada", exp, rooms: { subscribe: [room], publish: [room] } })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** The entry by which a browser shows a token in the handshake. */
export const bearerEntry = (token: string): string => `wscluster.bearer.${encoded(token)}`;

/** A gateway that lets nobody in without such a token, and takes it until its last second. */
export async function startGuarded(cleanup: Cleanup, options: GatewayOptions = {}): Promise<Gateway> {
  const folder = mkdtempSync(join(tmpdir(), "wscluster-secret-"));
  cleanup.add(() => rmSync(folder, { recursive: true, force: true }));
  const secretFile = join(folder, "secret");
  writeFileSync(secretFile, SECRET);
  const auth = { anonymous: { subscribe: [], publish: [] }, jwt: { algorithms: ["HS256"], secretFile, leewaySeconds: 0 } };
  return startGateway(cleanup, { ...options, config: { auth, ...options.config } });
}
