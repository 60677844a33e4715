// A button that makes one call, shows its result, and shows the call itself.
/** @import { FieldErrors, Request } from "./types.js" */
/** @import { ApiError } from "./api.js" */
import { call } from "./api.js";
import { BusyButton, Confirm, Curl } from "./parts.js";
import { html, useState } from "./preact.js";

/**
 * @typedef {object} State
 * @property {boolean} busy
 * @property {boolean} asking
 * @property {string} result
 * @property {ApiError | null} error
 */

/**
 * @param {object} props
 * @param {string} props.label
 * @param {Request} props.request
 * @param {{ title: string, text: string, yes: string }} [props.confirm] A question to ask first.
 * @param {string} [props.tone]
 * @param {boolean} [props.disabled]
 * @param {(data: any) => string | void} [props.onDone] May return a text to show.
 * @param {(errors: FieldErrors) => void} [props.onFields] Gets what is wrong by field; without it,
 *   that is shown here.
 */
export function Action({ label, request, confirm, tone = "", disabled, onDone, onFields }) {
  const [state, setState] = useState(
    /** @type {State} */ ({ busy: false, asking: false, result: "", error: null }),
  );
  /** @param {Partial<State>} change */
  const update = (change) => setState((old) => ({ ...old, ...change }));

  async function run() {
    update({ busy: true, asking: false, result: "", error: null });
    onFields?.({});
    try {
      const { data } = await call(request);
      update({ busy: false, result: onDone?.(data) ?? "Done." });
    } catch (failure) {
      const error = /** @type {ApiError} */ (failure);
      onFields?.(error.fields ?? {});
      update({ busy: false, error });
    }
  }

  const { busy, asking, result, error } = state;
  return html`<div class="action">
    <div class="act">
      <${BusyButton}
        class=${`small ${tone}`}
        busy=${busy || disabled}
        onClick=${() => (confirm ? update({ asking: true }) : run())}
      >${label}<//>
      <span class="outcome" role="status">
        ${busy && html`<span class="muted">…</span>`}
        ${result && html`<span class="good">${result}</span>`}
        ${error && html`<span class="error">${onFields ? error.message : inFull(error)}</span>`}
      </span>
    </div>
    <${Curl} request=${request} />
    ${asking &&
    confirm &&
    html`<${Confirm}
      title=${confirm.title}
      yes=${confirm.yes}
      onYes=${run}
      onNo=${() => update({ asking: false })}
    ><p>${confirm.text}</p><//>`}
  </div>`;
}

/** @param {ApiError} error */
function inFull(error) {
  const fields = Object.entries(error.fields ?? {});
  if (!fields.length) return error.message;
  return fields.map(([field, messages]) => `${field}: ${messages.join(" ")}`).join(" ");
}
