// A fleet in memory, with a timer for each sync: what both Node peers serve.

const OUTCOMES = [
  { code: 200, message: null, weight: 70 },
  { code: 400, message: "Authentication Failure", weight: 6 },
  { code: 400, message: "Storage Full", weight: 6 },
  { code: 404, message: "Server Not Reachable", weight: 6 },
  { code: 500, message: "Connection Timeout", weight: 6 },
  { code: 500, message: "Unknown Sync Error", weight: 6 },
];
const TOTAL_WEIGHT = OUTCOMES.reduce((sum, { weight }) => sum + weight, 0);
const MEDIAN_SECONDS = 2;
const SIGMA = 0.5;
const MOST_SECONDS = 10;

export class Fleet {
  constructor(count) {
    const now = timestamp();
    // By rising id, from 1: a device is at its id - 1.
    this.devices = Array.from({ length: count }, (_, index) => ({
      device_id: index + 1,
      last_sync_at: now,
      sync_status_code: 200,
      error_message: null,
      last_attempt_at: now,
    }));
    this.attempts = new Map();
    this.errorLogs = [];
    this.byStatus = { 200: count, 202: 0, 400: 0, 404: 0, 500: 0 };
    this.accepted = 0;
    this.succeeded = 0;
  }

  device(id) {
    return this.devices[id - 1];
  }

  page({ limit, after = 0, status }) {
    if (status === undefined) {
      const devices = this.devices.slice(after, after + limit);
      return { devices, total: this.devices.length, more: after + limit < this.devices.length };
    }
    const statuses = new Set(status.split(",").map(Number));
    const found = [];
    for (let at = after; at < this.devices.length && found.length <= limit; at++) {
      if (statuses.has(this.devices[at].sync_status_code)) found.push(this.devices[at]);
    }
    const total = [...statuses].reduce((sum, code) => sum + (this.byStatus[code] ?? 0), 0);
    return { devices: found.slice(0, limit), total, more: found.length > limit };
  }

  // Returns the number of the attempt that was begun, or joined.
  sync(device) {
    const id = device.device_id;
    if (device.sync_status_code === 202) return this.attempts.get(id);
    const attempt = (this.attempts.get(id) ?? 0) + 1;
    this.attempts.set(id, attempt);
    this.accepted += 1;
    this.#become(device, 202, null);
    device.last_attempt_at = timestamp();
    setTimeout(() => this.#finish(device, attempt), 1000 * lognormal());
    return attempt;
  }

  #finish(device, attempt) {
    const { code, message } = chooseOutcome();
    this.#become(device, code, message);
    if (code === 200) {
      device.last_sync_at = device.last_attempt_at;
      this.succeeded += 1;
      return;
    }
    this.errorLogs.push({
      error_id: this.errorLogs.length + 1,
      device_id: device.device_id,
      attempt,
      sync_status_code: code,
      error_message: message,
      occurred_at: timestamp(),
    });
  }

  #become(device, code, message) {
    this.byStatus[device.sync_status_code] -= 1;
    this.byStatus[code] += 1;
    device.sync_status_code = code;
    device.error_message = message;
  }

  // Newest first.
  errors({ limit, before = Infinity, device_id, status, since }) {
    const found = [];
    for (let at = this.errorLogs.length - 1; at >= 0 && found.length < limit; at--) {
      const log = this.errorLogs[at];
      if (log.error_id >= before) continue;
      if (device_id !== undefined && log.device_id !== device_id) continue;
      if (status !== undefined && log.sync_status_code !== status) continue;
      if (since !== undefined && log.occurred_at < since) continue;
      found.push(log);
    }
    return found;
  }

  stats() {
    return {
      devices: this.devices.length,
      pending: this.byStatus[202],
      by_status: this.byStatus,
      attempts: this.accepted,
      succeeded: this.succeeded,
      failed: this.errorLogs.length,
      error_logs: this.errorLogs.length,
    };
  }
}

function timestamp() {
  return new Date().toISOString().replace("Z", "000Z");
}

function chooseOutcome() {
  let left = Math.random() * TOTAL_WEIGHT;
  return OUTCOMES.find(({ weight }) => (left -= weight) < 0);
}

function lognormal() {
  const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Math.min(MEDIAN_SECONDS * Math.exp(SIGMA * normal), MOST_SECONDS);
}
