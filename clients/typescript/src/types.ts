/**
 * A moment in UTC, as `yyyy-MM-ddTHH:mm:ss.mmmuuuZ`.
 *
 * It has six digits of fraction; `new Date(timestamp)` keeps the first three. Timestamps sort as text.
 */
export type Timestamp = string;

/** The status code of a failed sync. */
export type FailureCode = 400 | 404 | 500;

/** A device's status: 200 success, 202 pending, 400, 404 and 500 failed. */
export type SyncStatusCode = 200 | 202 | FailureCode;

/** A device. While a sync is pending, its `sync_status_code` is 202. */
export interface Device {
  /** Unique in its fleet; at most 2^53 − 1, so every id is exact as a number. */
  device_id: number;
  /** When the last successful attempt was made; null if there was none. */
  last_sync_at: Timestamp | null;
  /** What its last sync came to. */
  sync_status_code: SyncStatusCode;
  /** Why the last sync failed; null for 200 and 202. */
  error_message: string | null;
  /** When the last attempt was made. */
  last_attempt_at: Timestamp;
}

/** What an attempt of a failed sync left behind. */
export interface ErrorLog {
  /** Grows: a newer log has a larger id. */
  error_id: number;
  /** Whose attempt it was. */
  device_id: number;
  /** The number of the attempt; 0 in a fleet's first data. */
  attempt: number;
  /** How it failed. */
  sync_status_code: FailureCode;
  /** Why it failed. */
  error_message: string;
  /** When it failed, in fleet time. */
  occurred_at: Timestamp;
}

/** A fleet's counts. */
export interface Stats {
  /** All devices. */
  devices: number;
  /** Devices with a pending sync. */
  pending: number;
  /** Devices by status code. */
  by_status: { [code: string]: number };
  /** Accepted syncs, pending ones included. */
  attempts: number;
  /** Syncs that succeeded. */
  succeeded: number;
  /** Syncs that failed. */
  failed: number;
  /** Error logs that are kept. */
  error_logs: number;
  /** The last seconds, where `history` asks for them. */
  history?: History;
}

/** How many syncs began, succeeded and failed in each of the last seconds, oldest first. */
export interface History {
  /** When the first of these seconds began, by the wall clock. */
  from: string;
  /** Syncs that began. */
  started: number[];
  /** Syncs that succeeded. */
  succeeded: number[];
  /** Syncs that failed. */
  failed: number[];
}

/** A sync that was accepted, or joined: the number of its attempt, and the device. */
export interface Sync {
  /** The number of the attempt; the first of a device is 1. */
  attempt: number;
  /** The device, as the answer has it. */
  device: Device;
}

/** What became of syncing many devices: three counts, and the ids that the fleet does not have. */
export interface BulkResult {
  /** Syncs that were started. */
  started: number;
  /** Were pending already. */
  joined: number;
  /** Would exceed the fleet's limit of pending syncs, or the fleet refuses to join. */
  refused: number;
  /** Ids that the fleet does not have. */
  not_found: number[];
}

/** What happened to a fleet, as its event stream tells it. */
export type FleetEvent =
  /** An attempt started or finished. */
  | { type: "sync"; id: string; device: Device; attempt: number }
  /** An attempt failed. */
  | { type: "error_log"; id: string; errorLog: ErrorLog }
  /** Events may have been missed: read the devices again. */
  | { type: "resync"; id: string | undefined };

/** What an attempt comes to: a success, or a failure with its message. */
export type Outcome =
  | { sync_status_code: 200; error_message?: null }
  | { sync_status_code: FailureCode; error_message: string };

/** An outcome in a profile; `weight` says how often it comes, relative to the others. */
export type WeightedOutcome = Outcome & { weight: number };

/** How long attempts take, in seconds of fleet time. */
export type Delay =
  | { distribution: "constant"; seconds: number }
  | { distribution: "uniform"; min: number; max: number }
  | { distribution: "lognormal"; median: number; sigma: number; max: number };

