// Short messages at the edge of the page about what its user began; screen readers read them out.
import { html } from "./preact.js";
import { createStore, useStore } from "./store.js";

const MAX_SHOWN = 4;
const LIFETIME = 10_000; // ms

/** @typedef {{ key: number, text: string, tone: string }} Notice */

const notices = createStore(/** @type {Notice[]} */ ([]));
let count = 0;

/**
 * Show a message.
 * @param {string} text
 * @param {"good" | "bad" | ""} tone
 */
export function notify(text, tone = "") {
  const notice = { key: (count += 1), text, tone };
  const others = notices.get().filter((other) => other.text !== text);
  notices.set([...others, notice].slice(-MAX_SHOWN));
  setTimeout(() => dismiss(notice), LIFETIME);
}

/** @param {Notice} notice */
function dismiss(notice) {
  notices.set(notices.get().filter((other) => other !== notice));
}

export function Notices() {
  const shown = useStore(notices);
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown.map(
      (notice) => html`<p key=${notice.key} class="notice ${notice.tone}">
        <span>${notice.text}</span>
        <button
          type="button"
          class="plain"
          aria-label="Dismiss"
          onClick=${() => dismiss(notice)}
        >×</button>
      </p>`,
    )}
  </div>`;
}
