// Short messages at the edge of the page, for what the reader began; read out by screen readers.
import { html } from "/dashboard/preact.js";
import { createStore, useStore } from "./store.js";

const MOST = 4;
const STAYS = 10_000; // ms

const notices = createStore([]);
let count = 0;

/** Show a message; `tone`: "good", "bad" or "". */
export function notify(text, tone = "") {
  const notice = { key: (count += 1), text, tone };
  const others = notices.get().filter((each) => each.text !== text);
  notices.set([...others, notice].slice(-MOST));
  setTimeout(() => dismiss(notice), STAYS);
}

function dismiss(notice) {
  notices.set(notices.get().filter((each) => each !== notice));
}

export function Notices() {
  const shown = useStore(notices);
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown.map(
      (notice) => html`<p key=${notice.key} class="notice ${notice.tone}">
        <span>${notice.text}</span>
        <button type="button" class="plain" aria-label="Dismiss" onClick=${() => dismiss(notice)}>×</button>
      </p>`,
    )}
  </div>`;
}
