// A TCP proxy between client and gateways: the load balancer of the tests, and the network that breaks.

import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { Cleanup } from "./processes.js";

interface Pair {
  readonly client: Socket;
  readonly gateway: Socket;
}

export class Proxy {
  /** Where new connections go; undefined: nowhere, they are reset. */
  target: number | undefined;
  /** Bytes of the gateways are thrown away, as on a path that is dead in one direction. */
  swallowing = false;
  /** Connections that came so far. */
  accepted = 0;
  readonly #pairs = new Set<Pair>();
  readonly #server: Server;

  private constructor(target: number) {
    this.target = target;
    this.#server = createServer((client) => this.#accept(client));
  }

  static async start(cleanup: Cleanup, target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    cleanup.add(() => {
      proxy.#server.close();
      proxy.cut();
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address ? address.port : 0;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  /** Where a page comes from that the gateways serve. */
  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends every connection without a goodbye, and lets none in until `target` is set again. */
  cut(): void {
    this.target = undefined;
    for (const { client, gateway } of this.#pairs) {
      client.resetAndDestroy();
      gateway.destroy();
    }
  }

  #accept(client: Socket): void {
    this.accepted += 1;
    if (this.target === undefined) return void client.on("error", () => {}).resetAndDestroy();
    const gateway = createConnection(this.target, "127.0.0.1");
    const pair = { client, gateway };
    this.#pairs.add(pair);
    for (const socket of [client, gateway]) {
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#pairs.delete(pair);
        client.destroy();
        gateway.destroy();
      });
    }
    client.pipe(gateway);
    // Not `pipe`: what is not taken by the client must hold the gateway up, and may be thrown away.
    gateway.on("data", (bytes) => {
      if (this.swallowing || client.write(bytes)) return;
      gateway.pause();
      client.once("drain", () => gateway.resume());
    });
    gateway.on("end", () => client.end());
  }
}
