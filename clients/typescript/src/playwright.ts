/**
 * Fixtures for Playwright: a PiSync server, and a fleet for each test.
 *
 * @packageDocumentation
 */
import { test as base } from "@playwright/test";

import type { FleetClient } from "./fleet.js";
import { describeFleet } from "./report.js";
import { discard, startServer, type FleetSpec, type PisyncServer } from "./server.js";

export { expect } from "@playwright/test";
export { startServer, type FleetSpec, type PisyncServer, type ServerOptions } from "./server.js";

/** What `test` hands to a test. */
export interface PisyncFixtures {
  /** What the fleet of a test is made of; `test.use` changes it. */
  pisyncFleet: FleetSpec;
  /** A fleet of the test's own, deleted after it. Where the test fails, its seed and last requests are attached. */
  pisync: FleetClient;
}

/** What `test` hands to all tests of a worker. */
export interface PisyncWorkerFixtures {
  /** The server: of the run with `pisync/setup`, else of the worker. */
  pisyncServer: PisyncServer;
  /** A fleet that all tests of a worker share. */
  sharedPisync: FleetClient;
}

/** Playwright's `test`, with fixtures. */
export const test = base.extend<PisyncFixtures, PisyncWorkerFixtures>({
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
  pisyncFleet: [{}, { option: true }],
  pisync: async ({ pisyncServer, pisyncFleet }, use, testInfo) => {
    const fleet = await pisyncServer.newFleet(pisyncFleet);
    await use(fleet);
    if (testInfo.status !== testInfo.expectedStatus) {
      await testInfo.attach("PiSync", { body: await describeFleet(fleet), contentType: "text/plain" });
    }
    await discard(fleet);
  },
});
