import { PisyncError } from "./error.js";
import { sleep, type CallOptions } from "./http.js";
import type { Device, ErrorLog, FleetEvent } from "./types.js";

/** What `events` takes. */
export interface EventsOptions extends CallOptions {
  /** Resume behind this event, the `id` of one that was seen. Default: begin with what happens now. */
  lastEventId?: string | undefined;
  /** Called whenever the stream is open: what begins from then on is told. */
  onOpen?: (() => void) | undefined;
}

/** A message of a stream: its id, name and data. */
export type Message = readonly [id: string | undefined, name: string, data: string];

const SILENCE = 45_000; // milliseconds without even a comment, which comes every 15 s
const FIRST_WAIT = 300; // milliseconds
const MAX_WAIT = 15_000;

/** Opens a connection with these headers. */
export type Connect = (headers: { [name: string]: string }, signal: AbortSignal) => Promise<Response>;

/** Yield a fleet's events, from one connection after the other. */
export async function* followEvents(
  connect: Connect,
  { signal, lastEventId: lastId, onOpen }: EventsOptions,
): AsyncGenerator<FleetEvent, void, undefined> {
  let wasOpen = false;
  let retryAfter = 0; // seconds
  /** Let the next try be made, unless the server has refused for good, or was never reached. */
  const failed = (error: unknown) => {
    signal?.throwIfAborted();
    const busy = error instanceof PisyncError && (error.status >= 500 || error.status === 429);
    if (!busy && (error instanceof PisyncError || !wasOpen)) throw error;
    retryAfter = (busy && error.retryAfter) || 0;
  };
  for (let failures = 0; ; failures++) {
    signal?.throwIfAborted();
    if (failures) await sleep(Math.max(retryAfter * 1000, backOff(failures)), signal);
    const hangUp = new AbortController();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => hangUp.abort(), SILENCE);
    };
    try {
      heard();
      const response = await connect(
        { Accept: "text/event-stream", ...(lastId !== undefined && { "Last-Event-ID": lastId }) },
        signal ? AbortSignal.any([signal, hangUp.signal]) : hangUp.signal,
      ).catch(failed);
      if (!response) continue;
      onOpen?.();
      // Without an id to resume behind, what happened since the line broke is not known.
      if (wasOpen && lastId === undefined) yield { type: "resync", id: undefined };
      wasOpen = true;
      for await (const [id, name, data] of messages(response, heard)) {
        failures = retryAfter = 0;
        lastId = id ?? lastId;
        const event = eventOf(id, name, data);
        if (event) yield event;
      }
    } finally {
      clearTimeout(silence);
      hangUp.abort();
    }
  }
}

/** Return milliseconds to wait: twice as many each time, and never the same for all who wait. */
function backOff(failures: number): number {
  return Math.min(MAX_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
}

function eventOf(id: string | undefined, name: string, data: string): FleetEvent | undefined {
  if (name === "resync") return { type: name, id };
  if (id === undefined) return undefined;
  const value: unknown = JSON.parse(data);
  if (name === "sync") return { type: name, id, ...(value as { device: Device; attempt: number }) };
  if (name === "error_log") return { type: name, id, errorLog: value as ErrorLog };
  return undefined; // of a newer server
}

/**
 * Parse server-sent events, as the HTML standard has them, until the stream ends or breaks.
 *
 * `heard` is called for each piece that arrives.
 */
export async function* messages(response: Response, heard = () => {}): AsyncGenerator<Message, void, undefined> {
  let rest = "";
  let id: string | undefined;
  let name = "";
  let data: string[] = [];
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const value = (await reader.read().catch(() => undefined))?.value;
      if (value === undefined) return;
      heard();
      // A CR at the very end may be half of a CRLF.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop()!;
      for (const line of lines) {
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line)!;
        if (field === "id") id = text;
        else if (field === "event") name = text!;
        else if (field === "data") data.push(text!);
        else if (line === "") {
          if (data.length) yield [id, name, data.join("\n")];
          name = "";
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the line may have broken already
  }
}
