// The client itself in a browser: bundled, from another origin.
import { build } from "esbuild";

import type * as Pisync from "../src/index.js";
import { expect, test } from "../src/playwright.js";

test("one server is there for the whole run", ({ pisyncServer }) => {
  expect(process.env.PISYNC_URL).toBe(pisyncServer.url);
});

test("the client works in a page", async ({ page, pisync }) => {
  const { outputFiles } = await build({
    stdin: { contents: 'import * as pisync from "./src/index.js"; Object.assign(globalThis, { pisync });', resolveDir: "." },
    bundle: true,
    format: "esm",
    write: false,
  });
  await page.goto(`${pisync.url.replace("127.0.0.1", "localhost")}/livez`);
  await page.addScriptTag({ type: "module", content: outputFiles[0]!.text });

  const seen = await page.evaluate(
    async ({ url, fleet, token }) => {
      const { PisyncClient, PisyncError } = (globalThis as unknown as { pisync: typeof Pisync }).pisync;
      const client = new PisyncClient({ url, fleet, token });
      const sizes = [];
      for await (const { items, total } of client.devices({ limit: 4 }).pages()) sizes.push([items.length, total]);
      const codes = [];
      for await (const event of client.events({ onOpen: () => void client.sync(7) })) {
        if (event.type !== "sync") continue;
        codes.push(event.device.sync_status_code);
        if (codes.length === 2) break;
      }
      const error: unknown = await client.device(99).catch((reason: unknown) => reason);
      const failed = error instanceof PisyncError && [error.status, typeof error.requestId];
      return { sizes, codes, failed, waited: (await client.syncAndWait(7)).attempt };
    },
    { url: pisync.url, fleet: pisync.fleet, token: (await pisync.headers()).Authorization!.slice(7) },
  );

  expect(seen.sizes).toEqual([[4, 10], [4, 10], [2, 10]]);
  expect(seen.codes[0]).toBe(202);
  expect(seen.codes[1]).not.toBe(202);
  expect(seen.failed).toEqual([404, "string"]);
  expect(seen.waited).toBe(2);
});

test.use({ pisyncFleet: { profile: { delay: { distribution: "constant", seconds: 0.2 } } } });
