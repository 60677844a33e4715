// A device's own page: its state and its history of failures; for an admin also its forecast.
/** @import { Device as DeviceData, Reading } from "../types.js" */
import { pathOf } from "../api.js";
import { useRead } from "../data.js";
import { BusyButton, Curl, Failure, useId, When } from "../parts.js";
import { html } from "../preact.js";
import { href } from "../route.js";
import { Status } from "../status.js";
import { syncDevice } from "../syncs.js";
import { exact } from "../time.js";
import { ErrorList } from "./errors.js";
import { Forecast } from "./forecast.js";
import { Script } from "./script.js";

/** @param {{ fleet: string, id: string, isAdmin: boolean }} props */
export function Device({ fleet, id, isAdmin }) {
  const title = useId();
  const path = pathOf`/devices/${id}`;
  /** @type {Reading<DeviceData>} */
  const reading = useRead({ path, fleet }, (old, events) =>
    events.reduce(
      (device, { name, data }) =>
        name === "sync" && data.device.device_id === device.device_id ? data.device : device,
      old,
    ),
  );
  const { data: device, error, reload, patch } = reading;
  const pending = device?.sync_status_code === 202;
  async function sync() {
    const begun = await syncDevice(fleet, Number(id));
    if (!begun) return;
    patch((old) => (old.last_attempt_at < begun.device.last_attempt_at ? begun.device : old));
  }
  return html`<p class="crumbs"><a href=${href("/")}>Devices</a> / ${id}</p>
    <div class="headline">
      <h1>Device ${id}</h1>
      ${device &&
      html`<${BusyButton} busy=${pending} onClick=${sync}>${pending ? "Syncing…" : "Sync now"}<//>`}
    </div>
    ${error && (!device || error.status === 404)
      ? html`<${Failure} error=${error} retry=${error.status !== 404 && reload} />`
      : html`<div class="columns even">
          <section class="card" aria-label="State">
            <h2>State</h2>
            <${State} device=${device} />
            <${Curl} request=${{ method: "POST", path: `${path}/sync`, fleet }} label="Sync as curl" />
          </section>
          <section class="card errors" aria-labelledby=${title}>
            <h2 id=${title}>History of failures</h2>
            <${ErrorList} fleet=${fleet} device=${id} />
          </section>
          ${isAdmin &&
          html`<${Forecast} fleet=${fleet} device=${id} /><${Script} fleet=${fleet} device=${id} />`}
        </div>`}`;
}

/** @param {{ device: DeviceData | null }} props */
function State({ device }) {
  /**
   * @param {string} name
   * @param {unknown} value
   */
  const fact = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  /** @param {string | null} at */
  const time = (at) =>
    at ? html`<${When} at=${at} /><small class="muted mono">${exact(at)}</small>` : "never";
  return html`<dl class="facts">
    ${fact("Status", device && html`<${Status} code=${device.sync_status_code} />`)}
    ${fact("Last sync", device && time(device.last_sync_at))}
    ${fact("Last attempt", device && time(device.last_attempt_at))}
    ${fact("Error", device && (device.error_message ?? "none"))}
  </dl>`;
}
