import { randomUUID } from "node:crypto";

import { describe, expect } from "vitest";

import { PisyncClient, PisyncError, type FleetEvent } from "../src/index.js";
import { test } from "../src/vitest.js";

const password = "correct horse";
const later = () => AbortSignal.timeout(50_000);

describe("accounts", () => {
  test("whoever registers is let in, and so is who logs in", async ({ pisyncServer: { url } }) => {
    const username = `u-${randomUUID()}`;
    const client = new PisyncClient({ url });
    await expect(client.stats()).rejects.toMatchObject({ status: 401 });
    const token = await client.register({ username, password });
    expect(await client.headers()).toEqual({ Authorization: `Bearer ${token}` });
    expect((await client.stats()).devices).toBe(10);

    const other = new PisyncClient({ url: `${url}/`, token: "not a token" });
    await other.login({ username: username.toUpperCase(), password });
    expect((await other.stats()).devices).toBe(10);
  });

  test("an error says all that the server says", async ({ pisyncServer: { url } }) => {
    const failed = new PisyncClient({ url }).register({ username: "!", password: "short" });
    const error = await failed.then(
      () => expect.unreachable(),
      (reason: unknown) => reason as PisyncError,
    );
    expect(error).toBeInstanceOf(PisyncError);
    expect(error).toMatchObject({ name: "PisyncError", status: 422, requestId: expect.stringMatching(/^[\w.-]+$/) });
    expect(Object.keys(error.errors).sort()).toEqual(["password", "username"]);
    expect(error.message).not.toBe("");
  });

  test("a token may come from a function, anew for each request", async ({ pisyncServer }) => {
    let asked = 0;
    const token = async () => pisyncServer.token(["devices"], ++asked);
    const client = new PisyncClient({ url: pisyncServer.url, token });
    await client.stats();
    await client.device(1);
    expect(asked).toBe(2);
  });
});

describe("lists", () => {
  test.override({ pisyncFleet: { devices: 2500 } });

  test("are read page by page, and not further than asked for", async ({ pisync }) => {
    const sizes: number[] = [];
    for await (const { items, total } of pisync.devices().pages()) {
      sizes.push(items.length);
      expect(total).toBe(2500);
    }
    expect(sizes).toEqual([1000, 1000, 500]);

    let ids: number[] = [];
    for await (const { device_id } of pisync.devices({ after: 10, limit: 3 })) {
      ids.push(device_id);
      if (ids.length === 5) break;
    }
    expect(ids).toEqual([11, 12, 13, 14, 15]);
    ids = (await pisync.devices().all()).map((device) => device.device_id);
    expect(ids).toEqual(Array.from({ length: 2500 }, (_, index) => index + 1));
  });

  test("keep their filter on later pages", async ({ pisync }) => {
    await pisync.changeProfile({ outcomes: [{ sync_status_code: 400, error_message: "Storage Full", weight: 1 }] });
    await pisync.syncListed([1, 2, 3, 4, 5]);
    await pisync.settle();
    expect(await pisync.devices({ status: [400, 404], limit: 2 }).all()).toHaveLength(5);
    expect(await pisync.devices({ status: [] }).all()).toHaveLength(2500);

    const logs = await pisync.errors({ status: [400], limit: 2 }).all();
    expect(logs.map((log) => log.device_id).sort()).toEqual([1, 2, 3, 4, 5]);
    const [newest] = logs;
    expect(await pisync.errors({ deviceId: newest!.device_id }).all()).toEqual([newest]);
    expect(await pisync.errors({ since: new Date(Date.parse(newest!.occurred_at) + 60_000) }).all()).toEqual([]);
    expect(await pisync.errors({ before: newest!.error_id }).all()).toEqual(logs.slice(1));
  });

  test("work behind a proxy that strips a path", async ({ pisync }) => {
    const through: typeof fetch = (input, init) => fetch(String(input).replace("/api/devices", "/devices"), init);
    const client = new PisyncClient({ url: `${pisync.url}/api`, fleet: pisync.fleet, token: tokenOf(await pisync.headers()), fetch: through });
    expect(await client.devices().all()).toHaveLength(2500);
  });
});

