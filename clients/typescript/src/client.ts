import { followEvents, type EventsOptions } from "./events.js";
import { DEFAULT_URL, send, type CallOptions, type ClientOptions, type RequestParts } from "./http.js";
import { Pages, type Answer } from "./pages.js";
import type { BulkResult, Device, ErrorLog, FleetEvent, Stats, Sync, SyncStatusCode, FailureCode, Timestamp } from "./types.js";

/** What an account is known by. */
export interface Credentials {
  /** 3 to 64 letters, digits, dots, dashes and underscores; case does not matter. */
  username: string;
  /** 8 characters or more, 72 bytes or fewer. */
  password: string;
}

/** Which devices to list, and how many a request. */
export interface DevicesOptions extends CallOptions {
  /** Only devices with these status codes. */
  status?: readonly SyncStatusCode[] | undefined;
  /** Begin behind this device. */
  after?: number | undefined;
  /** Devices a page, 1 to 1,000. Default: 1,000. */
  limit?: number | undefined;
}

/** Which error logs to list, and how many a request. */
export interface ErrorsOptions extends CallOptions {
  /** Only those of this device. */
  deviceId?: number | undefined;
  /** Only those with these status codes. */
  status?: readonly FailureCode[] | undefined;
  /** Only those that occurred then or later. */
  since?: Timestamp | Date | undefined;
  /** Begin behind this one, among those that are older. */
  before?: number | undefined;
  /** Error logs a page, 1 to 1,000. Default: 1,000. */
  limit?: number | undefined;
}

/** How long a call may wait in the server. */
export interface WaitOptions extends CallOptions {
  /** Answer once nothing is pending any more that would finish by itself, or after so many seconds: 0 to 60. */
  wait?: number | undefined;
}

/** What the counts of a fleet have. */
export interface StatsOptions extends WaitOptions {
  /** Also those of each of so many last seconds, 1 to 300. */
  history?: number | undefined;
}

/** How to sync. */
export interface SyncOptions extends CallOptions {
  /**
   * Makes the call safe to repeat: one with the same key and arguments gets the first answer again, and starts
   * nothing. 1 to 128 visible ASCII characters; remembered for 24 hours.
   */
  idempotencyKey?: string | undefined;
}

/** Which of a fleet's devices to sync. */
export interface SyncAllOptions extends SyncOptions {
  /** Only devices with these status codes. */
  status?: readonly SyncStatusCode[] | undefined;
}

const LARGEST_PAGE = 1000;
const LONGEST_WAIT = 20; // seconds: some proxies give up on an answer after thirty

/**
 * Calls a PiSync server on behalf of a user, on one fleet.
 *
 * Every call rejects with a `PisyncError` for an error answer, with what `fetch` rejects with where there is
 * no answer, and with the reason of its `signal` where that ends it.
 *
 * @example
 * ```ts
 * const client = new PisyncClient({ url: "http://127.0.0.1:8080" });
 * await client.register({ username: "alice", password: "correct horse" });
 * const { device } = await client.syncAndWait(2);
 * ```
 */
export class PisyncClient {
  /** The options that this client was made with; `register` and `login` change its token. */
  protected readonly options: ClientOptions;

  constructor(options: ClientOptions = {}) {
    this.options = { ...options };
  }

  /** Create an account, and use its token from now on. */
  register(credentials: Credentials, options?: CallOptions): Promise<string> {
    return this.#enter("/register", credentials, options);
  }

  /** Use a token of this account from now on. */
  login(credentials: Credentials, options?: CallOptions): Promise<string> {
    return this.#enter("/login", credentials, options);
  }

  /** List devices by id. */
  devices({ signal, limit = LARGEST_PAGE, ...filter }: DevicesOptions = {}): Pages<Device> {
    return this.#pages("/devices", { limit, ...filter }, signal);
  }

  /** Return a device; with `wait`, once it is no longer pending. */
  device(deviceId: number, { wait, signal }: WaitOptions = {}): Promise<Device> {
    return this.call("GET", `/devices/${deviceId}`, { query: { wait }, signal });
  }

  /** Return a device once it is no longer pending: the server tells when. `signal` ends the wait. */
  async waitFor(deviceId: number, { signal }: CallOptions = {}): Promise<Device> {
    for (;;) {
      const device = await this.device(deviceId, { wait: LONGEST_WAIT, signal });
      if (device.sync_status_code !== 202) return device;
    }
  }

  /** Return the fleet's counts once nothing is pending that would finish by itself. `signal` ends the wait. */
  async waitForAll({ signal }: CallOptions = {}): Promise<Stats> {
    for (;;) {
      const end = performance.now() + LONGEST_WAIT * 1000;
      const stats = await this.stats({ wait: LONGEST_WAIT, signal });
      // An answer before its time says that the rest is held.
      if (!stats.pending || performance.now() < end) return stats;
    }
  }

  /**
   * Start a sync of a device, or join the one that is pending.
   *
   * To repeat a call whose answer was lost is safe while the attempt is pending: it joins, and starts none. With an
   * `idempotencyKey` it is safe afterwards, too.
   */
  async sync(deviceId: number, options: SyncOptions = {}): Promise<Sync> {
    const parts = await this.#keyed(options);
    const { headers, value } = await this.#send<Device>("POST", `/devices/${deviceId}/sync`, parts);
    return { attempt: Number(headers.get("Pisync-Attempt")), device: value };
  }

