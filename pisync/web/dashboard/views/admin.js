// What an admin may do with the present fleet, and with fleets.
import { html } from "/dashboard/preact.js";
import { Failure } from "../parts.js";
import { Clock } from "./clock.js";
import { Fleets } from "./fleets.js";
import { Forecast } from "./forecast.js";
import { Ledger } from "./ledger.js";
import { Profile } from "./profile.js";

export function Admin({ fleet, fleets, view, ledger }) {
  const shown = view.data;
  const changed = (data) => view.patch(() => data);
  return html`<div class="headline"><h1>Fleet ${fleet}</h1></div>
    ${view.error && !shown && html`<${Failure} error=${view.error} retry=${view.reload} />`}
    <div class="columns even">
      <div class="stack">
        ${shown && html`<${Clock} fleet=${fleet} clock=${shown.clock} reload=${view.reload} />`}
        ${shown && html`<${Profile} fleet=${fleet} profile=${shown.profile} changed=${changed} />`}
      </div>
      <div class="stack">
        <${Ledger} fleet=${fleet} ledger=${ledger} />
        <${Fleets} fleet=${fleet} fleets=${fleets} />
        <${Forecast} fleet=${fleet} />
      </div>
    </div>`;
}
