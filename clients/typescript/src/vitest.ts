/**
 * Fixtures for vitest: a PiSync server, and a fleet for each test.
 *
 * @packageDocumentation
 */
import { test as base } from "vitest";

import type { FleetClient } from "./fleet.js";
import { describeFleet } from "./report.js";
import { discard, startServer, type FleetSpec, type PisyncServer } from "./server.js";

export { startServer, type FleetSpec, type PisyncServer, type ServerOptions } from "./server.js";

/** What `test` hands to a test. */
export interface PisyncFixtures {
  /** The server: of the run with `pisync/setup`, else of the worker. */
  pisyncServer: PisyncServer;
  /** What the fleet of a test is made of; `test.override` changes it. */
  pisyncFleet: FleetSpec;
  /** A fleet of the test's own, deleted after it. Where the test fails, its seed and last requests are shown. */
  pisync: FleetClient;
  /** A fleet that all tests of a worker share. */
  sharedPisync: FleetClient;
}

/** vitest's `test`, with fixtures. */
export const test = base.extend<PisyncFixtures>({
  pisyncServer: [
    async ({}, use) => {
      const server = await startServer();
      await use(server);
      await server.stop();
    },
    { scope: "worker" },
  ],
  sharedPisync: [
    async ({ pisyncServer }, use) => {
      const fleet = await pisyncServer.newFleet();
      await use(fleet);
      await discard(fleet);
    },
    { scope: "worker" },
  ],
  pisyncFleet: {},
  pisync: async ({ pisyncServer, pisyncFleet, task }, use) => {
    const fleet = await pisyncServer.newFleet(pisyncFleet);
    await use(fleet);
    if (task.result?.state === "fail") console.error(await describeFleet(fleet));
    await discard(fleet);
  },
});
