// Why a request failed, as an error that a program can tell apart by its `code`.

/**
 * Codes of the client's own:
 * - `closed`: the client was closed; nothing was sent, or `uncertain` would have been said
 * - `queue_full`: too many requests wait for a connection; nothing was sent
 * - `timeout`: no connection in time; nothing was sent
 * - `uncertain`: it was sent, and no answer came: it may or may not have been written
 * - `too_large`: longer than the gateway's `maxMessageBytes`; nothing was sent
 */
export type OwnCode = "closed" | "queue_full" | "timeout" | "uncertain" | "too_large";

/** A request that failed: with a code of the protocol's (docs/protocol.md) or one of {@link OwnCode}. */
export class WsClusterError extends Error {
  readonly code: OwnCode | (string & {});

  constructor(code: OwnCode | (string & {}), message: string) {
    super(message === "" ? code : `${code}: ${message}`);
    this.name = "WsClusterError";
    this.code = code;
  }
}
