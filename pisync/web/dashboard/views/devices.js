// The table of devices: a page of it, filtered by status, each row live.
/** @import { Device, FleetEvent, Reading, Stats } from "../types.js" */
import { withQuery } from "../api.js";
import { useRead } from "../data.js";
import { BusyButton, Failure, number, useId, When } from "../parts.js";
import { Component, html, useState } from "../preact.js";
import { go, href } from "../route.js";
import { CODES, Status } from "../status.js";
import { syncDevice } from "../syncs.js";
import { Bulk, Filter, GoTo } from "./toolbar.js";

const LIMIT = 50;

/** @typedef {Record<string, string>} Values What the address says beside the page. */

/**
 * The `after` of the page that a page was reached from, by the query of that page: the API pages
 * only forward.
 * @type {Map<string, number>}
 */
const previousPages = new Map();

/** @param {{ fleet: string, values: Values, stats: Stats | null }} props */
export function Devices({ fleet, values, stats }) {
  const after = Number(values.after) || 0;
  const chosen = codesOf(values.status);
  const [stale, setStale] = useState(false);
  const query = { limit: LIMIT, after: after || undefined, status: chosen.join(",") };
  /** @type {Reading<Device[]>} */
  const reading = useRead({ path: withQuery("/devices", query), fleet }, (devices, events) => {
    if (chosen.length && changesRows(devices, events, chosen, after)) setStale(true);
    return patched(devices, events);
  });
  const { data, headers, error, loading, reload, patch } = reading;
  const rows = data ?? [];
  const last = rows.length && headers?.get("Link") ? rows[rows.length - 1].device_id : 0;
  const refresh = () => {
    setStale(false);
    reload();
  };
  /** @param {number} id */
  const sync = async (id) => {
    const begun = await syncDevice(fleet, id);
    if (begun) patch((devices) => withBegun(devices, begun.device));
  };
  const title = useId();

  return html`<section class="card devices" aria-labelledby=${title}>
    <header>
      <h2 id=${title}>Devices</h2>
      <${Bulk} fleet=${fleet} stats=${stats} />
    </header>
    <div class="toolbar">
      <${Filter} chosen=${chosen} stats=${stats} />
      <${GoTo} values=${values} />
    </div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    <div class="rows" aria-busy=${loading && !data ? "true" : undefined}>
      <table role="table" class=${loading && data ? "reading" : ""}>
        <caption class="unseen">Devices, by rising id</caption>
        <thead role="rowgroup">
          <tr role="row">
            <th role="columnheader" scope="col" class="id">Device</th>
            <th role="columnheader" scope="col" class="state">Status</th>
            <th role="columnheader" scope="col" class="time">Last sync</th>
            <th role="columnheader" scope="col" class="time">Last attempt</th>
            <th role="columnheader" scope="col">Error</th>
            <th role="columnheader" scope="col" class="do"><span class="unseen">Action</span></th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          ${rows.map(
            (device) => html`<${Row}
              key=${device.device_id}
              device=${device}
              sync=${sync}
              fleet=${fleet}
            />`,
          )}
        </tbody>
      </table>
      ${data && !rows.length && html`<${Nothing} after=${after} chosen=${chosen} />`}
    </div>
    <footer class="pages">
      <p role="status">
        ${data && summary(rows, Number(headers?.get("X-Total-Count")), chosen.length > 0)}
        ${stale &&
        html` ·${" "}
          <button type="button" class="plain link" onClick=${refresh}>Changed since: refresh</button>`}
      </p>
      <${Pages} values=${values} after=${after} last=${last} />
    </footer>
  </section>`;
}

/**
 * @param {Device[]} rows
 * @param {number} total
 * @param {boolean} isFiltered
 */
function summary(rows, total, isFiltered) {
  const devices = `${number(total)} ${total === 1 ? "device" : "devices"}`;
  const [first, last] = [rows[0], rows[rows.length - 1]].map((row) => row && number(row.device_id));
  return html`${devices}${isFiltered ? " with this status" : ""}
    ${first && html`<span class="muted"> · ids ${first}–${last}</span>`}`;
}

/** @typedef {{ device: Device, sync: (id: number) => void, fleet: string }} RowProps */

