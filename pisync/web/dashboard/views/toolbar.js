// What stands above the table of devices: filter by status, go to an id, sync many.
/** @import { Stats } from "../types.js" */
import { BusyButton, Confirm, number, useId } from "../parts.js";
import { html, useState } from "../preact.js";
import { go, isId } from "../route.js";
import { FAILURES } from "../status.js";
import { syncMany } from "../syncs.js";

const MAX_UNASKED = 10_000; // syncs that are begun without a question

/** @param {{ chosen: number[], stats: Stats | null }} props */
export function Filter({ chosen, stats }) {
  /**
   * @param {string} name
   * @param {number[]} codes
   */
  const choice = (name, codes) => ({ name, codes, count: stats && counted(stats, codes) });
  const choices = [
    { name: "All", codes: [], count: stats?.devices },
    choice("Synced", [200]),
    choice("Pending", [202]),
    choice("Failed", FAILURES),
    ...FAILURES.map((code) => choice(String(code), [code])),
  ];
  return html`<fieldset class="filter">
    <legend class="unseen">Filter by status</legend>
    ${choices.map(({ name, codes, count }) => {
      const status = codes.join(",");
      return html`<button
        type="button"
        class="chip"
        aria-pressed=${status === chosen.join(",")}
        onClick=${() => go("/", { status })}
      >${name}${" "}<span class="count">${count == null ? "" : number(count)}</span></button>`;
    })}
  </fieldset>`;
}

/** @param {{ values: Record<string, string> }} props */
export function GoTo({ values }) {
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const id = useId();
  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    const target = Number(text);
    if (!isId(text) || !Number.isSafeInteger(target)) {
      return setError("An id is a number from 1.");
    }
    setError("");
    setText("");
    go("/", { ...values, after: target - 1 || "" });
  }
  return html`<form class="go-to" onSubmit=${submit} novalidate>
    <label for=${id}>Go to id</label>
    <input
      id=${id}
      inputmode="numeric"
      autocomplete="off"
      value=${text}
      aria-invalid=${error ? "true" : undefined}
      aria-describedby=${error ? `${id}-error` : undefined}
      onInput=${(/** @type {any} */ { target }) => setText(target.value.trim())}
    />
    <button type="submit" class="small outline secondary">Go</button>
    ${error && html`<small id="${id}-error" class="error" role="alert">${error}</small>`}
  </form>`;
}

/** @typedef {{ all: true } | { status: number[] }} Selection */

/** @param {{ fleet: string, stats: Stats | null }} props */
export function Bulk({ fleet, stats }) {
  const [asking, setAsking] = useState(
    /** @type {{ selection: Selection, count: number } | null} */ (null),
  );
  const failed = stats ? counted(stats, FAILURES) : 0;
  const all = stats?.devices ?? 0;
  /**
   * @param {Selection} selection
   * @param {number} count
   */
  const begin = (selection, count) =>
    count > MAX_UNASKED ? setAsking({ selection, count }) : syncMany(fleet, selection);
  return html`<div class="bulk">
    <${BusyButton}
      class="small outline"
      busy=${!failed}
      onClick=${() => begin({ status: FAILURES }, failed)}
    >Sync all failed<//>
    <${BusyButton}
      class="small outline"
      busy=${!all}
      onClick=${() => begin({ all: true }, all)}
    >Sync all<//>
    ${asking &&
    html`<${Confirm}
      title="Sync ${number(asking.count)} devices?"
      yes="Sync them"
      onNo=${() => setAsking(null)}
      onYes=${() => {
        setAsking(null);
        syncMany(fleet, asking.selection);
      }}
    ><p>That is a lot at once. Every one of them makes an attempt now.</p><//>`}
  </div>`;
}

/**
 * Return how many devices have one of these status codes.
 * @param {Stats} stats
 * @param {number[]} codes
 */
const counted = (stats, codes) =>
  codes.reduce((sum, code) => sum + (stats.by_status[code] ?? 0), 0);
