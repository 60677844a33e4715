import { expect } from "vitest";

import { fleet, PisyncClient } from "../src/index.js";
import { describeFleet } from "../src/report.js";
import { startServer } from "../src/server.js";
import { test } from "../src/vitest.js";

test("a fleet is made, changed, reset and deleted", async ({ pisyncServer }) => {
  const token = pisyncServer.token(["devices", "admin"]);
  const suite = fleet("made-here", { url: pisyncServer.url, token });
  await expect(suite.view()).rejects.toMatchObject({ status: 404 });
  const made = await suite.replace(
    [{ device_id: 7, sync_status_code: 500, error_message: "Disk", last_sync_at: null, last_attempt_at: new Date(0) }, { device_id: 8 }],
    { seed: 4711 },
  );
  expect(made).toMatchObject({ name: "made-here", devices: 2, seed: 4711, clock: { mode: "real", speed: 1 } });
  expect((await suite.device(7)).last_attempt_at).toBe("1970-01-01T00:00:00.000000Z");
  expect((await suite.changeProfile({ when_pending: "refuse" })).profile.when_pending).toBe("refuse");
  await suite.manualClock();
  await suite.sync(8);
  await expect(suite.sync(8)).rejects.toMatchObject({ status: 409 });
  await suite.reset();
  expect(await suite.stats()).toMatchObject({ pending: 0, attempts: 0 });
  expect(await suite.replace()).toMatchObject({ devices: 10, ttl: null, expires_at: null });
  expect((await suite.replace(1, {}, { ttl: 60 })).ttl).toBe(60);
  expect((await suite.changeTtl(600)).ttl).toBe(600);
  expect(await suite.delete()).toBeUndefined();
  await expect(suite.view()).rejects.toMatchObject({ status: 404 });
});

test("the server forgets it an hour after its test run has died", async ({ pisync }) => {
  const { ttl, expires_at } = await pisync.view();
  expect(ttl).toBe(3600);
  expect(Math.abs(Date.parse(expires_at!) - Date.now() - 3_600_000)).toBeLessThan(60_000);
});

test("its base URL is enough for a client that can set nothing else", async ({ pisync, pisyncServer }) => {
  const app = new PisyncClient({ url: pisync.baseUrl, token: pisyncServer.token() });
  expect((await app.sync(7)).attempt).toBe(1);
  expect(await app.devices({ limit: 3 }).all()).toHaveLength(10);
  expect((await pisync.stats()).attempts).toBe(1);
});

test("a token is bound to a fleet, and does all there", async ({ pisync, pisyncServer }) => {
  const token = pisyncServer.token(["devices", "admin"], 60, pisync.fleet);
  const mine = fleet(pisync.fleet, { url: pisyncServer.url, token });
  await mine.syncAll();
  expect((await mine.settle()).finished).toBe(10);
  expect((await new PisyncClient({ url: pisyncServer.url, token }).stats()).attempts).toBe(10);
  const other = fleet("default", { url: pisyncServer.url, token });
  await expect(other.stats()).rejects.toMatchObject({ status: 403 });
  await expect(other.view()).rejects.toMatchObject({ status: 403 });
});

test("a snapshot or a copy of it goes on from there", async ({ pisync, pisyncServer }) => {
  await pisync.manualClock();
  await pisync.syncAll();
  const document = await pisync.snapshot();
  const token = pisyncServer.token(["devices", "admin"]);
  const desk = fleet("desk", { url: pisyncServer.url, token });
  expect((await desk.restore(document)).devices).toBe(10);
  expect(await desk.devices().all()).toEqual(await pisync.devices().all());
  expect((await desk.settle()).finished).toBe(10);
  expect((await desk.restore(await document.text())).name).toBe("desk");
  await expect(desk.restore((await document.text()).slice(0, -9))).rejects.toMatchObject({ status: 422 });
  expect(await pisync.copy("desk")).toMatchObject({ name: "desk", clock: { mode: "manual" } });
  await desk.delete();
});

test("its time stands, moves and runs", async ({ pisync }) => {
  expect((await pisync.autoClock()).mode).toBe("auto");
  expect((await pisync.manualClock()).mode).toBe("manual");
  await pisync.changeProfile({ delay: { distribution: "constant", seconds: 60 } });
  await pisync.sync(1);
  expect((await pisync.advance(59)).finished).toBe(0);
  expect((await pisync.advance(1)).finished).toBe(1);
  await pisync.sync(2);
  expect((await pisync.settle()).finished).toBe(1);
  expect(await pisync.realClock(10)).toMatchObject({ mode: "real", speed: 10 });
  expect((await pisync.realClock()).speed).toBe(1);
});

