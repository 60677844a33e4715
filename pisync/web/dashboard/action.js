// A button that makes one call, shows what came of it, and shows the call itself.
import { html, useState } from "/dashboard/preact.js";
import { call } from "./api.js";
import { Confirm, Curl, Doing } from "./parts.js";

/**
 * `request`: the call. `confirm`: `{title, text, yes}` to ask first. `onDone(data)` may return a text
 * to show. `onFields(errors)` gets what is wrong by field; what it does not take is shown here.
 */
export function Action({ label, request, confirm, tone = "", disabled, onDone, onFields, bare }) {
  const [state, setState] = useState({ busy: false, asking: false, said: "", error: null });
  const turn = (change) => setState((old) => ({ ...old, ...change }));

  async function make() {
    turn({ busy: true, asking: false, said: "", error: null });
    onFields?.({});
    try {
      const { data } = await call(request);
      turn({ busy: false, said: onDone?.(data) ?? "Done." });
    } catch (error) {
      onFields?.(error.fields ?? {});
      turn({ busy: false, error });
    }
  }

  const { busy, asking, said, error } = state;
  return html`<div class="action ${bare ? "bare" : ""}">
    <div class="act">
      <${Doing}
        class=${`small ${tone}`}
        busy=${busy || disabled}
        onClick=${() => (confirm ? turn({ asking: true }) : make())}
      >${label}<//>
      <span class="outcome" role="status">
        ${busy && html`<span class="muted">…</span>`}
        ${said && html`<span class="good">${said}</span>`}
        ${error && html`<span class="error">${sentence(error, onFields)}</span>`}
      </span>
    </div>
    <${Curl} request=${request} />
    ${asking &&
    html`<${Confirm}
      title=${confirm.title}
      yes=${confirm.yes}
      onYes=${make}
      onNo=${() => turn({ asking: false })}
    ><p>${confirm.text}</p><//>`}
  </div>`;
}

function sentence(error, onFields) {
  const fields = Object.entries(error.fields ?? {});
  if (onFields || !fields.length) return error.message;
  return fields.map(([field, messages]) => `${field}: ${messages.join(" ")}`).join(" ");
}