/** @extends {Component<RowProps>} */
class Row extends Component {
  /** @param {RowProps} next */
  shouldComponentUpdate(next) {
    return next.device !== this.props.device || next.fleet !== this.props.fleet;
  }

  /** @param {RowProps} props */
  render({ device, sync, fleet }) {
    const { device_id: id, sync_status_code: code, error_message: message } = device;
    const pending = code === 202;
    return html`<tr role="row">
      <th role="rowheader" scope="row" class="id">
        <a href=${href(`/device/${id}`, { fleet })}>${id}</a>
      </th>
      <td role="cell" class="state"><${Status} code=${code} /></td>
      <td role="cell" class="time" data-label="Last sync"><${When} at=${device.last_sync_at} /></td>
      <td role="cell" class="time" data-label="Last attempt">
        <${When} at=${device.last_attempt_at} />
      </td>
      <td role="cell" class="message" title=${message ?? ""}>${message}</td>
      <td role="cell" class="do">
        <${BusyButton}
          class="small outline"
          busy=${pending}
          onClick=${() => sync(id)}
        >${pending ? "Syncing…" : "Sync now"}${" "}<span class="unseen">device ${id}</span><//>
      </td>
    </tr>`;
  }
}

/**
 * @param {object} props
 * @param {Values} props.values
 * @param {number} props.after
 * @param {number} props.last The last id of this page, or 0 if there is no next one.
 */
function Pages({ values, after, last }) {
  const query = withQuery("", { ...values, after });
  /** @param {number} target */
  const to = (target) => {
    go("/", { ...values, after: target || "" });
    document.querySelector(".devices")?.scrollIntoView(); // these buttons are below the rows
  };
  const next = () => {
    previousPages.set(withQuery("", { ...values, after: last }), after);
    to(last);
  };
  const previous = () => to(previousPages.get(query) ?? Math.max(0, after - LIMIT));
  return html`<nav aria-label="Pages of devices">
    <${BusyButton} class="small outline secondary" busy=${!after} onClick=${() => to(0)}>First<//>
    <${BusyButton} class="small outline secondary" busy=${!after} onClick=${previous}>Previous<//>
    <${BusyButton} class="small outline secondary" busy=${!last} onClick=${next}>Next<//>
  </nav>`;
}

/** @param {{ after: number, chosen: number[] }} props */
function Nothing({ after, chosen }) {
  if (after) return html`<p class="empty">There are no devices after id ${number(after)}.</p>`;
  if (chosen.length) return html`<p class="empty">No device has this status now.</p>`;
  return html`<p class="empty">This fleet has no devices.</p>`;
}

const codesOf = (status = "") =>
  status
    .split(",")
    .map(Number)
    .filter((code) => CODES.includes(code));

/**
 * Return the devices as these events leave them: the same array, if they change none.
 * @param {Device[]} devices
 * @param {FleetEvent[]} events
 */
function patched(devices, events) {
  /** @type {Map<number, Device>} */
  const newest = new Map();
  for (const { name, data } of events) {
    if (name === "sync") newest.set(data.device.device_id, data.device);
  }
  if (!devices.some((device) => newest.has(device.device_id))) return devices;
  return devices.map((device) => newest.get(device.device_id) ?? device);
}

/**
 * Return the devices with one whose sync has just begun, unless events were faster.
 * @param {Device[]} devices
 * @param {Device} begun
 */
function withBegun(devices, begun) {
  return devices.map((device) =>
    device.device_id === begun.device_id && device.last_attempt_at < begun.last_attempt_at
      ? begun
      : device,
  );
}

/**
 * Whether events change which devices pass the filter, within this page's range of ids.
 * @param {Device[]} devices
 * @param {FleetEvent[]} events
 * @param {number[]} chosen
 * @param {number} after
 */
function changesRows(devices, events, chosen, after) {
  const shown = new Set(devices.map((device) => device.device_id));
  const last = devices.length < LIMIT ? Infinity : devices[devices.length - 1].device_id;
  return events.some(({ name, data }) => {
    if (name !== "sync") return false;
    const { device_id: id, sync_status_code: code } = data.device;
    return id > after && id <= last && chosen.includes(code) !== shown.has(id);
  });
}
