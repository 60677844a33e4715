// The fleet at a glance: devices by status, what is pending, how fast it goes, how late.
import { html } from "/dashboard/preact.js";
import { Failure, number } from "../parts.js";
import { CODES, FAILURES, word } from "../status.js";
import { Lateness } from "./lateness.js";
import { Pulse } from "./pulse.js";

/** How late syncs finish, only an admin may know. */
export function Summary({ stats, isAdmin, lateness }) {
  const { data, error, reload } = stats;
  const failed = data && FAILURES.reduce((sum, code) => sum + (data.by_status[code] ?? 0), 0);
  return html`<section class="summary" aria-label="The fleet at a glance">
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    <div class="card glance">
      <dl class="figures">
        <${Figure} name="Devices" value=${data?.devices} />
        <${Figure} name="Pending now" value=${data?.pending} tone=${data?.pending ? "s202" : ""} />
        <${Figure} name="Failed" value=${failed} tone=${failed ? "s500" : ""} />
        <${Figure} name="Attempts" value=${data?.attempts} />
      </dl>
      <${Shares} stats=${data} />
      ${isAdmin && html`<${Lateness} of=${lateness} />`}
    </div>
    <${Pulse} />
  </section>`;
}

function Figure({ name, value, tone = "" }) {
  return html`<div class=${tone}>
    <dt>${name}</dt>
    <dd>${value == null ? "–" : number(value)}</dd>
  </div>`;
}

/** The counts by status, as a bar and in figures. */
function Shares({ stats }) {
  const of = (code) => stats?.by_status[code] ?? 0;
  return html`<div class="shares">
    <div class="bar" aria-hidden="true">
      ${CODES.filter(of).map((code) => html`<i key=${code} class="s${code}" style=${{ flexGrow: of(code) }}></i>`)}
    </div>
    <dl>
      ${CODES.map(
        (code) => html`<div key=${code} class="status s${code}">
          <dt><i aria-hidden="true"></i>${word(code)} <span class="code">${code}</span></dt>
          <dd>${stats ? number(of(code)) : "–"}</dd>
        </div>`,
      )}
    </dl>
  </div>`;
}
