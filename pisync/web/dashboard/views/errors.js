// Error logs, newest first, live: a fleet's, or one device's history of failures.
import { Component, html, useEffect, useState } from "/dashboard/preact.js";
import { call, withQuery } from "../api.js";
import { useRead } from "../data.js";
import { Doing, Failure, useId, When } from "../parts.js";
import { href, isId } from "../route.js";
import { FAILURES, Status } from "../status.js";

const LIMIT = 50;
const MOST = 500; // kept, however many come

/** Recent errors of a fleet, with a filter by device and by status. */
export function RecentErrors({ fleet }) {
  const [device, setDevice] = useState("");
  const [status, setStatus] = useState("");
  const title = useId();
  const valid = device === "" || isId(device);
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
        aria-invalid=${valid ? undefined : "true"}
        onInput=${(event) => setDevice(event.target.value.trim())}
      />
      <label for="${title}-status">Status</label>
      <select id="${title}-status" value=${status} onChange=${(event) => setStatus(event.target.value)}>
        <option value="">any</option>
        ${FAILURES.map((code) => html`<option value=${code}>${code}</option>`)}
      </select>
    </div>
    <${ErrorList} fleet=${fleet} device=${valid ? device : ""} status=${status} />
  </section>`;
}

// `isEnd`: nothing is older than what has been read; null: as the first answer says.
const NOT_ASKED = { shown: LIMIT, isEnd: null, busy: false, error: null };

/** `device` and `status`: which ones; "" for any. */
export function ErrorList({ fleet, device = "", status = "" }) {
  const filter = { device_id: device, status };
  const passes = (log) =>
    (!device || log.device_id === Number(device)) &&
    (!status || log.sync_status_code === Number(status));
  const { data, headers, error, loading, reload, patch } = useRead(
    { path: withQuery("/errors", { limit: LIMIT, ...filter }), fleet },
    (logs, events) => prepended(logs, events, passes),
  );
  const [older, setOlder] = useState(NOT_ASKED);
  useEffect(() => setOlder(NOT_ASKED), [headers]);
  const logs = data ?? [];
  const isEnd = older.isEnd ?? !headers?.get("Link");
  const more = older.shown < logs.length || (!isEnd && logs.length < MOST);

  async function showOlder() {
    const shown = older.shown + LIMIT;
    if (isEnd || shown <= logs.length) return setOlder({ ...older, shown });
    setOlder({ ...older, busy: true, error: null });
    try {
      const before = logs.at(-1).error_id;
      const path = withQuery("/errors", { limit: LIMIT, before, ...filter });
      const answer = await call({ path, fleet });
      patch((old) => [...old, ...answer.data]);
      setOlder({ shown, isEnd: !answer.headers.has("Link"), busy: false, error: null });
    } catch (failure) {
      setOlder({ ...older, busy: false, error: failure });
    }
  }

  return html`<div class="log" tabindex="0" role="region" aria-label="Error logs">
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    <ol class=${loading && data ? "reading" : ""}>
      ${logs.slice(0, older.shown).map((log) => html`<${Entry} key=${log.error_id} log=${log} ofOne=${Boolean(device)} />`)}
    </ol>
    ${data && !logs.length && html`<p class="empty">No errors. Failed syncs will show here by themselves.</p>`}
    ${older.error && html`<${Failure} error=${older.error} />`}
    ${more &&
    html`<${Doing} class="small outline secondary" busy=${older.busy} onClick=${showOlder}>
      ${older.busy ? "Reading…" : "Older"}
    <//>`}
  </div>`;
}

class Entry extends Component {
  shouldComponentUpdate(next) {
    return next.log !== this.props.log || next.ofOne !== this.props.ofOne;
  }

  render({ log, ofOne }) {
    return html`<li>
      <span class="what">${log.error_message}</span>
      <span class="whose">
        <${Status} code=${log.sync_status_code} />
        ${ofOne
          ? html`<span>${log.attempt ? `attempt ${log.attempt}` : "before the first attempt"}</span>`
          : html`<a href=${href(`/device/${log.device_id}`)}>device ${log.device_id}</a>`}
        <${When} at=${log.occurred_at} />
      </span>
    </li>`;
  }
}

// What was read while events came may hold them already.
function prepended(logs, events, passes) {
  const newest = logs[0]?.error_id ?? 0;
  const fresh = events
    .filter(({ name, data }) => name === "error" && data.error_id > newest && passes(data))
    .map(({ data }) => data);
  return fresh.length ? [...fresh.reverse(), ...logs].slice(0, MOST) : logs;
}
