// Error logs, newest first, live: a fleet's, or one device's history of failures.
/** @import { ApiError } from "../api.js" */
/** @import { ErrorLog, FleetEvent, Reading } from "../types.js" */
import { call, withQuery } from "../api.js";
import { useRead } from "../data.js";
import { BusyButton, Failure, useId, When } from "../parts.js";
import { Component, html, useEffect, useState } from "../preact.js";
import { href, isId } from "../route.js";
import { FAILURES, Status } from "../status.js";

const LIMIT = 50;
const MAX_KEPT = 500;

/**
 * Recent errors of a fleet, with a filter by device and by status.
 * @param {{ fleet: string }} props
 */
export function RecentErrors({ fleet }) {
  const [device, setDevice] = useState("");
  const [status, setStatus] = useState("");
  const title = useId();
  const isValid = device === "" || isId(device);
  return html`<section class="card errors" aria-labelledby=${title}>
    <header><h2 id=${title}>Recent errors</h2></header>
    <div class="toolbar">
      <label for="${title}-device">Device</label>
      <input
        id="${title}-device"
        inputmode="numeric"
        autocomplete="off"
        placeholder="any"
        value=${device}
        aria-invalid=${isValid ? undefined : "true"}
        onInput=${(/** @type {any} */ { target }) => setDevice(target.value.trim())}
      />
      <label for="${title}-status">Status</label>
      <select
        id="${title}-status"
        value=${status}
        onChange=${(/** @type {any} */ { target }) => setStatus(target.value)}
      >
        <option value="">any</option>
        ${FAILURES.map((code) => html`<option value=${code}>${code}</option>`)}
      </select>
    </div>
    <${ErrorList} fleet=${fleet} device=${isValid ? device : ""} status=${status} />
  </section>`;
}

/**
 * How far back the list goes. `isEnd`: nothing is older than what has been read; null: as the first
 * answer says.
 * @typedef {{ shown: number, isEnd: boolean | null, busy: boolean, error: ApiError | null }} Extent
 */
/** @type {Extent} */
const INITIAL = { shown: LIMIT, isEnd: null, busy: false, error: null };

/** @param {{ fleet: string, device?: string, status?: string }} props "" stands for any. */
export function ErrorList({ fleet, device = "", status = "" }) {
  const filter = { device_id: device, status };
  /** @param {ErrorLog} log */
  const passes = (log) =>
    (!device || log.device_id === Number(device)) &&
    (!status || log.sync_status_code === Number(status));
  /** @type {Reading<ErrorLog[]>} */
  const reading = useRead(
    { path: withQuery("/errors", { limit: LIMIT, ...filter }), fleet },
    (logs, events) => prepended(logs, events, passes),
  );
  const { data, headers, error, loading, reload, patch } = reading;
  const [extent, setExtent] = useState(INITIAL);
  useEffect(() => setExtent(INITIAL), [headers]);
  const logs = data ?? [];
  const isEnd = extent.isEnd ?? !headers?.get("Link");
  const hasMore = extent.shown < logs.length || (!isEnd && logs.length < MAX_KEPT);

  async function showOlder() {
    const shown = extent.shown + LIMIT;
    if (isEnd || shown <= logs.length) return setExtent({ ...extent, shown });
    setExtent({ ...extent, busy: true, error: null });
    try {
      const before = logs[logs.length - 1].error_id;
      const path = withQuery("/errors", { limit: LIMIT, before, ...filter });
      const answer = await call({ path, fleet });
      patch((old) => [...old, ...answer.data]);
      setExtent({ shown, isEnd: !answer.headers.has("Link"), busy: false, error: null });
    } catch (failure) {
      setExtent({ ...extent, busy: false, error: /** @type {ApiError} */ (failure) });
    }
  }

  return html`<div class="log" tabindex="0" role="region" aria-label="Error logs">
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    <ol class=${loading && data ? "reading" : ""}>
      ${logs
        .slice(0, extent.shown)
        .map((log) => html`<${Entry} key=${log.error_id} log=${log} isOfOne=${Boolean(device)} />`)}
    </ol>
    ${data && !logs.length && html`<p class="empty">No errors. Failed syncs will appear here.</p>`}
    ${extent.error && html`<${Failure} error=${extent.error} />`}
    ${hasMore &&
    html`<${BusyButton} class="small outline secondary" busy=${extent.busy} onClick=${showOlder}>
      ${extent.busy ? "Reading…" : "Older"}
    <//>`}
  </div>`;
}

/** @typedef {{ log: ErrorLog, isOfOne: boolean }} EntryProps `isOfOne`: all are of one device. */

/** @extends {Component<EntryProps>} */
class Entry extends Component {
  /** @param {EntryProps} next */
  shouldComponentUpdate(next) {
    return next.log !== this.props.log || next.isOfOne !== this.props.isOfOne;
  }

  /** @param {EntryProps} props */
  render({ log, isOfOne }) {
    return html`<li>
      <span class="what">${log.error_message}</span>
      <span class="whose">
        <${Status} code=${log.sync_status_code} />
        ${isOfOne
          ? html`<span>${log.attempt ? `attempt ${log.attempt}` : "before the first attempt"}</span>`
          : html`<a href=${href(`/device/${log.device_id}`)}>device ${log.device_id}</a>`}
        <${When} at=${log.occurred_at} />
      </span>
    </li>`;
  }
}

/**
 * Return the logs with those of the events in front, unless they contain them already.
 * @param {ErrorLog[]} logs
 * @param {FleetEvent[]} events
 * @param {(log: ErrorLog) => boolean} passes
 */
function prepended(logs, events, passes) {
  const newest = logs[0]?.error_id ?? 0;
  const added = [];
  for (const { name, data } of events) {
    if (name === "error_log" && data.error_id > newest && passes(data)) added.unshift(data);
  }
  return added.length ? [...added, ...logs].slice(0, MAX_KEPT) : logs;
}
