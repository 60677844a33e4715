// A fleet's journal: its newest requests, by call, device, user, status and fault.
/** @import { FieldErrors, Fleet, JournaledRequest, Reading } from "../types.js" */
import { Action } from "../action.js";
import { pathOf, withQuery } from "../api.js";
import { useRead } from "../data.js";
import { BusyButton, Curl, Failure, Field, NumberField, number, useId } from "../parts.js";
import { usePolling } from "../polling.js";
import { html, useState } from "../preact.js";
import { href } from "../route.js";
import { exact, span } from "../time.js";

const LIMIT = 50;
const STEP = 200;
const MAX_SHOWN = 1_000; // as many as a page of the API has
const INTERVAL = 2_000; // ms
const CALLS = ["sync", "device", "devices", "errors", "stats", "events", "bulk"];
const KINDS = ["delay", "status", "reset", "close", "truncate", "garbage", "drip", "hang"];
const ANY = { call: "", device_id: "", user: "", status: "", fault: "" };

/** @param {{ fleet: string, size?: number, onResize: (fleet: Fleet) => void }} props */
export function Journal({ fleet, size, onResize }) {
  const [filter, setFilter] = useState(ANY);
  const [limit, setLimit] = useState(LIMIT);
  const title = useId();
  const path = pathOf`/admin/fleets/${fleet}/requests`;
  const request = { path: withQuery(path, { limit, ...filter }) };
  /** @type {Reading<JournaledRequest[]>} */
  const { data, headers, error, loading, reload } = useRead(request);
  usePolling(reload, INTERVAL);
  const hasMore = Boolean(headers?.has("Link")) && limit < MAX_SHOWN;
  return html`<section class="card journal" aria-labelledby=${title}>
    <h2 id=${title}>Journal</h2>
    <p class="lead">
      What clients have sent, newest first${size === undefined ? "" : keeps(size)}
    </p>
    <${Filter} filter=${filter} errors=${error?.fields ?? {}} onChange=${setFilter} />
    ${error && !hasField(error.fields) && html`<${Failure} error=${error} retry=${reload} />`}
    ${data && html`<${Requests} requests=${data} />`}
    ${data && !data.length && html`<p class="empty">No such requests.</p>`}
    ${hasMore &&
    html`<${BusyButton}
      class="small outline secondary"
      busy=${loading && data && data.length <= limit - STEP}
      onClick=${() => setLimit(Math.min(MAX_SHOWN, limit + STEP))}
    >Older<//>`}
    <${Curl} request=${request} label="These as curl" />
    <div class="controls">
      ${size !== undefined &&
      html`<${Size} key=${size} fleet=${fleet} size=${size} onResize=${onResize} />`}
      <div>
        <h3>Begin anew</h3>
        <${Action}
          label="Empty the journal"
          tone="outline secondary"
          request=${{ method: "DELETE", path }}
          onDone=${() => {
            reload();
            return "Emptied.";
          }}
        />
      </div>
    </div>
  </section>`;
}

/** @param {number} size */
const keeps = (size) =>
  size ? `. The fleet keeps ${number(size)}.` : ". The fleet keeps none: set below how many it shall.";

/** @param {object} fields */
const hasField = (fields) => Object.keys(fields).length > 0;

/**
 * @param {object} props
 * @param {typeof ANY} props.filter
 * @param {FieldErrors} props.errors
 * @param {(filter: typeof ANY) => void} props.onChange
 */
function Filter({ filter, errors, onChange }) {
  /** @param {keyof typeof ANY} name */
  const field = (name) => ({
    value: filter[name],
    error: errors[name],
    onInput: (/** @type {any} */ { target }) => onChange({ ...filter, [name]: target.value.trim() }),
  });
  /** @param {string[]} values */
  const options = (values) => html`<option value="">any</option>
    ${values.map((value) => html`<option value=${value}>${value}</option>`)}`;
  const text = { autocomplete: "off", placeholder: "any" };
  return html`<div class="fields" role="group" aria-label="Filter of requests">
    <${Field} as="select" label="Call" ...${field("call")}>${options(CALLS)}<//>
    <${Field} label="Device" inputmode="numeric" ...${text} ...${field("device_id")} />
    <${Field} label="User" ...${text} ...${field("user")} />
    <${Field} label="Status" inputmode="numeric" ...${text} ...${field("status")} />
    <${Field} as="select" label="Fault" ...${field("fault")}>${options(KINDS)}<//>
  </div>`;
}

/** @param {{ requests: JournaledRequest[] }} props */
function Requests({ requests }) {
  if (!requests.length) return null;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Requests">
    <table class="plain-table" role="table">
      <thead role="rowgroup">
        <tr role="row">
          ${["Number", "Received", "Call", "Device", "User", "Status", "Fault", "Attempt"].map(
            (name) => html`<th role="columnheader" scope="col">${name}</th>`,
          )}
          <th role="columnheader" scope="col" class="figure">Took</th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${requests.map((request) => html`<${Row} key=${request.number} request=${request} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{ request: JournaledRequest }} props */
function Row({ request }) {
  const { number: id, device_id: device, status, fault, attempt } = request;
  return html`<tr role="row">
    <th role="rowheader" scope="row">${number(id)}</th>
    <td role="cell" data-label="Received">
      <time datetime=${request.received_at}>${exact(request.received_at).replace(/\d{3} UTC/, " UTC")}</time>
    </td>
    <td role="cell" data-label="Call">${request.call}</td>
    <td role="cell" data-label="Device">
      ${device !== null && html`<a href=${href(`/device/${device}`)}>${device}</a>`}
    </td>
    <td role="cell" data-label="User">${request.user}</td>
    <td role="cell" data-label="Status" class=${status === null || status >= 400 ? "bad" : ""}>
      ${status ?? "no answer"}
    </td>
    <td role="cell" data-label="Fault">${fault}</td>
    <td role="cell" data-label="Attempt">${attempt}</td>
    <td role="cell" data-label="Took" class="figure">${span(request.seconds)}</td>
  </tr>`;
}

/** @param {{ fleet: string, size: number, onResize: (fleet: Fleet) => void }} props */
function Size({ fleet, size, onResize }) {
  const [draft, setDraft] = useState(/** @type {number | string} */ (size));
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  return html`<div>
    <h3>Size</h3>
    <${NumberField}
      label="Requests to keep"
      hint="0 to 100,000."
      value=${draft}
      error=${errors.journal}
      onChange=${setDraft}
    />
    <${Action}
      label="Keep so many"
      disabled=${draft === size}
      request=${{ method: "PATCH", path: pathOf`/admin/fleets/${fleet}`, body: { journal: draft } }}
      onFields=${setErrors}
      onDone=${(/** @type {Fleet} */ changed) => {
        onResize(changed);
        return "Kept from now on.";
      }}
    />
  </div>`;
}
