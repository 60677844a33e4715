// The client's types beside those of the OpenAPI document: what differs does not compile.
import type * as pisync from "../src/index.js";
import type { components, paths } from "./openapi.js";

type Schemas = components["schemas"];
type KeyOf<T> = T extends unknown ? keyof T : never;

/** An answer: the same type, field by field. */
type Answer<Ours, Theirs> = [Ours, Theirs] extends [Theirs, Ours] ? Body<Ours, Theirs> : { differ: [Ours, Theirs] };
/** A body: every value of our type is allowed, and no field is missing. */
type Body<Ours, Theirs> = [Ours] extends [Theirs]
  ? [KeyOf<Ours>, KeyOf<Theirs>] extends [KeyOf<Theirs>, KeyOf<Ours>]
    ? true
    : { fields: [Exclude<KeyOf<Ours>, KeyOf<Theirs>>, Exclude<KeyOf<Theirs>, KeyOf<Ours>>] }
  : { refused: [Ours, Theirs] };

/** What is sent for a date is a timestamp. */
type Sent<T> = T extends Date ? string : T extends object ? { [Name in keyof T]: Sent<T[Name]> } : T;
type Query<Path extends keyof paths> = paths[Path] extends { get: { parameters: { query?: infer Parameters } } }
  ? Exclude<KeyOf<NonNullable<Parameters>>, undefined>
  : never;

const same: true[] = [
  true satisfies Answer<pisync.Device, Schemas["Device"]>,
  true satisfies Answer<pisync.ErrorLog, Schemas["ErrorLog"]>,
  true satisfies Answer<pisync.Stats, Schemas["Stats"]>,
  true satisfies Answer<pisync.BulkResult, Schemas["BulkResult"]>,
  true satisfies Answer<pisync.Clock, Schemas["Clock"]>,
  true satisfies Answer<pisync.ClockAdvance, Schemas["Moved"]>,
  true satisfies Answer<pisync.Forecast, Schemas["Forecast"]>,
  true satisfies Answer<pisync.Ledger, Schemas["Ledger"]>,
  true satisfies Answer<pisync.Delay, Schemas["Delay"]>,
  true satisfies Answer<Omit<pisync.FleetView, "profile">, Omit<Schemas["Fleet"], "profile">>,
  // An outcome is a union here, which says what its message depends on.
  true satisfies Body<pisync.Profile, Schemas["Profile"]>,
  true satisfies Body<Partial<pisync.Profile>, Schemas["PartialProfile"]>,
  true satisfies Body<pisync.Spells, Schemas["Spells"]>,
  true satisfies Body<pisync.Phase, Schemas["Phase"]>,
  true satisfies Body<pisync.WeightedOutcome, Schemas["WeightedOutcome"]>,
  true satisfies Body<pisync.Outcome, Schemas["Outcome"]>,
  true satisfies Body<pisync.Step, Schemas["Step"]>,
  true satisfies Answer<pisync.JournaledRequest, Schemas["JournaledRequest"]>,
  true satisfies Body<Sent<pisync.DeviceSpec>, Schemas["DeviceSpec"]>,
  true satisfies Body<pisync.Credentials, Schemas["LoginBody"]>,
  true satisfies Body<pisync.Credentials, Schemas["RegisterBody"]>,
  true satisfies Body<Required<Schemas["Problem"]>, Pick<pisync.PisyncError, "message" | "errors">>,
  // The parameters that the client can send are all there are.
  true satisfies Answer<Query<"/devices">, "limit" | "after" | "status">,
  true satisfies Answer<Query<"/devices/{device_id}">, "wait">,
  true satisfies Answer<Query<"/stats">, "history" | "wait">,
  true satisfies Answer<Query<"/errors">, "limit" | "before" | "device_id" | "status" | "since">,
  true satisfies Answer<Query<"/admin/fleets/{fleet}/forecast">, "device_id" | "attempts" | "from" | "at">,
];

/** The calls that the client makes are there, with these methods. */
const calls: { [Path in keyof paths]?: (keyof paths[Path])[] } = {
  "/register": ["post"],
  "/login": ["post"],
  "/devices": ["get"],
  "/devices/{device_id}": ["get"],
  "/devices/{device_id}/sync": ["post"],
  "/devices/sync": ["post"],
  "/errors": ["get"],
  "/stats": ["get"],
  "/events": ["get"],
  "/admin/fleets/{fleet}": ["get", "put", "patch", "delete"],
  "/admin/fleets/{fleet}/reset": ["post"],
  "/admin/fleets/{fleet}/clock": ["put"],
  "/admin/fleets/{fleet}/advance": ["post"],
  "/admin/fleets/{fleet}/settle": ["post"],
  "/admin/fleets/{fleet}/devices/{device_id}/script": ["put", "delete"],
  "/admin/fleets/{fleet}/devices/{device_id}/release": ["post"],
  "/admin/fleets/{fleet}/forecast": ["get"],
  "/admin/fleets/{fleet}/ledger": ["get"],
  "/admin/fleets/{fleet}/faults": ["put", "get", "delete"],
  "/admin/fleets/{fleet}/requests": ["get", "delete"],
  "/admin/fleets/{fleet}/verify": ["post"],
  "/admin/fleets/{fleet}/snapshot": ["get", "put"],
  "/admin/fleets/{fleet}/copy": ["post"],
};

export { calls, same };
