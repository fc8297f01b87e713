// Whether to come back after a connection ended, by its close code (RFC 6455 section 7.4, docs/protocol.md). It does not
// know when: that is the backoff's.

/**
 * - `never`: the session is over, coming back would give the same answer
 * - `soon`: the server is fine or will be replaced; come back, jittered, from the first step of the backoff
 * - `backoff`: something is wrong; come back, with an ever longer delay
 * - `token`: the token was refused or has expired; come back with a fresh one
 */
export type Retry = "never" | "soon" | "backoff" | "token";

/** Bye; and what we did wrong and would do again: protocol errors, wrong data, a missing extension; 3003 forbidden. */
const NEVER = new Set([1000, 1002, 1003, 1007, 1010, 3003]);

/** Going away, service restart: another gateway is ready. */
const SOON = new Set([1001, 1012]);

/**
 * What to do after a close. 1006 is what a browser says of a connection that broke, and of a handshake that was refused,
 * whatever the reason. 1013 too slow, 3008 authentication timed out, 4408 heartbeat missed and every unknown code: backoff.
 */
export function afterClose(code: number): Retry {
  if (NEVER.has(code)) return "never";
  if (SOON.has(code)) return "soon";
  return code === 3000 ? "token" : "backoff";
}
