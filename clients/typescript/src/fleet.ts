import { PisyncClient } from "./client.js";
import type { CallOptions, ClientOptions, RequestParts } from "./http.js";
import type { Clock, ClockAdvance, Device, DeviceSpec, Expectation, FailureCode, FaultRule, FleetView, Forecast, JournaledRequest, Ledger, Profile, Step, Timestamp, Verification } from "./types.js";

/** What a fleet's client is made of. */
export interface FleetOptions extends Omit<ClientOptions, "fleet"> {
  /** A token with the scope `admin`, for the calls that control the fleet. Without one, `token` needs both scopes. */
  adminToken?: string;
}

/** How a fleet is made. */
export interface ReplaceOptions extends CallOptions {
  /** Seconds without a request or an open stream after which the server deletes it. Default: null, never. */
  ttl?: number | null | undefined;
}

/** A fleet as a fleet file describes it. */
export interface FleetDefinition {
  /** A count, or a list of devices with at least their `device_id`. */
  devices: number | readonly DeviceSpec[];
  /** What differs from the default profile. */
  profile?: Partial<Profile>;
  /** How many requests the journal keeps. */
  journal?: number;
  /** Seconds without a request or an open stream after which the server deletes it. */
  ttl?: number | null;
  /** How its time runs. Default: a real clock. */
  clock?: { mode: "real"; speed?: number } | { mode: "manual" | "auto" };
  /** The scripts of devices, by id. */
  scripts?: Readonly<Record<number, readonly Step[]>>;
  /** The rules for faults of HTTP. */
  faults?: readonly FaultRule[];
}

/** Which attempts to forecast. */
export interface ForecastOptions extends CallOptions {
  /** How many, at most 1,000. Default: 20. */
  attempts?: number | undefined;
  /** The number of the first one. Default: the device's next. */
  first?: number | undefined;
  /** The fleet time at which they begin, which decides what phase it is. Default: the present. */
  at?: Timestamp | Date | undefined;
}

/**
 * Return a client for one fleet: what its devices do, and what a tester may do to it.
 *
 * The fleet need not be there yet: `replace` makes it.
 *
 * @example
 * ```ts
 * const suite = fleet("suite-1", { token });
 * await suite.replace(10, { seed: 7 });
 * await suite.script(7, [{ hold: true }]);
 * ```
 */
export function fleet(name: string, options: FleetOptions): FleetClient {
  return new FleetClient(name, options);
}

/** A client for one fleet; see {@link fleet}. */
export class FleetClient extends PisyncClient {
  readonly #adminToken: string | undefined;

  constructor(
    /** The fleet's name. */
    readonly fleet: string,
    { adminToken, ...options }: FleetOptions,
  ) {
    super({ ...options, fleet });
    this.#adminToken = adminToken;
  }

  /** The fleet's own base URL, for code under test that can set nothing else. */
  get baseUrl(): string {
    return `${this.url.replace(/\/+$/, "")}/fleets/${encodeURIComponent(this.fleet)}`;
  }

  // The fleet

  /** Return the fleet, with its profile, effective seed and clock. */
  view(options?: CallOptions): Promise<FleetView> {
    return this.control("GET", "", options);
  }

  /**
   * Make the fleet, or make it anew; what `profile` leaves out has its default.
   *
   * `devices` is a count, or a list of devices with at least their `device_id`.
   */
  replace(
    devices: number | readonly DeviceSpec[] = 10,
    profile: Partial<Profile> = {},
    { ttl = null, ...options }: ReplaceOptions = {},
  ): Promise<FleetView> {
    return this.control("PUT", "", { ...options, body: { devices, profile, ttl } });
  }

  /** Make the fleet, or make it anew, as a fleet file describes it. */
  async define({ clock, scripts = {}, faults, ...made }: FleetDefinition, options?: CallOptions): Promise<void> {
    await this.control("PUT", "", { ...options, body: made });
    if (clock) await this.control("PUT", "/clock", { ...options, body: clock });
    for (const [deviceId, steps] of Object.entries(scripts)) await this.script(Number(deviceId), steps, options);
    if (faults) await this.setFaults(faults, options);
  }

  /** Change what `profile` names, for attempts that start from now on. */
  changeProfile(profile: Partial<Profile>, options?: CallOptions): Promise<FleetView> {
    return this.control("PATCH", "", { ...options, body: { profile } });
  }

  /** Have the server delete the fleet after so many seconds without use; null: never. */
  changeTtl(ttl: number | null, options?: CallOptions): Promise<FleetView> {
    return this.control("PATCH", "", { ...options, body: { ttl } });
  }

  /** Delete the fleet, its pending syncs with it. */
  delete(options?: CallOptions): Promise<void> {
    return this.control("DELETE", "", options);
  }

  /** Take the fleet back to its first state: data, error logs, clock. The profile stays. */
  reset(options?: CallOptions): Promise<void> {
    return this.control("POST", "/reset", options);
  }

  // Snapshots

