// What status codes are called, and how they look.
import { html } from "/dashboard/preact.js";

export const CODES = [200, 202, 400, 404, 500];
export const FAILURES = [400, 404, 500];

export function word(code) {
  if (code === 200) return "Synced";
  return code === 202 ? "Pending" : "Failed";
}

export function Status({ code }) {
  return html`<span class="status s${code}">
    <i aria-hidden="true"></i>${word(code)}${" "}
    ${FAILURES.includes(code) && html`<span class="code">${code}</span>`}
  </span>`;
}
