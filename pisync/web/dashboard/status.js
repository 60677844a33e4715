// What status codes are called, and how they look.
import { html } from "./preact.js";

export const CODES = [200, 202, 400, 404, 500];
export const FAILURES = [400, 404, 500];

/** @param {number} code */
export function word(code) {
  if (code === 200) return "Synced";
  return code === 202 ? "Pending" : "Failed";
}

/** @param {{ code: number }} props */
export function Status({ code }) {
  return html`<span class="status s${code}">
    <i aria-hidden="true"></i>${word(code)}${" "}
    ${FAILURES.includes(code) && html`<span class="code">${code}</span>`}
  </span>`;
}
