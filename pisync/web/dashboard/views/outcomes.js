// The outcomes of a profile, and how often each occurs.
/** @import { FieldErrors, WeightedOutcome } from "../types.js" */
import { html } from "../preact.js";
import { FAILURES } from "../status.js";

const NEW = { sync_status_code: 500, error_message: "Connection Timeout", weight: 1 };

/**
 * @param {object} props
 * @param {WeightedOutcome[]} props.outcomes
 * @param {FieldErrors} props.errors
 * @param {(outcomes: WeightedOutcome[]) => void} props.onChange
 */
export function Outcomes({ outcomes, errors, onChange }) {
  const total = outcomes.reduce((sum, { weight }) => sum + weight, 0);
  const max = Math.max(100, ...outcomes.map(({ weight }) => weight));
  return html`<fieldset class="outcomes">
    <legend>Outcomes by weight</legend>
    ${outcomes.map(
      (outcome, place) => html`<${Row}
        key=${place}
        outcome=${outcome}
        max=${max}
        share=${percentage(outcome.weight, total)}
        onChange=${(/** @type {Partial<WeightedOutcome>} */ values) =>
          onChange(outcomes.with(place, { ...outcome, ...values }))}
        onRemove=${outcomes.length > 1 && (() => onChange(outcomes.toSpliced(place, 1)))}
      />`,
    )}
    ${Object.entries(errors)
      .filter(([field]) => field.startsWith("profile.outcomes"))
      .map(
        ([field, messages]) =>
          html`<small class="error" role="alert">${placeOf(field)}${messages.join(" ")}</small>`,
      )}
    <button
      type="button"
      class="small outline secondary"
      onClick=${() => onChange([...outcomes, NEW])}
    >Add an outcome</button>
  </fieldset>`;
}

/**
 * @param {object} props
 * @param {WeightedOutcome} props.outcome
 * @param {number} props.max The greatest weight that can be chosen.
 * @param {string} props.share
 * @param {(values: Partial<WeightedOutcome>) => void} props.onChange
 * @param {(() => void) | false} props.onRemove False for the last one.
 */
function Row({ outcome, max, share, onChange, onRemove }) {
  const { sync_status_code: code, error_message: message, weight } = outcome;
  const name = `${code} ${message ?? "success"}`;
  return html`<div class="outcome-row">
    <${Kind} outcome=${outcome} onChange=${onChange} />
    <input
      type="range"
      min="0"
      max=${max}
      step="any"
      value=${weight}
      aria-label="Weight of ${name}"
      aria-valuetext="${Number(weight.toFixed(2))}, ${share}"
      onInput=${(/** @type {any} */ { target }) =>
        onChange({ weight: Math.round(Number(target.value)) })}
    />
    <output>${share}</output>
    <button
      type="button"
      class="plain"
      aria-label="Remove ${name}"
      disabled=${!onRemove}
      onClick=${onRemove}
    >×</button>
  </div>`;
}

/**
 * An outcome's status code and error message.
 * @param {object} props
 * @param {WeightedOutcome} props.outcome
 * @param {(values: Partial<WeightedOutcome>) => void} props.onChange
 */
function Kind({ outcome: { sync_status_code: code, error_message: message }, onChange }) {
  const onCode = (/** @type {any} */ { target }) => {
    const next = Number(target.value);
    onChange({
      sync_status_code: next,
      error_message: next === 200 ? null : (message ?? "Unknown Sync Error"),
    });
  };
  return html`<select
      aria-label="Status of an outcome"
      class="s${code}"
      value=${code}
      onChange=${onCode}
    >
      ${[200, ...FAILURES].map((value) => html`<option value=${value}>${value}</option>`)}
    </select>
    ${code === 200
      ? html`<span class="success">success</span>`
      : html`<input
          aria-label="Error message of an outcome"
          maxlength="200"
          value=${message}
          onInput=${(/** @type {any} */ { target }) => onChange({ error_message: target.value })}
        />`}`;
}

/**
 * @param {number} weight
 * @param {number} total
 */
const percentage = (weight, total) => (total ? `${((100 * weight) / total).toFixed(1)} %` : "–");

/**
 * Return the outcome that an error is about: "profile.outcomes.2.weight" is about the third.
 * @param {string} field
 */
function placeOf(field) {
  const index = /\.(\d+)\./.exec(field)?.[1];
  return index === undefined ? "" : `Outcome ${Number(index) + 1}: `;
}
