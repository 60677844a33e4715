// The table of devices: a page of it, filtered by status, each row live.
import { Component, html, useState } from "/dashboard/preact.js";
import { withQuery } from "../api.js";
import { useRead } from "../data.js";
import { Confirm, Doing, Failure, number, useId, When } from "../parts.js";
import { go, href, isId } from "../route.js";
import { CODES, FAILURES, Status } from "../status.js";
import { syncDevice, syncMany } from "../syncs.js";

const LIMIT = 50;
const MANY = 10_000; // syncs that are not begun without a question

// Which page a page was reached from, by address: `after` leads only forward.
const cameFrom = new Map();

export function Devices({ fleet, values, stats }) {
  const after = Number(values.after) || 0;
  const chosen = codesOf(values.status);
  const [stale, setStale] = useState(false);
  const request = {
    path: withQuery("/devices", { limit: LIMIT, after: after || undefined, status: chosen.join(",") }),
    fleet,
  };
  const { data, headers, error, loading, reload, patch } = useRead(request, (devices, events) => {
    if (chosen.length && touches(devices, events, chosen, after)) setStale(true);
    return patched(devices, events);
  });
  const rows = data ?? [];
  const more = Boolean(headers?.get("Link"));
  const total = Number(headers?.get("X-Total-Count") ?? 0);
  const refresh = () => {
    setStale(false);
    reload();
  };
  const sync = async (id) => {
    const begun = await syncDevice(fleet, id);
    if (begun) patch((devices) => withBegun(devices, begun));
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
          ${rows.map((device) => html`<${Row} key=${device.device_id} device=${device} sync=${sync} fleet=${fleet} />`)}
        </tbody>
      </table>
      ${data && !rows.length && html`<${Nothing} after=${after} chosen=${chosen} />`}
    </div>
    <footer class="pages">
      <p role="status">
        ${data && html`${number(total)} ${total === 1 ? "device" : "devices"}${chosen.length ? " with this status" : ""}`}
        ${rows.length > 0 && html`<span class="muted"> · ids ${number(rows[0].device_id)}–${number(rows.at(-1).device_id)}</span>`}
        ${stale && html` · <button type="button" class="plain link" onClick=${refresh}>Changed since: refresh</button>`}
      </p>
      <${Pages} values=${values} after=${after} last=${more && rows.at(-1).device_id} />
    </footer>
  </section>`;
}

class Row extends Component {
  shouldComponentUpdate(next) {
    return next.device !== this.props.device || next.fleet !== this.props.fleet;
  }

  render({ device, sync, fleet }) {
    const { device_id: id, sync_status_code: code, error_message: message } = device;
    const pending = code === 202;
    return html`<tr role="row">
      <th role="rowheader" scope="row" class="id">
        <a href=${href(`/device/${id}`, { fleet })}>${id}</a>
      </th>
      <td role="cell" class="state"><${Status} code=${code} /></td>
      <td role="cell" class="time" data-label="Last sync"><${When} at=${device.last_sync_at} /></td>
      <td role="cell" class="time" data-label="Last attempt"><${When} at=${device.last_attempt_at} /></td>
      <td role="cell" class="message" title=${message ?? ""}>${message}</td>
      <td role="cell" class="do">
        <${Doing}
          class="small outline"
          busy=${pending}
          onClick=${() => sync(id)}
        >${pending ? "Syncing…" : "Sync now"}${" "}<span class="unseen">device ${id}</span><//>
      </td>
    </tr>`;
  }
}

function Filter({ chosen, stats }) {
  const counted = (codes) =>
    stats ? codes.reduce((sum, code) => sum + (stats.by_status[code] ?? 0), 0) : null;
  const choices = [
    ["All", [], stats?.devices],
    ["Synced", [200], counted([200])],
    ["Pending", [202], counted([202])],
    ["Failed", FAILURES, counted(FAILURES)],
    ...FAILURES.map((code) => [String(code), [code], counted([code])]),
  ];
  return html`<fieldset class="filter">
    <legend class="unseen">Filter by status</legend>
    ${choices.map(([name, codes, count]) => {
      const status = codes.join(",");
      return html`<button
        type="button"
        class="chip"
        aria-pressed=${status === chosen.join(",")}
        onClick=${() => go("/", { status })}
      >${name}${" "}<span class="count">${count == null ? "" : number(count)}</span></button>`;
    })}
  </fieldset>`;
}

function GoTo({ values }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState("");
  const id = useId();
  function submit(event) {
    event.preventDefault();
    const wanted = Number(text);
    if (!isId(text) || !Number.isSafeInteger(wanted)) {
      return setWrong("An id is a number from 1.");
    }
    setWrong("");
    setText("");
    go("/", { ...values, after: wanted - 1 || "" });
  }
  return html`<form class="go-to" onSubmit=${submit} novalidate>
    <label for=${id}>Go to id</label>
    <input
      id=${id}
      inputmode="numeric"
      autocomplete="off"
      value=${text}
      aria-invalid=${wrong ? "true" : undefined}
      aria-describedby=${wrong ? `${id}-error` : undefined}
      onInput=${(event) => setText(event.target.value.trim())}
    />
    <button type="submit" class="small outline secondary">Go</button>
    ${wrong && html`<small id="${id}-error" class="error" role="alert">${wrong}</small>`}
  </form>`;
}

function Pages({ values, after, last }) {
  const here = withQuery("", { ...values, after });
  const to = (target) => {
    go("/", { ...values, after: target || "" });
    document.querySelector(".devices").scrollIntoView(); // these buttons are below the rows
  };
  const next = () => {
    cameFrom.set(withQuery("", { ...values, after: last }), after);
    to(last);
  };
  const previous = () => to(cameFrom.get(here) ?? Math.max(0, after - LIMIT));
  return html`<nav aria-label="Pages of devices">
    <${Doing} class="small outline secondary" busy=${!after} onClick=${() => to(0)}>First<//>
    <${Doing} class="small outline secondary" busy=${!after} onClick=${previous}>Previous<//>
    <${Doing} class="small outline secondary" busy=${!last} onClick=${next}>Next<//>
  </nav>`;
}

function Bulk({ fleet, stats }) {
  const [asking, setAsking] = useState(null);
  const failed = stats ? FAILURES.reduce((sum, code) => sum + (stats.by_status[code] ?? 0), 0) : 0;
  const begin = (body, count) =>
    count > MANY ? setAsking({ body, count }) : syncMany(fleet, body);
  return html`<div class="bulk">
    <${Doing} class="small outline" busy=${!failed} onClick=${() => begin({ status: FAILURES }, failed)}>
      Sync all failed
    <//>
    <${Doing} class="small outline" busy=${!stats?.devices} onClick=${() => begin({ all: true }, stats.devices)}>
      Sync all
    <//>
    ${asking &&
    html`<${Confirm}
      title="Sync ${number(asking.count)} devices?"
      yes="Sync them"
      onNo=${() => setAsking(null)}
      onYes=${() => {
        setAsking(null);
        syncMany(fleet, asking.body);
      }}
    ><p>That is a lot at once. Every one of them makes an attempt now.</p><//>`}
  </div>`;
}

function Nothing({ after, chosen }) {
  if (after) return html`<p class="empty">There are no devices after id ${number(after)}.</p>`;
  if (chosen.length) return html`<p class="empty">No device has this status now.</p>`;
  return html`<p class="empty">This fleet has no devices.</p>`;
}

const codesOf = (status = "") => status.split(",").map(Number).filter((code) => CODES.includes(code));

/** Return the devices as these events leave them: the same array, if they leave them as they are. */
function patched(devices, events) {
  const newest = new Map();
  for (const { name, data } of events) if (name === "sync") newest.set(data.device.device_id, data.device);
  if (!devices.some((device) => newest.has(device.device_id))) return devices;
  return devices.map((device) => newest.get(device.device_id) ?? device);
}

/** Enter a sync that has just begun, unless events have told of it, or of its end, already. */
function withBegun(devices, { device }) {
  return devices.map((old) =>
    old.device_id === device.device_id && old.last_attempt_at < device.last_attempt_at ? device : old,
  );
}

/** Whether events change which devices pass the filter, within this page's range of ids. */
function touches(devices, events, chosen, after) {
  const shown = new Set(devices.map((device) => device.device_id));
  const last = devices.length < LIMIT ? Infinity : devices.at(-1).device_id;
  return events.some(({ name, data }) => {
    if (name !== "sync") return false;
    const { device_id: id, sync_status_code: code } = data.device;
    return id > after && id <= last && chosen.includes(code) !== shown.has(id);
  });
}
