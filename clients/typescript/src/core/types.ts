// What goes into the core and what comes out of it. Plain data.

import type { Backoff } from "../backoff.js";
import type { Event } from "../events.js";
import type { Incoming } from "../frame.js";
import type { MessageId } from "../id.js";

/** The core's name for a connection; never used twice. */
export type LinkId = number;

/** The driver's name for a request whose answer somebody waits for. */
export type Ticket = number;

/** How patient a session is, and how it retries. Milliseconds. */
export interface Settings {
  readonly backoff: Backoff;
  /** From the start of a handshake to `welcome` (and the token's `ok`). */
  readonly connectTimeoutMs: number;
  /** From a ping to anything that is heard. */
  readonly pongTimeoutMs: number;
  /** A connection that lived for so long makes earlier failures forgotten. */
  readonly stableAfterMs: number;
  /** Requests that may wait for a connection or an answer. */
  readonly maxQueued: number;
  /** A token is refreshed so long before it expires, or at half of its life if that is shorter. */
  readonly refreshBeforeMs: number;
  /** Whether there is a token to be shown. */
  readonly tokens: boolean;
}

/** What a request is about. */
export interface Ask {
  readonly kind: "publish" | "history" | "presence";
  /** The frame but for its `ref`. */
  readonly body: string;
  readonly timeoutMs: number;
}

/** One thing that happened. */
export type Input =
  | { readonly type: "subscribe"; readonly room: string; readonly since?: MessageId | undefined; readonly presence: boolean }
  | { readonly type: "unsubscribe"; readonly room: string }
  | { readonly type: "ask"; readonly ticket: Ticket; readonly ask: Ask }
  | { readonly type: "cancel"; readonly ticket: Ticket }
  | { readonly type: "token"; readonly token: string; readonly expiresInMs?: number | undefined }
  | { readonly type: "tokenFailed"; readonly message: string }
  | { readonly type: "opened"; readonly link: LinkId }
  | { readonly type: "frame"; readonly link: LinkId; readonly frame: Incoming }
  /** 1006 for a connection that broke, or never came to be. */
  | { readonly type: "ended"; readonly link: LinkId; readonly code: number; readonly reason: string }
  /** The network or the page is back: look at once whether the connection lives. */
  | { readonly type: "wake" }
  | { readonly type: "tick" }
  | { readonly type: "close" };

/** How a request ended. */
export type Outcome =
  | { readonly ok: true; readonly frame: Incoming }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** What the driver has to do, in this order. */
export type Effect =
  /** Ask the application for a token; `refused` when the last one was not taken. */
  | { readonly type: "token"; readonly refused: boolean }
  /** Start a handshake. */
  | { readonly type: "open"; readonly link: LinkId }
  | { readonly type: "send"; readonly link: LinkId; readonly text: string }
  /** Say goodbye with 1000 and let the connection go. */
  | { readonly type: "leave"; readonly link: LinkId }
  /** Drop the connection: nobody answers there. */
  | { readonly type: "abort"; readonly link: LinkId }
  | { readonly type: "emit"; readonly event: Event }
  | { readonly type: "settle"; readonly ticket: Ticket; readonly outcome: Outcome };
