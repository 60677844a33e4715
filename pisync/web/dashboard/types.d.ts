// What the API sends and what modules hand to each other. Only the type checker reads this file.
import type { ApiError } from "./api.js";

export interface Device {
  device_id: number;
  last_sync_at: string | null;
  sync_status_code: number;
  error_message: string | null;
  last_attempt_at: string;
}

export interface ErrorLog {
  error_id: number;
  device_id: number;
  attempt: number;
  sync_status_code: number;
  error_message: string;
  occurred_at: string;
}

export type FleetEvent =
  | { name: "sync"; data: { device: Device; attempt: number } }
  | { name: "error_log"; data: ErrorLog }
  | { name: "resync"; data: object };

export interface Stats {
  devices: number;
  pending: number;
  by_status: Record<string, number>;
  attempts: number;
  succeeded: number;
  failed: number;
  error_logs: number;
  history?: History;
}

/** Syncs that began, succeeded and failed in each of the last seconds, oldest first. */
export interface History {
  from: string;
  started: number[];
  succeeded: number[];
  failed: number[];
}

export interface Clock {
  mode: string;
  speed: number;
  now: string;
}

export interface Outcome {
  sync_status_code: number;
  error_message?: string | null;
}

export interface WeightedOutcome extends Outcome {
  weight: number;
}

/** Its parameters depend on the distribution; one that is being edited may be text. */
export interface Delay {
  distribution: "constant" | "uniform" | "lognormal";
  [parameter: string]: any;
}

export interface Profile {
  seed: number | string;
  outcomes: WeightedOutcome[];
  delay: Delay;
  when_pending: string;
  max_pending: number | string;
  /** These three are absent where they are not used; text that is no list is still being edited. */
  spells?: { mean_length: number | string };
  phases?: Phase[] | string;
  repeat_every?: number | string | null;
}

export interface Phase {
  from?: number;
  until?: number;
  outcomes?: WeightedOutcome[];
  delay?: Delay;
}

export interface FaultRule {
  calls: string[];
  device_ids?: number[];
  share?: number;
  first?: number;
  fault: { kind: string; [parameter: string]: any };
  when: "before" | "after";
  hits: number;
}

/** A request in the journal. `received_at` is by the wall clock; without a status, nothing was answered. */
export interface JournaledRequest {
  number: number;
  request_id: string;
  received_at: string;
  call: string;
  method: string;
  path: string;
  device_id: number | null;
  user: string;
  user_agent: string | null;
  status: number | null;
  fault: string | null;
  attempt: number | null;
  seconds: number;
}

export interface Fleet {
  name: string;
  devices: number;
  seed: number;
  clock: Clock;
  profile: Profile;
  journal: number;
  ttl: number | null;
  expires_at: string | null;
}

/** In seconds. */
export interface Lateness {
  p50: number;
  p99: number;
  max: number;
}

export interface Ledger {
  accepted: number;
  joined: number;
  refused: number;
  succeeded: number;
  failed: Record<string, Record<string, number>>;
  pending: number;
  held: number;
  error_logs: number;
  lateness: Lateness;
  /** By `when` and kind. */
  faults: Record<string, Record<string, number>>;
  balanced: boolean;
}

export interface Forecast extends Outcome {
  attempt: number;
  delay: number;
}

export type FieldErrors = Record<string, string[]>;

export interface Request {
  method?: string;
  path: string;
  body?: unknown;
  fleet?: string;
}

/** What `useRead` returns. */
export interface Reading<T> {
  data: T | null;
  headers: Headers | null;
  error: ApiError | null;
  loading: boolean;
  reload: () => void;
  patch: (change: (data: T) => T) => void;
}

export interface Session {
  token: string;
  name: string;
  scopes: string[];
  /** The fleet that the token is bound to, if it is to one. */
  fleet?: string;
  /** In milliseconds of this machine's clock. */
  expiresAt: number;
}

/** A page and what its address says beside it. `fleet` is null if no fleet can have that name. */
export interface Route {
  page: string;
  id: string;
  fleet: string | null;
  values: Record<string, string>;
}

/** `until`: when the next try is, in milliseconds of this machine's clock. */
export interface Connection {
  phase: "connecting" | "live" | "retrying" | "refused" | "paused";
  resumed?: boolean;
  until?: number;
  reason?: string;
  status?: number;
}

export interface Store<T> {
  get: () => T;
  set: (value: T) => void;
  watch: (watcher: (value: T) => void) => () => void;
}
