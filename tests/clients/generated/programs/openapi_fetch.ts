// Calls a server through the types that openapi-typescript makes.
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { paths } from "./schema.d.ts";

const [baseUrl] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: baseUrl ?? "" });
const body = { username: "alice", password: "correct horse" };
const registered = await client.POST("/register", { body });
assert(registered.data);
const headers = { Authorization: `Bearer ${registered.data.token}` };

const devices = await client.GET("/devices", { headers, params: { query: { status: [400, 500] } } });
assert(devices.data?.[0]);
const [first] = devices.data;
assert.equal(first.sync_status_code, 400);
const params = { path: { device_id: first.device_id } };
const accepted = await client.POST("/devices/{device_id}/sync", { headers, params });
assert.equal(accepted.data?.sync_status_code, 202);
const since = first.last_attempt_at;
const logs = await client.GET("/errors", { headers, params: { query: { since, status: [400] } } });
assert(logs.data?.some((log) => log.device_id === first.device_id));
const missing = await client.GET("/devices/{device_id}", { headers, params: { path: { device_id: 999 } } });
assert.equal(missing.error?.message, "There is no such device in this fleet.");
