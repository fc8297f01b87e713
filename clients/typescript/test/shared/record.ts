// What a client told, kept for a test to look at.

import { WebSocket } from "ws";
import { Client, type Events, type Options, type SocketConstructor } from "../../src/index.js";
import type { Cleanup } from "./processes.js";
import { until } from "./until.js";

const NAMES: readonly (keyof Events)[] = [
  "connected", "disconnected", "subscribed", "refused", "message", "recovered", "resync", "presence", "join", "leave",
  "drain", "drainCancelled", "moved", "state", "error", "closed",
];

export class Recorder {
  readonly events: { [Name in keyof Events]: { type: Name } & Events[Name] }[keyof Events][] = [];

  constructor(readonly client: Client) {
    for (const name of NAMES) client.on(name, (data) => void this.events.push({ type: name, ...data } as never));
  }

  all<Name extends keyof Events>(name: Name): ({ type: Name } & Events[Name])[] {
    return this.events.filter((event) => event.type === name) as unknown as ({ type: Name } & Events[Name])[];
  }

  payloads(room: string): unknown[] {
    return this.all("message").filter((message) => message.room === room).map(({ payload }) => payload);
  }

  /** Waits for the `count`th such event. */
  async heard<Name extends keyof Events>(name: Name, count = 1): Promise<{ type: Name } & Events[Name]> {
    const enough = () => this.all(name)[count - 1];
    try {
      return await until(`${count} × ${name}`, enough);
    } catch (error) {
      throw new Error(`what came: ${JSON.stringify(this.events.slice(-30))}`, { cause: error });
    }
  }
}

/** A client on Node with the `ws` package, quick to retry; it ends with the test. */
export function connect(cleanup: Cleanup, url: string, options: Options = {}): Recorder {
  const backoff = { baseMs: 20, maxMs: 100 };
  const client = new Client(url, { WebSocket: WebSocket satisfies SocketConstructor, backoff, ...options });
  cleanup.add(() => client.close());
  return new Recorder(client);
}
