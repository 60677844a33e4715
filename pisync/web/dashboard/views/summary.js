// The fleet in figures: devices by status, pending syncs, attempts a second, lateness.
/** @import { Lateness as LatenessData, Reading, Stats } from "../types.js" */
import { Failure, number } from "../parts.js";
import { html } from "../preact.js";
import { CODES, FAILURES, word } from "../status.js";
import { Lateness } from "./lateness.js";
import { Pulse } from "./pulse.js";

/** @param {{ stats: Reading<Stats>, isAdmin: boolean, lateness?: LatenessData }} props */
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
      ${isAdmin && html`<${Lateness} lateness=${lateness} />`}
    </div>
    <${Pulse} />
  </section>`;
}

/** @param {{ name: string, value?: number | null, tone?: string }} props */
function Figure({ name, value, tone = "" }) {
  return html`<div class=${tone}>
    <dt>${name}</dt>
    <dd>${value == null ? "–" : number(value)}</dd>
  </div>`;
}

/**
 * The counts by status, as a bar and in figures.
 * @param {{ stats: Stats | null }} props
 */
function Shares({ stats }) {
  /** @param {number} code */
  const count = (code) => stats?.by_status[code] ?? 0;
  return html`<div class="shares">
    <div class="bar" aria-hidden="true">
      ${CODES.filter(count).map(
        (code) => html`<i key=${code} class="s${code}" style=${{ flexGrow: count(code) }}></i>`,
      )}
    </div>
    <dl>
      ${CODES.map(
        (code) => html`<div key=${code} class="status s${code}">
          <dt><i aria-hidden="true"></i>${word(code)} <span class="code">${code}</span></dt>
          <dd>${stats ? number(count(code)) : "–"}</dd>
        </div>`,
      )}
    </dl>
  </div>`;
}
