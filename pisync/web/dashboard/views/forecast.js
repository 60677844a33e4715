// What a device's next attempts will come to, by seed and profile.
import { html, useState } from "/dashboard/preact.js";
import { withQuery } from "../api.js";
import { Action } from "../action.js";
import { Field, useId } from "../parts.js";
import { Status } from "../status.js";
import { span } from "../time.js";

/** `device`: whose; without it, it can be chosen. */
export function Forecast({ fleet, device }) {
  const [asked, setAsked] = useState({ device_id: device ?? "1", attempts: "10", from: "" });
  const [rows, setRows] = useState(null);
  const [wrong, setWrong] = useState({});
  const title = useId();
  const input = (name) => ({
    inputmode: "numeric",
    autocomplete: "off",
    value: asked[name],
    error: wrong[name],
    onInput: (event) => setAsked({ ...asked, [name]: event.target.value.trim() }),
  });
  return html`<section class="card" aria-labelledby=${title}>
    <h2 id=${title}>Forecast</h2>
    <p class="lead">What attempts will come to by seed and profile. None is made, and scripts don't count.</p>
    <div class="fields">
      ${!device && html`<${Field} label="Device" ...${input("device_id")} />`}
      <${Field} label="Attempts" ...${input("attempts")} />
      <${Field} label="From attempt" placeholder="the next" ...${input("from")} />
    </div>
    <${Action}
      label="Forecast"
      request=${{ path: withQuery(`/admin/fleets/${fleet}/forecast`, asked) }}
      onFields=${setWrong}
      onDone=${(data) => {
        setRows(data);
        return `${data.length} attempts.`;
      }}
    />
    ${rows &&
    html`<div class="scroll" tabindex="0" role="region" aria-label="The forecast">
      <table class="plain-table">
        <thead><tr><th scope="col">Attempt</th><th scope="col">Outcome</th><th scope="col">Error</th><th scope="col" class="figure">Delay</th></tr></thead>
        <tbody>
          ${rows.map(
            (each) => html`<tr key=${each.attempt}>
              <th scope="row">${each.attempt}</th>
              <td><${Status} code=${each.sync_status_code} /></td>
              <td>${each.error_message}</td>
              <td class="figure">${span(each.delay)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
  </section>`;
}
