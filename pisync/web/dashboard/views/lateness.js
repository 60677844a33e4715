// How much later than due syncs finish.
import { html } from "/dashboard/preact.js";
import { span } from "../time.js";

/** `of`: `{p50, p99, max}` in seconds; nothing until it is known. */
export function Lateness({ of }) {
  const late = (seconds) => html`<b>${of ? span(seconds) : "–"}</b>`;
  return html`<p class="lateness">
    <span class="muted">Finished late by</span>
    <span>median ${late(of?.p50)}</span>
    <span>p99 ${late(of?.p99)}</span>
    <span>most ${late(of?.max)}</span>
  </p>`;
}