  /** Return all that the fleet is at this moment, as a document. */
  async snapshot(options: CallOptions = {}): Promise<Blob> {
    return this.callForDocument("GET", this.#path("/snapshot"), { ...options, headers: await this.#headers() });
  }

  /** Make the fleet by a snapshot of any fleet, or replace it: it goes on from there. */
  restore(document: Blob | string, options?: CallOptions): Promise<FleetView> {
    return this.control("PUT", "/snapshot", { ...options, document });
  }

  /** Make another fleet by what this one is now, or replace it. */
  copy(to: string, options?: CallOptions): Promise<FleetView> {
    return this.control("POST", "/copy", { ...options, body: { to } });
  }

  // Its time

  /**
   * Let time pass as somebody looks, and not by itself: no test has to wait for it. A read in which a sync is pending
   * that would finish by itself is answered; then time moves to when the fleet's next one is due, and that finishes.
   */
  autoClock(options?: CallOptions): Promise<Clock> {
    return this.control("PUT", "/clock", { ...options, body: { mode: "auto" } });
  }

  /** Stop the fleet's time: from now on it moves by `advance` and `settle` alone. */
  manualClock(options?: CallOptions): Promise<Clock> {
    return this.control("PUT", "/clock", { ...options, body: { mode: "manual" } });
  }

  /** Let the fleet's time run by itself, `speed` times as fast as real time. */
  realClock(speed = 1, options?: CallOptions): Promise<Clock> {
    return this.control("PUT", "/clock", { ...options, body: { mode: "real", speed } });
  }

  /** Move a clock that is not real by seconds, and finish all that falls due on the way. */
  advance(seconds: number, options?: CallOptions): Promise<ClockAdvance> {
    return this.control("POST", "/advance", { ...options, body: { seconds } });
  }

  /** Finish every pending sync that is not held; time that stands still moves to the last. */
  settle(options?: CallOptions): Promise<ClockAdvance> {
    return this.control("POST", "/settle", options);
  }

  // Its attempts

  /** Let a device's next attempts follow these steps; after them the profile decides again. */
  script(deviceId: number, steps: readonly Step[], options?: CallOptions): Promise<void> {
    return this.control("PUT", `/devices/${deviceId}/script`, { ...options, body: steps });
  }

  /** Let the profile decide a device's next attempts again. */
  endScript(deviceId: number, options?: CallOptions): Promise<void> {
    return this.control("DELETE", `/devices/${deviceId}/script`, options);
  }

  /** Finish a held sync as a success. */
  release(deviceId: number, syncStatusCode?: 200, errorMessage?: null, options?: CallOptions): Promise<Device>;
  /** Finish a held sync as a failure, which needs a message. */
  release(deviceId: number, syncStatusCode: FailureCode, errorMessage: string, options?: CallOptions): Promise<Device>;
  release(
    deviceId: number,
    syncStatusCode: 200 | FailureCode = 200,
    errorMessage: string | null = null,
    options?: CallOptions,
  ): Promise<Device> {
    const body = { sync_status_code: syncStatusCode, error_message: errorMessage };
    return this.control("POST", `/devices/${deviceId}/release`, { ...options, body });
  }

  /** Return what attempts of a device will do, or did, by seed and profile. */
  forecast(deviceId: number, { attempts = 20, first, at, signal }: ForecastOptions = {}): Promise<Forecast[]> {
    return this.control("GET", "/forecast", { query: { device_id: deviceId, attempts, from: first, at: at instanceof Date ? at.toISOString() : at }, signal });
  }

  // What its clients meet, and what they did

  /** Let answers to the fleet's clients be late, lost or broken, as these rules say. */
  setFaults(rules: readonly FaultRule[], options?: CallOptions): Promise<(FaultRule & { hits: number })[]> {
    return this.control("PUT", "/faults", { ...options, body: rules });
  }

  /** Return the rules for faults, and how many requests each has hit. */
  faults(options?: CallOptions): Promise<(FaultRule & { hits: number })[]> {
    return this.control("GET", "/faults", options);
  }

  /** Let all requests be answered as they should be again. */
  endFaults(options?: CallOptions): Promise<void> {
    return this.control("DELETE", "/faults", options);
  }

  /** Return the newest requests of the fleet's journal, newest first. */
  requests(limit = 100, options?: CallOptions): Promise<JournaledRequest[]> {
    return this.control("GET", "/requests", { ...options, query: { limit } });
  }

  /** Empty the journal. */
  clearRequests(options?: CallOptions): Promise<void> {
    return this.control("DELETE", "/requests", options);
  }

  /** Check that the fleet's clients made these requests; `inOrder`: the first of each in this order. */
  verify(requests: readonly Expectation[], inOrder = false, options?: CallOptions): Promise<Verification> {
    return this.control("POST", "/verify", { ...options, body: { requests, in_order: inOrder } });
  }

  /** Return what became of the fleet's syncs. */
  ledger(options?: CallOptions): Promise<Ledger> {
    return this.control("GET", "/ledger", options);
  }

  /** Make any call below `/admin/fleets/NAME`; return the JSON of its answer. */
  async control<Answer>(method: string, path: string, parts: RequestParts = {}): Promise<Answer> {
    return this.call(method, this.#path(path), { ...parts, headers: await this.#headers() });
  }

  #path(path: string): string {
    return `/admin/fleets/${encodeURIComponent(this.fleet)}${path}`;
  }

  async #headers(): Promise<{ [name: string]: string }> {
    // Not the fleet's header: it need not exist yet.
    const { Authorization } = await this.headers();
    const authorization = this.#adminToken === undefined ? Authorization : `Bearer ${this.#adminToken}`;
    return authorization === undefined ? {} : { Authorization: authorization };
  }
}
