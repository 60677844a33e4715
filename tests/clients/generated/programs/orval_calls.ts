// Calls a server through what orval makes for fetch.
import assert from "node:assert/strict";

import { FailureCode, getDevice, listDevices, listErrors, login, register, StatusCode, syncDevice } from "./orval.js";

const [url] = process.argv.slice(2);
const { fetch } = globalThis;
globalThis.fetch = (path, init) => fetch(new URL(String(path), url), init);

const body = { username: "alice", password: "correct horse" };
assert.equal((await register(body)).status, 201);
const answer = await login(body);
assert(answer.status === 200);
const headers = { Authorization: `Bearer ${answer.data.token}` };

const devices = await listDevices({ status: [StatusCode.FAILED_400, StatusCode.FAILED_500] }, { headers });
assert(devices.status === 200 && devices.data[0]);
const [first] = devices.data;
assert.equal(first.sync_status_code, StatusCode.FAILED_400);
const accepted = await syncDevice(first.device_id, { headers });
assert(accepted.status === 202);
assert.equal(accepted.data.sync_status_code, StatusCode.PENDING);
const query = { since: first.last_attempt_at, status: [FailureCode.FAILURE_400] };
const logs = await listErrors(query, { headers });
assert(logs.status === 200 && logs.data.some((log) => log.device_id === first.device_id));
const missing = await getDevice(999, {}, { headers });
assert(missing.status === 404);
assert.equal(missing.data.message, "There is no such device in this fleet.");
