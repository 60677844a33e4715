// What a server does that PiSync does only on a bad day.
import { execFile } from "node:child_process";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createNetServer, type AddressInfo } from "node:net";
import { promisify } from "node:util";

import { build } from "esbuild";
import { expect, onTestFinished, test } from "vitest";

import { messages } from "../src/events.js";
import { PisyncClient, type FleetEvent } from "../src/index.js";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Serve one handler for each connection, the last for all that follow. */
async function serve(...handlers: Handler[]): Promise<PisyncClient> {
  const server = createServer((request, response) => (handlers.length > 1 ? handlers.shift()! : handlers[0]!)(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return new PisyncClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

function stream(text: string, seen?: (request: IncomingMessage) => void): Handler {
  return (request, response) => {
    seen?.(request);
    response.writeHead(200, { "Content-Type": "text/event-stream" }).write(`:\n\n${text}`, () => setTimeout(() => response.destroy(), 20));
  };
}

async function take(count: number, events: AsyncIterable<FleetEvent>): Promise<FleetEvent[]> {
  const taken: FleetEvent[] = [];
  for await (const event of events) if (taken.push(event) === count) break;
  return taken;
}

const sync = 'id: 1\nevent: sync\ndata: {"device": {"device_id": 7}, "attempt": 3}\n\n';
const log = 'id: 2\nevent: error_log\ndata: {"error_id": 9}\n\n';
const signal = () => AbortSignal.timeout(50_000);

test("a broken connection is opened again behind the last event", async () => {
  let resumed: unknown;
  const client = await serve(
    stream(sync),
    (_, response) => void response.writeHead(503, { "Retry-After": "1" }).end(),
    stream(log, (request) => (resumed = request.headers["last-event-id"])),
  );
  expect(await take(2, client.events({ signal: signal() }))).toEqual([
    { type: "sync", id: "1", device: { device_id: 7 }, attempt: 3 },
    { type: "error_log", id: "2", errorLog: { error_id: 9 } },
  ]);
  expect(resumed).toBe("1");
});

test("one that broke before its first event is followed by a resync", async () => {
  const client = await serve(stream(""), stream(log));
  expect(await take(2, client.events({ signal: signal() }))).toMatchObject([{ type: "resync", id: undefined }, { type: "error_log" }]);
});

test("the server's resync is told, and events of a newer server are not", async () => {
  const client = await serve(stream(`id: 5\nevent: news\ndata: {}\n\nid: 6\nevent: resync\ndata: {}\n\n`));
  expect(await take(1, client.events({ signal: signal() }))).toEqual([{ type: "resync", id: "6" }]);
});

test("a refusal at a later connection ends the stream", async () => {
  const client = await serve(stream(sync), (_, response) => void response.writeHead(401).end('{"message": "The token has expired."}'));
  await expect(take(2, client.events({ signal: signal() }))).rejects.toMatchObject({ status: 401, message: "The token has expired." });
});

test("a signal ends the wait for the next try", async () => {
  const client = await serve(stream(sync), (_, response) => void response.writeHead(503, { "Retry-After": "60" }).end());
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("enough")), 700);
  await expect(take(2, client.events({ signal: abort.signal }))).rejects.toThrow("enough");
});

test("an error answer of a proxy is one, too", async () => {
  const client = await serve((_, response) => void response.writeHead(502, "Bad Gateway").end("<html>"));
  await expect(client.stats()).rejects.toMatchObject({ status: 502, message: "Bad Gateway", errors: {}, requestId: undefined });
});

test("a program that waits for an answer alone does not end before its time is up", async () => {
  // To such a connection, Node's fetch never says a word.
  const server = createNetServer((socket) => socket.end()).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { outputFiles } = await build({
    stdin: {
      contents: `import { PisyncClient } from "./src/index.js";
        await new PisyncClient({ url: "${url}", timeout: 300 }).stats().catch(() => console.log("failed"));`,
      resolveDir: ".",
    },
    bundle: true,
    format: "esm",
    write: false,
  });
  const program = ["--input-type=module", "--eval", outputFiles[0]!.text];
  expect((await promisify(execFile)("node", program)).stdout).toBe("failed\n");
});

test.each([
  ["in one piece", (text: string) => [text]],
  ["byte by byte", (text: string) => [...Buffer.from(text)].map((byte) => Buffer.from([byte]))],
])("the parser takes every form of the standard, %s", async (_, split) => {
  const text = ': hello\r\nid:1\r\nevent: a\rdata: é\ndata:  two\n\ndata\n\nid: 2\nretry: 5\ndata: {"x": "a:b"}\r\n\r\nevent: lost\n\ndata: unfinished';
  const body = new ReadableStream({
    start(controller) {
      for (const piece of split(text)) controller.enqueue(typeof piece === "string" ? Buffer.from(piece) : piece);
      controller.close();
    },
  });
  const parsed = [];
  for await (const message of messages(new Response(body))) parsed.push(message);
  expect(parsed).toEqual([
    ["1", "a", "é\n two"],
    ["1", "", ""],
    ["2", "", '{"x": "a:b"}'],
  ]);
});
