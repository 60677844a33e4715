// Syncs that the reader asked for: begins them, and tells what came of each.
import { call } from "./api.js";
import { connection } from "./feed.js";
import { notify } from "./notices.js";
import { number } from "./parts.js";
import { word } from "./status.js";

const MOST = 200;

// Attempts whose outcome is awaited, by device: 0 while the answer with the number is awaited.
const awaited = new Map();

/** Begin a sync, or join the one under way. Return `{device, attempt}`, or null if it was refused. */
export async function syncDevice(fleet, id) {
  awaited.set(id, { attempt: 0, done: null });
  try {
    const { data, headers } = await call({ method: "POST", path: `/devices/${id}/sync`, fleet });
    const attempt = Number(headers.get("Pisync-Attempt"));
    const wait = awaited.get(id);
    if (wait) wait.attempt = attempt;
    if (wait?.done?.attempt >= attempt) tell(wait.done);
    if (awaited.size > MOST) awaited.delete(awaited.keys().next().value);
    if (connection.get().phase === "paused") notify(`Device ${id}: sync ${attempt} began.`);
    return { device: data, attempt };
  } catch (error) {
    awaited.delete(id);
    notify(`Device ${id}: ${error.message}`, "bad");
    return null;
  }
}

/** Tell the outcomes among these events that the reader waits for. */
export function tellOutcomes(events) {
  if (!awaited.size) return;
  for (const { name, data } of events) {
    const wait = name === "sync" && awaited.get(data.device.device_id);
    if (!wait || data.device.sync_status_code === 202) continue;
    if (wait.attempt === 0) wait.done = data;
    else if (data.attempt >= wait.attempt) tell(data);
  }
}

/** Forget what is awaited: it may never come, or belong to another fleet. */
export function awaitNothing() {
  awaited.clear();
}

function tell({ device }) {
  awaited.delete(device.device_id);
  const { device_id: id, sync_status_code: code, error_message: message } = device;
  if (code === 200) notify(`Device ${id} synced.`, "good");
  else notify(`Device ${id}: ${word(code).toLowerCase()}, ${code} ${message}`, "bad");
}

/** Begin many: `{all: true}` or `{status: […]}`. */
export async function syncMany(fleet, body) {
  try {
    const { data } = await call({ method: "POST", path: "/devices/sync", fleet, body });
    const parts = [`Started ${number(data.started)}`];
    if (data.joined) parts.push(`${number(data.joined)} were pending already`);
    if (data.refused) parts.push(`${number(data.refused)} refused`);
    notify(`${parts.join(", ")}.`, data.refused ? "bad" : "");
  } catch (error) {
    notify(error.message, "bad");
  }
}
