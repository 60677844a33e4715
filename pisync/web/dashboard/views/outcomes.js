// The outcomes of a profile, and how often each comes.
import { html } from "/dashboard/preact.js";
import { FAILURES } from "../status.js";

export function Outcomes({ outcomes, wrong, onChange }) {
  const total = outcomes.reduce((sum, { weight }) => sum + weight, 0);
  const most = Math.max(100, ...outcomes.map(({ weight }) => weight));
  const change = (place, values) =>
    onChange(outcomes.map((each, at) => (at === place ? { ...each, ...values } : each)));
  return html`<fieldset class="outcomes">
    <legend>Outcomes by weight</legend>
    ${outcomes.map(
      (each, place) => html`<div class="outcome-row" key=${place}>
        <${Kind} each=${each} onChange=${(values) => change(place, values)} />
        <input
          type="range"
          min="0"
          max=${most}
          step="any"
          value=${each.weight}
          aria-label="Weight of ${name(each)}"
          aria-valuetext="${shown(each.weight)}, ${share(each, total)}"
          onInput=${(event) => change(place, { weight: Math.round(event.target.value) })}
        />
        <output>${share(each, total)}</output>
        <button
          type="button"
          class="plain"
          aria-label="Remove ${name(each)}"
          disabled=${outcomes.length === 1}
          onClick=${() => onChange(outcomes.filter((_, at) => at !== place))}
        >×</button>
      </div>`,
    )}
    ${Object.entries(wrong)
      .filter(([field]) => field.startsWith("profile.outcomes"))
      .map(([field, messages]) => html`<small class="error" role="alert">${place(field)}${messages.join(" ")}</small>`)}
    <button
      type="button"
      class="small outline secondary"
      onClick=${() => onChange([...outcomes, { sync_status_code: 500, error_message: "Connection Timeout", weight: 1 }])}
    >Add an outcome</button>
  </fieldset>`;
}

/** An outcome's code and message. */
function Kind({ each, onChange }) {
  const code = each.sync_status_code;
  const recode = (event) => {
    const next = Number(event.target.value);
    const message = next === 200 ? null : (each.error_message ?? "Unknown Sync Error");
    onChange({ sync_status_code: next, error_message: message });
  };
  return html`<select aria-label="Status of an outcome" class="s${code}" value=${code} onChange=${recode}>
      ${[200, ...FAILURES].map((each) => html`<option value=${each}>${each}</option>`)}
    </select>
    ${code === 200
      ? html`<span class="success">success</span>`
      : html`<input
          aria-label="Error message of an outcome"
          maxlength="200"
          value=${each.error_message}
          onInput=${(event) => onChange({ error_message: event.target.value })}
        />`}`;
}

const name = ({ sync_status_code: code, error_message: message }) => `${code} ${message ?? "success"}`;

const shown = (weight) => String(Number(weight.toFixed(2)));

const share = ({ weight }, total) => (total ? `${((100 * weight) / total).toFixed(1)} %` : "–");

// "profile.outcomes.2.weight": the third
function place(field) {
  const index = /\.(\d+)\./.exec(field)?.[1];
  return index === undefined ? "" : `Outcome ${Number(index) + 1}: `;
}