  /** Sync a device, and return it once it is no longer pending. A clock that stands never gets there. */
  async syncAndWait(deviceId: number, { signal }: CallOptions = {}): Promise<Sync> {
    const { attempt } = await this.sync(deviceId, { signal });
    return { attempt, device: await this.waitFor(deviceId, { signal }) };
  }

  /** Start a sync of every device, or of those that have one of these status codes. */
  syncAll({ status, ...options }: SyncAllOptions = {}): Promise<BulkResult> {
    return this.#syncMany(status ? { status } : { all: true }, options);
  }

  /** Start a sync of each of these devices, at most 10,000. */
  syncListed(deviceIds: readonly number[], options: SyncOptions = {}): Promise<BulkResult> {
    return this.#syncMany({ device_ids: deviceIds }, options);
  }

  async #syncMany(body: RequestParts["body"], options: SyncOptions): Promise<BulkResult> {
    return this.call("POST", "/devices/sync", { ...(await this.#keyed(options)), body });
  }

  async #keyed({ idempotencyKey, ...options }: SyncOptions): Promise<RequestParts> {
    if (idempotencyKey === undefined) return options;
    return { ...options, headers: { ...(await this.headers()), "Idempotency-Key": idempotencyKey } };
  }

  /** List error logs, newest first. */
  errors({ signal, limit = LARGEST_PAGE, deviceId, ...filter }: ErrorsOptions = {}): Pages<ErrorLog> {
    return this.#pages("/errors", { limit, device_id: deviceId, ...filter }, signal);
  }

  /** Return the fleet's counts; with `wait`, once nothing is pending. */
  stats({ signal, history, wait }: StatsOptions = {}): Promise<Stats> {
    return this.call("GET", "/stats", { query: { history, wait }, signal });
  }

  /**
   * Follow what happens to the fleet, until the loop ends or `signal` does.
   *
   * A broken connection is opened again behind the last event. `resync` says that events may have been
   * missed: read the devices again. A refusal (401 once the token has expired) ends it with a `PisyncError`,
   * and so does a server that can't be reached from the start.
   */
  events(options: EventsOptions = {}): AsyncGenerator<FleetEvent, void, undefined> {
    return followEvents(
      async (headers, signal) =>
        send(this.options, "GET", "/events", { headers: { ...(await this.headers()), ...headers }, signal }),
      options,
    );
  }

  /** The server's base URL. */
  get url(): string {
    return this.options.url ?? DEFAULT_URL;
  }

  /** What the code under test has to send so that it works as this user, on this fleet. */
  async headers(): Promise<{ [name: string]: string }> {
    const { token, fleet } = this.options;
    const current = typeof token === "function" ? await token() : token;
    return {
      ...(current !== undefined && { Authorization: `Bearer ${current}` }),
      ...(fleet !== undefined && { "Pisync-Fleet": fleet }),
    };
  }

  /** Make any call of the API; return the JSON of its answer. Without `headers` it sends those of this client. */
  async call<Answer>(method: string, path: string, parts?: RequestParts): Promise<Answer> {
    return (await this.#send<Answer>(method, path, parts)).value;
  }

  /** Make any call that answers with a document; return that. */
  async callForDocument(method: string, path: string, parts?: RequestParts): Promise<Blob> {
    return (await this.#exchange(method, path, parts, (response) => response.blob())).value;
  }

  #send<Value>(method: string, path: string, parts?: RequestParts): Promise<Answer<Value>> {
    return this.#exchange(method, path, parts, async (response) => {
      const text = await response.text();
      return (text ? JSON.parse(text) : undefined) as Value;
    });
  }

  async #exchange<Value>(
    method: string,
    path: string,
    parts: RequestParts = {},
    read: (response: Response) => Promise<Value>,
  ): Promise<Answer<Value>> {
    const timeout = new AbortController();
    const expire = () => timeout.abort(new DOMException("The call has timed out.", "TimeoutError"));
    // Not AbortSignal.timeout: Node would end a program that waits for nothing else.
    const waits = Number(parts.query?.wait ?? 0) * 1000;
    const timer = setTimeout(expire, waits + (this.options.timeout ?? 60_000));
    try {
      const response = await send(this.options, method, path, {
        ...parts,
        headers: parts.headers ?? (await this.headers()),
        signal: parts.signal ? AbortSignal.any([parts.signal, timeout.signal]) : timeout.signal,
      });
      return { headers: response.headers, value: await read(response) };
    } finally {
      clearTimeout(timer);
    }
  }

  async #enter(path: string, credentials: Credentials, options?: CallOptions): Promise<string> {
    const { token } = await this.call<{ token: string }>("POST", path, { ...options, body: credentials, headers: {} });
    this.options.token = token;
    return token;
  }

  #pages<Item>(path: string, query: RequestParts["query"], signal: AbortSignal | undefined): Pages<Item> {
    return new Pages((next) => this.#send("GET", path + next, next ? { signal } : { query, signal }));
  }
}