/** What decides a fleet's outcomes and delays. */
export interface Profile {
  /** Fixes all outcomes and delays. A fleet made without one draws one. */
  seed: number;
  /** What attempts can come to. */
  outcomes: WeightedOutcome[];
  /** How long attempts take. */
  delay: Delay;
  /** Whether a sync of a pending device joins the attempt or is refused (409). */
  when_pending: "join" | "refuse";
  /** How many syncs may be pending at once. */
  max_pending: number;
  /** Whether a device's outcomes come in runs; left out in answers if each attempt draws for itself. */
  spells?: Spells;
  /** Stretches of fleet time with other outcomes or delays; left out in answers if there are none. */
  phases?: Phase[];
  /** The seconds after which the phases come again; null or left out: never. */
  repeat_every?: number | null;
  /** Whether devices sync by themselves; null, or left out in answers: they do not. */
  traffic?: Traffic | null;
}

/** How often devices sync by themselves. */
export interface Traffic {
  /** Seconds from the end of a device's attempt to its own next. */
  every: Delay;
  /** The part of the devices that do so, 0 to 1; 1 if left out. */
  share?: number;
}

/** How long a device's outcomes stay as they are. */
export interface Spells {
  /** The mean length of a run, in attempts: 1 to 10,000. */
  mean_length: number;
}

/** What attempts come to that begin in a stretch of the fleet's time. */
export interface Phase {
  /** Seconds of fleet time since the fleet was made or reset. */
  from: number;
  /** The first moment that does not belong to it, likewise. */
  until: number;
  /** In place of the profile's. */
  outcomes?: WeightedOutcome[];
  /** In place of the profile's. */
  delay?: Delay;
}

/**
 * A device to make. What is left out follows from the rest; one that has only its id is synced.
 *
 * Its times may be relative: `now`, `now-90s`, `now-15m`, `now-2h`, `now-7d`, `now-4w`, from the fleet's clock when it
 * is made, and again at each reset.
 */
export interface DeviceSpec {
  /** 1 to 2^53 − 1, unique in the fleet. */
  device_id: number;
  /** When the last successful attempt was made; null if there was none. */
  last_sync_at?: Timestamp | Date | null;
  /** Default: 200. */
  sync_status_code?: 200 | FailureCode;
  /** Needed for a failure. */
  error_message?: string | null;
  /** When the last attempt was made. Default: when the fleet is made. */
  last_attempt_at?: Timestamp | Date;
}

/**
 * A step of a script: an outcome, after `delay` seconds if given or after `polls` reads that show
 * the attempt as pending (1 to 1,000), or a hold until it is released.
 *
 * `sticky` in the last step repeats that for ever.
 */
export type Step = (
  | (Outcome & { delay?: number; polls?: never; hold?: never })
  | (Outcome & { polls: number; delay?: never; hold?: never })
  | { hold: true; sync_status_code?: never; error_message?: never; delay?: never; polls?: never }
) & { sticky?: boolean };

/** A fleet's clock. */
export interface Clock {
  /** Whether time runs by itself, moves by `advance` and `settle` alone, or by reads, too. */
  mode: "real" | "manual" | "auto";
  /** Seconds of fleet time per real second; 0 for a clock that stands still. */
  speed: number;
  /** Fleet time. */
  now: Timestamp;
}

/** A fleet: how many devices it has, its effective seed, its whole profile, its clock. */
export interface FleetView {
  /** What the header `Pisync-Fleet` calls it. */
  name: string;
  /** How many it has. */
  devices: number;
  /** The seed in effect, drawn or given. */
  seed: number;
  /** The profile, complete with defaults. */
  profile: Profile;
  /** How many requests its journal keeps. */
  journal: number;
  /** Its clock. */
  clock: Clock;
  /** Seconds without a request or an open stream after which it is deleted; null: never. */
  ttl: number | null;
  /** When that is, if nobody uses it before; by the wall clock. */
  expires_at: Timestamp | null;
}

/** A fleet's time after it was moved, and how many syncs that finished. */
export interface ClockAdvance {
  /** Fleet time after the move. */
  now: Timestamp;
  /** Syncs that the move finished. */
  finished: number;
}

