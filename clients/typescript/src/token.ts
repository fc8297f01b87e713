// When a token expires: as the application says, or as a JWT says of itself (RFC 7519 section 4.1.4). It verifies nothing.

import type { Token } from "./options.js";

/** The token's text, and how much longer it lives as seen from `now` (milliseconds since the Unix epoch). */
export function readToken(given: string | Token, now: number): { readonly token: string; readonly expiresInMs: number | undefined } {
  const { token, expiresAt } = typeof given === "string" ? { token: given, expiresAt: undefined } : given;
  if (typeof token !== "string" || token === "") throw new TypeError("token: the callback gave none");
  const at = expiresAt ?? expiry(token);
  return { token, expiresInMs: at === undefined ? undefined : Math.max(0, at - now) };
}

function expiry(token: string): number | undefined {
  const claims = token.split(".")[1];
  if (claims === undefined) return undefined;
  try {
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined; // an opaque token
  }
}
