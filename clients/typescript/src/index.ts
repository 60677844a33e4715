/**
 * A client for PiSync, a device-sync backend to test against.
 *
 * @packageDocumentation
 */
export { PisyncClient } from "./client.js";
export type { Credentials, DevicesOptions, ErrorsOptions, StatsOptions, SyncAllOptions, SyncOptions, WaitOptions } from "./client.js";
export { PisyncError } from "./error.js";
export type { EventsOptions } from "./events.js";
export { FleetClient, fleet } from "./fleet.js";
export type { FleetDefinition, FleetOptions, ForecastOptions, ReplaceOptions } from "./fleet.js";
export type { CallOptions, ClientOptions, RequestParts } from "./http.js";
export type { Page, Pages } from "./pages.js";
export type * from "./types.js";
