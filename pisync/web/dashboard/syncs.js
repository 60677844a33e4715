// The syncs that this page's user asks for: they are begun here, and their outcomes announced.
/** @import { Device, FleetEvent } from "./types.js" */
/** @import { ApiError } from "./api.js" */
import { call, pathOf } from "./api.js";
import { connection } from "./feed.js";
import { notify } from "./notices.js";
import { number } from "./parts.js";
import { word } from "./status.js";

const MAX_AWAITED = 200;

/**
 * Attempts whose outcome is awaited, by device. `attempt` is 0 until the answer with its number is
 * there; an outcome that comes sooner is kept in `finished`.
 * @type {Map<number, { attempt: number, finished: { device: Device, attempt: number } | null }>}
 */
const awaited = new Map();

/**
 * Begin a sync, or join the one under way.
 * @param {string} fleet
 * @param {number} id
 * @returns {Promise<{ device: Device, attempt: number } | null>} Null if it was refused.
 */
export async function syncDevice(fleet, id) {
  awaited.set(id, { attempt: 0, finished: null });
  try {
    const path = pathOf`/devices/${id}/sync`;
    const { data, headers } = await call({ method: "POST", path, fleet });
    const attempt = Number(headers.get("Pisync-Attempt"));
    const entry = awaited.get(id);
    if (entry) {
      entry.attempt = attempt;
      if (entry.finished && entry.finished.attempt >= attempt) announce(entry.finished.device);
    }
    const [oldest] = awaited.keys();
    if (awaited.size > MAX_AWAITED) awaited.delete(oldest);
    if (connection.get().phase === "paused") notify(`Device ${id}: sync ${attempt} began.`);
    return { device: data, attempt };
  } catch (failure) {
    awaited.delete(id);
    notify(`Device ${id}: ${/** @type {ApiError} */ (failure).message}`, "bad");
    return null;
  }
}

/**
 * Announce the outcomes among these events that are awaited.
 * @param {FleetEvent[]} events
 */
export function announceOutcomes(events) {
  if (!awaited.size) return;
  for (const { name, data } of events) {
    if (name !== "sync" || data.device.sync_status_code === 202) continue;
    const entry = awaited.get(data.device.device_id);
    if (!entry) continue;
    if (entry.attempt === 0) entry.finished = data;
    else if (data.attempt >= entry.attempt) announce(data.device);
  }
}

/** Forget what is awaited: it may never come, or belong to another fleet. */
export function forgetAwaited() {
  awaited.clear();
}

/** @param {Device} device */
function announce({ device_id: id, sync_status_code: code, error_message: message }) {
  awaited.delete(id);
  if (code === 200) notify(`Device ${id} synced.`, "good");
  else notify(`Device ${id}: ${word(code).toLowerCase()}, ${code} ${message}`, "bad");
}

/**
 * Begin many syncs.
 * @param {string} fleet
 * @param {{ all: true } | { status: number[] }} body
 */
export async function syncMany(fleet, body) {
  try {
    const { data } = await call({ method: "POST", path: "/devices/sync", fleet, body });
    const parts = [`Started ${number(data.started)}`];
    if (data.joined) parts.push(`${number(data.joined)} were pending already`);
    if (data.refused) parts.push(`${number(data.refused)} refused`);
    notify(`${parts.join(", ")}.`, data.refused ? "bad" : "");
  } catch (failure) {
    notify(/** @type {ApiError} */ (failure).message, "bad");
  }
}
