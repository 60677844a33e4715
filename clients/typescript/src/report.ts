import { PisyncError } from "./error.js";
import type { FleetClient } from "./fleet.js";

/** Describe a fleet for whoever reads a failed test: its seed, counts, last requests and error logs. */
export async function describeFleet(fleet: FleetClient): Promise<string> {
  // The test may have failed because there is no fleet any more, or no server.
  return describe(fleet).catch((error: unknown) => `PiSync fleet ${fleet.fleet} at ${fleet.url}: ${String(error)}`);
}

async function describe(fleet: FleetClient): Promise<string> {
  const [view, ledger, logs, requests] = await Promise.all([
    fleet.view(),
    fleet.ledger(),
    fleet.errors({ limit: 5 }).pages().next(),
    lastRequests(fleet),
  ]);
  const { seed, clock } = view;
  const { accepted, succeeded, pending, held, error_logs: failed } = ledger;
  return [
    `PiSync fleet ${fleet.fleet} at ${fleet.url}: seed ${seed}, clock ${clock.mode}, now ${clock.now}`,
    `syncs: ${accepted} accepted, ${succeeded} succeeded, ${failed} failed, ${pending} pending (${held} held)`,
    ...requests,
    ...(logs.value?.items ?? []).map(
      (log) => `error log: device ${log.device_id}, attempt ${log.attempt}: ${log.sync_status_code} ${log.error_message}`,
    ),
  ].join("\n  ");
}

/** The fleet's newest requests, oldest first; none from a server that keeps no journal. */
async function lastRequests(fleet: FleetClient): Promise<string[]> {
  type Request = { method: string; path: string; status: number | null; request_id: string };
  try {
    const path = "/requests?limit=10";
    const requests = await fleet.control<Request[]>("GET", path);
    return requests.reverse().map(({ method, path, status, request_id }) => `${method} ${path}: ${status ?? "no answer"} (${request_id})`);
  } catch (error) {
    if (error instanceof PisyncError) return [];
    throw error;
  }
}
