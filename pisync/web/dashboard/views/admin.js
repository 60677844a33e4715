// What an admin may do with the present fleet, and with fleets.
/** @import { Fleet, Ledger as LedgerData, Reading } from "../types.js" */
import { Failure } from "../parts.js";
import { html } from "../preact.js";
import { Clock } from "./clock.js";
import { Faults } from "./faults.js";
import { Fleets } from "./fleets.js";
import { Forecast } from "./forecast.js";
import { Journal } from "./journal.js";
import { Ledger } from "./ledger.js";
import { Profile } from "./profile.js";

/**
 * @param {object} props
 * @param {string} props.fleet
 * @param {Reading<Fleet[]>} props.fleets
 * @param {Reading<Fleet>} props.view
 * @param {Reading<LedgerData>} props.ledger
 */
export function Admin({ fleet, fleets, view, ledger }) {
  const { data, error, reload, patch } = view;
  /** @param {Fleet} changed */
  const onChange = (changed) => patch(() => changed);
  return html`<div class="headline"><h1>Fleet ${fleet}</h1></div>
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    <div class="columns even">
      <div class="stack">
        ${data && html`<${Clock} fleet=${fleet} clock=${data.clock} reload=${reload} />`}
        ${data && html`<${Profile} fleet=${fleet} profile=${data.profile} onChange=${onChange} />`}
      </div>
      <div class="stack">
        <${Ledger} fleet=${fleet} ledger=${ledger} />
        <${Faults} fleet=${fleet} ledger=${ledger} />
        <${Fleets} fleet=${fleet} fleets=${fleets} />
        <${Forecast} fleet=${fleet} />
      </div>
    </div>
    <${Journal} fleet=${fleet} size=${data?.journal} onResize=${onChange} />`;
}
