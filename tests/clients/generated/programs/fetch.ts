// Calls a server through what openapi-generator makes for fetch in TypeScript.
import assert from "node:assert/strict";

import {
  AccountsApi,
  Configuration,
  DevicesApi,
  ErrorLogsApi,
  FailureCode,
  FleetsApi,
  ResponseError,
  StatusCode,
} from "./client/index.js";

const [basePath, admin] = process.argv.slice(2);
const accounts = new AccountsApi(new Configuration({ basePath }));
const body = { username: "alice", password: "correct horse" };
await accounts.register({ registerBody: body });
const { token } = await accounts.login({ loginBody: body });

const configuration = new Configuration({ basePath, accessToken: token });
const devices = new DevicesApi(configuration);
const [first] = await devices.listDevices({ status: [StatusCode.FAILED_400, StatusCode.FAILED_500] });
assert(first);
assert.equal(first.syncStatusCode, StatusCode.FAILED_400);
const accepted = await devices.syncDeviceRaw({ deviceId: first.deviceId });
assert.equal((await accepted.value()).syncStatusCode, StatusCode.PENDING);
assert.equal(accepted.raw.headers.get("Pisync-Attempt"), "1");
const logs = await new ErrorLogsApi(configuration).listErrors({
  since: first.lastAttemptAt,
  status: [FailureCode.FAILURE_400],
});
assert(logs.some((log) => log.deviceId === first.deviceId));
await assert.rejects(
  devices.getDevice({ deviceId: 999 }),
  (error) => error instanceof ResponseError && error.response.status === 404,
);

const fleets = new FleetsApi(new Configuration({ basePath, accessToken: admin ?? "" }));
const fleet = await fleets.putFleet({ fleet: "mine", fleetBody: { devices: 3 } });
assert(fleet.profile.delay.distribution === "lognormal");
assert.equal(fleet.profile.delay.median, 2);