/** What an attempt comes to by seed and profile, after `delay` seconds. */
export interface Forecast {
  /** The number of the attempt. */
  attempt: number;
  /** How it ends. */
  sync_status_code: 200 | FailureCode;
  /** Why it fails; null for a success. */
  error_message: string | null;
  /** How long it takes, in seconds. */
  delay: number;
}

/** What became of a fleet's syncs. */
export interface Ledger {
  /** Syncs that were started. */
  accepted: number;
  /** Syncs that joined one that was pending. */
  joined: number;
  /** Syncs that were refused. */
  refused: number;
  /** Syncs that succeeded. */
  succeeded: number;
  /** By status code, then by message. */
  failed: { [code: string]: { [message: string]: number } };
  /** Syncs that are pending. */
  pending: number;
  /** How many of the pending syncs are held. */
  held: number;
  /** All that were ever written, those of the first data aside. */
  error_logs: number;
  /** How late syncs finished by themselves, in real seconds. */
  lateness: { p50: number; p99: number; max: number };
  /** Faults of HTTP that requests met, `before` or `after` the call did anything, by kind. */
  faults: { [when: string]: { [kind: string]: number } };
  /** Whether every accepted sync is finished or pending, and every failed one has its error log. */
  balanced: boolean;
}

/** The calls that faults and the journal are about. */
export type CallName = "sync" | "device" | "devices" | "errors" | "stats" | "events" | "bulk";

/** What happens to an answer. */
export type Fault =
  | { kind: "delay"; delay: Delay }
  | { kind: "status"; status: 429 | 500 | 502 | 503 | 504; retry_after?: number }
  | { kind: "reset" | "close" | "garbage" | "hang" }
  | { kind: "truncate"; share?: number }
  | { kind: "drip"; bytes?: number; every?: number };

/** Which requests meet which fault. */
export interface FaultRule {
  /** The calls that it is about. */
  calls: CallName[];
  /** If given, only syncs and reads of these devices. */
  device_ids?: number[];
  /** The share of requests that meet it. Default: all. */
  share?: number;
  /** In place of `share`: the first so many of each user, call and device. */
  first?: number;
  /** What happens to the answer. */
  fault: Fault;
  /** Whether the call does nothing (the default), or has done what it does. */
  when?: "before" | "after";
}

/** A request of a client, as the fleet's journal has it. */
export interface JournaledRequest {
  /** It grows. */
  number: number;
  /** The header `X-Request-ID`. */
  request_id: string;
  /** By the wall clock. */
  received_at: Timestamp;
  /** The name of the call. */
  call: CallName;
  /** The HTTP method. */
  method: string;
  /** Without its query. */
  path: string;
  /** The device, if it is about one. */
  device_id: number | null;
  /** Whose token it was. */
  user: string;
  /** The header `User-Agent`. */
  user_agent: string | null;
  /** Null if there was no answer. */
  status: number | null;
  /** The kind of the fault that it met. */
  fault: string | null;
  /** The attempt that a sync began or joined. */
  attempt: number | null;
  /** How long it took. */
  seconds: number;
}

/** Requests that are expected; what is left out is open. */
export interface Expectation {
  /** The name of the call. */
  call?: CallName;
  /** The device. */
  device_id?: number;
  /** Whose token it was. */
  user?: string;
  /** The status of the answer; null: there was none. */
  status?: number | null;
  /** The kind of the fault that it met. */
  fault?: Fault["kind"];
  /** The attempt that a sync began or joined. */
  attempt?: number;
  /** How many there must be. Default: 1, with `at_most` 0. */
  at_least?: number;
  /** How many there may be. */
  at_most?: number;
}

/** Whether requests are as expected, and if not, what is wrong. */
export interface Verification {
  /** Whether all are. */
  verified: boolean;
  /** The expectations that are not met, each with the requests that come closest. */
  problems?: { index: number; found: number; wanted: Expectation; message: string; nearest: JournaledRequest[] }[];
}