test("its attempts follow a script, and are held until they are released", async ({ pisync }) => {
  await pisync.script(7, [{ hold: true }, { hold: true }, { sync_status_code: 404, error_message: "Gone", delay: 0, sticky: true }]);
  await pisync.sync(7);
  expect((await pisync.ledger()).held).toBe(1);
  expect(await pisync.release(7)).toMatchObject({ sync_status_code: 200, error_message: null });
  await pisync.sync(7);
  expect(await pisync.release(7, 400, "Storage Full")).toMatchObject({ sync_status_code: 400, error_message: "Storage Full" });
  expect((await pisync.syncAndWait(7)).device.error_message).toBe("Gone");
  await pisync.endScript(7);
  await expect(pisync.release(7)).rejects.toMatchObject({ status: 409 });
});

test("an attempt is pending in as many reads as its step has polls", async ({ pisync }) => {
  await pisync.script(7, [{ polls: 2, sync_status_code: 500, error_message: "Storage Full" }]);
  await pisync.sync(7);
  const codes = [];
  for (let read = 0; read < 3; read += 1) codes.push((await pisync.device(7)).sync_status_code);
  expect(codes).toEqual([202, 202, 500]);
});

test("a forecast comes true, and the ledger balances", async ({ pisync }) => {
  const [next, ...others] = await pisync.forecast(3, { attempts: 4 });
  expect(others.map((forecast) => forecast.attempt)).toEqual([2, 3, 4]);
  expect(await pisync.forecast(3, { attempts: 1, first: 4 })).toEqual([others.at(-1)]);
  await pisync.sync(3);
  await pisync.settle();
  expect((await pisync.device(3)).sync_status_code).toBe(next!.sync_status_code);
  expect(await pisync.ledger()).toMatchObject({ accepted: 1, pending: 0, balanced: true });
});

test("a failure report shows seed, counts and error logs", async ({ pisync }) => {
  await pisync.script(7, [{ sync_status_code: 500, error_message: "Disk" }]);
  await pisync.sync(7);
  await pisync.settle();
  const report = await describeFleet(pisync);
  expect(report).toContain(`PiSync fleet ${pisync.fleet} at ${pisync.url}: seed 1, clock real`);
  expect(report).toContain("1 accepted, 0 succeeded, 1 failed, 0 pending (0 held)");
  expect(report).toContain("device 7, attempt 1: 500 Disk");
});

test("and that the fleet is gone, if it is", async ({ pisync }) => {
  await pisync.delete();
  expect(await describeFleet(pisync)).toMatch(/^PiSync fleet test-\w+ at \S+: PisyncError: /);
});

test("and the last requests, of a server that has a journal", async ({ pisync, pisyncServer }) => {
  const journal = [
    { method: "GET", path: "/devices/7", status: null, request_id: "second" },
    { method: "POST", path: "/devices/7/sync", status: 202, request_id: "first" },
  ];
  const withJournal: typeof fetch = async (input, init) =>
    String(input).includes("/requests?") ? Response.json(journal) : fetch(input, init);
  const token = pisyncServer.token(["devices", "admin"]);
  const report = await describeFleet(fleet(pisync.fleet, { url: pisync.url, token, fetch: withJournal }));
  expect(report).toContain("POST /devices/7/sync: 202 (first)\n  GET /devices/7: no answer (second)");
});

test("one server is there for the whole run", async ({ pisyncServer }) => {
  expect(process.env.PISYNC_URL).toBe(pisyncServer.url);
  expect((await startServer()).url).toBe(pisyncServer.url);
});

test("a server that is named without a way in is a mistake", async ({ onTestFinished }) => {
  const { PISYNC_JWT_SECRET } = process.env;
  delete process.env.PISYNC_JWT_SECRET;
  onTestFinished(() => void (process.env.PISYNC_JWT_SECRET = PISYNC_JWT_SECRET));
  await expect(startServer()).rejects.toThrow("set PISYNC_JWT_SECRET or PISYNC_TOKEN");
});

test("a server that can't start says why", async ({ onTestFinished }) => {
  const { PISYNC_URL } = process.env;
  delete process.env.PISYNC_URL;
  onTestFinished(() => void (process.env.PISYNC_URL = PISYNC_URL));
  await expect(startServer({ settings: { PISYNC_DEVICES: "many" } })).rejects.toThrow(/status 2:[^]*PISYNC_DEVICES: /);
});
