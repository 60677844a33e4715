// The outcomes of a device's next attempts, by seed and profile.
/** @import { FieldErrors, Forecast as ForecastData } from "../types.js" */
import { Action } from "../action.js";
import { pathOf, withQuery } from "../api.js";
import { Field, useId } from "../parts.js";
import { html, useState } from "../preact.js";
import { Status } from "../status.js";
import { span } from "../time.js";

/** @param {{ fleet: string, device?: string }} props Without a device, one can be entered. */
export function Forecast({ fleet, device }) {
  const [query, setQuery] = useState({ device_id: device ?? "1", attempts: "10", from: "" });
  const [rows, setRows] = useState(/** @type {ForecastData[] | null} */ (null));
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  const title = useId();
  /** @param {keyof typeof query} name */
  const input = (name) => ({
    inputmode: "numeric",
    autocomplete: "off",
    value: query[name],
    error: errors[name],
    onInput: (/** @type {any} */ { target }) =>
      setQuery({ ...query, [name]: target.value.trim() }),
  });
  return html`<section class="card" aria-labelledby=${title}>
    <h2 id=${title}>Forecast</h2>
    <p class="lead">
      The outcomes of attempts by seed and profile. No attempt is made, and scripts are ignored.
    </p>
    <div class="fields">
      ${!device && html`<${Field} label="Device" ...${input("device_id")} />`}
      <${Field} label="Attempts" ...${input("attempts")} />
      <${Field} label="From attempt" placeholder="the next" ...${input("from")} />
    </div>
    <${Action}
      label="Forecast"
      request=${{ path: withQuery(pathOf`/admin/fleets/${fleet}/forecast`, query) }}
      onFields=${setErrors}
      onDone=${(/** @type {ForecastData[]} */ data) => {
        setRows(data);
        return `${data.length} attempts.`;
      }}
    />
    ${rows && html`<${Attempts} rows=${rows} />`}
  </section>`;
}

/** @param {{ rows: ForecastData[] }} props */
function Attempts({ rows }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="The forecast">
    <table class="plain-table">
      <thead>
        <tr>
          <th scope="col">Attempt</th>
          <th scope="col">Outcome</th>
          <th scope="col">Error</th>
          <th scope="col" class="figure">Delay</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${row.attempt}>
            <th scope="row">${row.attempt}</th>
            <td><${Status} code=${row.sync_status_code} /></td>
            <td>${row.error_message}</td>
            <td class="figure">${span(row.delay)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
