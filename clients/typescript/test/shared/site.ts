// A page server on the same origin as the gateway behind it: files of the example, and WebSockets passed through.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createConnection } from "node:net";
import { join } from "node:path";
import { type Cleanup, ROOT } from "./processes.js";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** As strict as pages get: nothing inline, nothing from elsewhere. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'";

/** Serves `/demo/`, and hands everything that upgrades to `port`. Gives the origin. */
export async function startSite(cleanup: Cleanup, port: number): Promise<string> {
  const server = createServer((request, response) => void serve(request, response));
  server.on("upgrade", (request, client) => {
    const gateway = createConnection(port, "127.0.0.1");
    for (const [one, other] of [[client, gateway], [gateway, client]] as const) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
      one.pipe(other);
    }
    gateway.write(head(request));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanup.add(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const name = /^\/demo\/([a-z.]*)$/.exec(request.url ?? "")?.[1];
  const file = name === "" ? "index.html" : name;
  try {
    const body = await readFile(join(ROOT, "examples/chat", file ?? "none"));
    response.writeHead(200, { "content-type": TYPES[file?.split(".").pop() ?? ""] ?? "", "content-security-policy": POLICY });
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}

/** The request as it came. */
function head(request: IncomingMessage): string {
  const lines = [`${request.method} ${request.url} HTTP/1.1`];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}
