/**
 * One server for a whole run, as the `globalSetup` of vitest and of Playwright.
 *
 * Without it, every worker of `pisync/vitest` and `pisync/playwright` starts one of its own.
 *
 * @packageDocumentation
 */
import { startServer } from "./server.js";

/** Start the server; return what stops it. Workers inherit where it is. */
export default async function setup(): Promise<() => Promise<void>> {
  const server = await startServer();
  for (const [name, value] of Object.entries(server.environment)) {
    if (value !== undefined) process.env[name] = value;
  }
  return () => server.stop();
}