describe("syncs", () => {
  test("are pending, and joined by the next", async ({ pisync }) => {
    await pisync.manualClock();
    const { attempt, device } = await pisync.sync(2);
    expect(device).toMatchObject({ device_id: 2, sync_status_code: 202, error_message: null });
    expect((await pisync.sync(2)).attempt).toBe(attempt);
    expect(await pisync.syncListed([2, 3, 99])).toEqual({ started: 1, joined: 1, refused: 0, not_found: [99] });
    expect((await pisync.syncAll({ status: [200, 400] })).started).toBeGreaterThan(0);
    expect((await pisync.syncAll()).joined).toBeGreaterThan(1);
    expect((await pisync.stats()).pending).toBe(10);
    expect((await pisync.stats()).history).toBeUndefined();
    expect((await pisync.stats({ history: 5 })).history?.started).toHaveLength(5);
  });

  test("begin once for a key", async ({ pisync }) => {
    await pisync.manualClock();
    const keyed = { idempotencyKey: "one" };
    const first = await pisync.sync(2, keyed);
    const listed = await pisync.syncListed([3, 4], { idempotencyKey: "listed" });
    await pisync.settle();
    expect(await pisync.sync(2, keyed)).toEqual(first);
    expect(await pisync.syncListed([3, 4], { idempotencyKey: "listed" })).toEqual(listed);
    const all = await pisync.syncAll({ idempotencyKey: "all" });
    expect(await pisync.syncAll({ idempotencyKey: "all" })).toEqual(all);
    expect((await pisync.ledger()).accepted).toBe(13);
    await expect(pisync.sync(3, keyed)).rejects.toMatchObject({ status: 422 });
  });

  test("can be waited for", async ({ pisync }) => {
    await pisync.script(7, [{ sync_status_code: 500, error_message: "Disk", delay: 0.2 }]);
    expect(await pisync.syncAndWait(7, { signal: later() })).toMatchObject({
      attempt: 1,
      device: { sync_status_code: 500, error_message: "Disk" },
    });
  });
});

describe("a wait", () => {
  test("ends when the device is no longer pending", async ({ pisync }) => {
    await pisync.script(7, [{ sync_status_code: 500, error_message: "Disk", delay: 0.3 }]);
    await pisync.sync(7);
    expect(await pisync.device(7, { wait: 0.01 })).toMatchObject({ sync_status_code: 202 });
    expect(await pisync.waitFor(7, { signal: later() })).toMatchObject({ error_message: "Disk" });
  });

  test("for all leaves out what is held", async ({ pisync }) => {
    await pisync.script(1, [{ sync_status_code: 200, delay: 0.3 }]);
    await pisync.script(2, [{ hold: true }]);
    await pisync.syncListed([1, 2]);
    expect(await pisync.stats({ wait: 0.01 })).toMatchObject({ pending: 2 });
    expect(await pisync.waitForAll({ signal: later() })).toMatchObject({ pending: 1, succeeded: 1 });
  });
});

describe("a signal", () => {
  test("ends a wait with its reason", async ({ pisync }) => {
    await pisync.script(7, [{ hold: true }]);
    const abort = new AbortController();
    const waiting = pisync.syncAndWait(7, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("changed my mind")), 100);
    await expect(waiting).rejects.toThrow("changed my mind");
  });

  test("that has come already lets no call begin", async ({ pisync }) => {
    const signal = AbortSignal.abort(new Error("too late"));
    const calls = [
      () => pisync.stats({ signal }),
      () => pisync.sync(1, { signal }),
      () => pisync.devices({ signal }).all(),
      () => pisync.events({ signal }).next(),
      () => pisync.ledger({ signal }),
      () => pisync.forecast(1, { signal }),
    ];
    for (const call of calls) await expect(call()).rejects.toThrow("too late");
    expect((await pisync.stats()).attempts).toBe(0);
  });

  test("is not the only end: a call that gets no answer times out", async () => {
    const never: typeof fetch = (_, init) =>
      new Promise((_, reject) => init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason)));
    await expect(new PisyncClient({ fetch: never, timeout: 50 }).stats()).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

describe("events", () => {
  test("tell of a sync's begin, its end and its error log", async ({ pisync }) => {
    await pisync.script(3, [{ sync_status_code: 400, error_message: "Storage Full" }]);
    const seen: FleetEvent[] = [];
    const onOpen = () => void pisync.sync(3).then(() => pisync.settle());
    for await (const event of pisync.events({ signal: later(), onOpen })) {
      if (seen.push(event) === 3) break;
    }
    const [begin, ...end] = seen;
    expect(begin).toMatchObject({ type: "sync", attempt: 1, device: { device_id: 3, sync_status_code: 202 } });
    expect(end).toContainEqual({ type: "sync", id: expect.any(String), attempt: 1, device: await pisync.device(3) });
    const [errorLog] = await pisync.errors({ deviceId: 3 }).all();
    expect(end).toContainEqual({ type: "error_log", id: expect.any(String), errorLog });
  });

  test("resume behind the last one that was seen", async ({ pisync }) => {
    await pisync.manualClock();
    const first = pisync.events({ signal: later(), onOpen: () => void pisync.sync(1) });
    const { value: begin } = await first.next();
    await first.return();
    await pisync.sync(2);
    const lastEventId = (begin as FleetEvent).id;
    for await (const event of pisync.events({ signal: later(), lastEventId })) {
      expect(event).toMatchObject({ type: "sync", device: { device_id: 2 }, attempt: 1 });
      break;
    }
  });

  test("a refusal ends them", async ({ pisync, pisyncServer: { url } }) => {
    const stranger = new PisyncClient({ url, token: "not a token", fleet: pisync.fleet });
    await expect(stranger.events().next()).rejects.toMatchObject({ status: 401 });
  });

  test("and so does a server that is not there", async () => {
    await expect(new PisyncClient({ url: "http://127.0.0.1:9" }).events().next()).rejects.toThrow("fetch failed");
  });
});

function tokenOf(headers: { [name: string]: string }): string {
  return headers.Authorization!.replace("Bearer ", "");
}
