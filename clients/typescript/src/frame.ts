// The JSON of `wscluster.v1.json`, read and written. It does not know what a frame leads to.

import type { Member } from "./events.js";
import { isMessageId, type MessageId } from "./id.js";

/** The WebSocket subprotocol that this client speaks. */
export const SUBPROTOCOL = "wscluster.v1.json";

/** A message as `history` gives it. */
export interface Past {
  readonly id: MessageId;
  readonly timestamp: number;
  readonly payload: unknown;
}

/** Any frame that a gateway sends: one flat shape, of which each type fills a part. */
export interface Incoming {
  readonly type: string;
  readonly ref?: number;
  readonly room?: string;
  readonly id?: MessageId;
  readonly timestamp?: number;
  readonly payload?: unknown;
  readonly position?: MessageId;
  readonly recovered?: boolean;
  readonly replayed?: number;
  readonly session?: string;
  readonly node?: string;
  readonly heartbeatMs?: number;
  readonly maxMessageBytes?: number;
  readonly retryAfterMs?: number;
  readonly deadlineMs?: number;
  readonly code?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly messages?: readonly Past[];
  readonly more?: boolean;
  readonly members?: readonly Member[];
  readonly count?: number;
}

/** The frames that we send, but for their `ref`. */
export type Outgoing =
  | { readonly type: "auth"; readonly token: string }
  | { readonly type: "subscribe"; readonly room: string; readonly since?: MessageId | undefined; readonly presence?: true | undefined }
  | { readonly type: "unsubscribe"; readonly room: string }
  | { readonly type: "publish"; readonly room: string; readonly payload: unknown; readonly idempotencyKey: string }
  | { readonly type: "history"; readonly room: string; readonly before?: MessageId | undefined; readonly limit?: number | undefined }
  | { readonly type: "presence"; readonly room: string }
  | { readonly type: "ping" };

/** Reads a frame; undefined when it is none, or an id in it is none. */
export function readFrame(text: string): Incoming | undefined {
  let frame: Partial<Incoming> | null;
  try {
    frame = JSON.parse(text) as Partial<Incoming> | null;
  } catch {
    return undefined;
  }
  if (typeof frame !== "object" || frame === null || typeof frame.type !== "string") return undefined;
  const ids = [frame.id, frame.position].every((id) => id === undefined || isMessageId(id));
  return ids ? (frame as Incoming) : undefined;
}

/** Writes a frame but for its `ref`, so that what is sent is what was there when it was asked for. */
export function writeBody(frame: Outgoing): string {
  return JSON.stringify(frame).slice(0, -1);
}

/** Adds the `ref` to a body. */
export function withRef(body: string, ref: number): string {
  return `${body},"ref":${ref}}`;
}
