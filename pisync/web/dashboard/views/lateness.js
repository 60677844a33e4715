// How long after their due time syncs finish.
/** @import { Lateness as LatenessData } from "../types.js" */
import { html } from "../preact.js";
import { span } from "../time.js";

/** @param {{ lateness?: LatenessData }} props */
export function Lateness({ lateness }) {
  /** @param {number} seconds */
  const figure = (seconds) => html`<b>${lateness ? span(seconds) : "–"}</b>`;
  return html`<p class="lateness">
    <span class="muted">Lateness</span>
    <span>median ${figure(lateness?.p50 ?? 0)}</span>
    <span>p99 ${figure(lateness?.p99 ?? 0)}</span>
    <span>max ${figure(lateness?.max ?? 0)}</span>
  </p>`;
}
