import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect, test } from "../../src/playwright.js";

// Your app has a server of its own; this one serves a single page.
const html = readFileSync(new URL("page.html", import.meta.url));
const app = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(html));

test.beforeAll(() => new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve)));
test.afterAll(() => app.close());

test.beforeEach(async ({ page, pisync }) => {
  const backend = { url: pisync.url, headers: await pisync.headers() };
  await page.addInitScript((backend) => Object.assign(globalThis, { backend }), backend);
  await page.goto(`http://127.0.0.1:${(app.address() as AddressInfo).port}`);
});

test("shows that a sync is pending, and why it failed", async ({ page, pisync }) => {
  await pisync.script(7, [{ hold: true }]);
  await page.getByRole("button", { name: "Sync now" }).click();
  await expect(page.getByRole("status")).toHaveText("Pending");

  await pisync.release(7, 400, "Storage Full");
  await expect(page.getByRole("status")).toHaveText("Storage Full");
});

test.describe("with a fleet that always succeeds", () => {
  test.use({ pisyncFleet: { devices: [{ device_id: 7 }], profile: { outcomes: [{ sync_status_code: 200, weight: 1 }] } } });

  test("shows that a sync was successful, without a wait", async ({ page, pisync }) => {
    await pisync.changeProfile({ delay: { distribution: "constant", seconds: 3600 } });
    await page.getByRole("button", { name: "Sync now" }).click();
    await expect(page.getByRole("status")).toHaveText("Pending");

    expect((await pisync.settle()).finished).toBe(1);
    await expect(page.getByRole("status")).toHaveText("Synced");
  });
});
