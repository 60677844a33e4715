// The first page: the fleet in figures, its devices, its recent errors.
/** @import { Ledger, Reading, Stats } from "../types.js" */
import { html } from "../preact.js";
import { Devices } from "./devices.js";
import { RecentErrors } from "./errors.js";
import { Summary } from "./summary.js";

/**
 * @param {object} props
 * @param {string} props.fleet
 * @param {Record<string, string>} props.values
 * @param {Reading<Stats>} props.stats
 * @param {Reading<Ledger>} [props.ledger]
 */
export function Overview({ fleet, values, stats, ledger }) {
  return html`<h1 class="unseen">Fleet ${fleet}</h1>
    <${Summary} stats=${stats} isAdmin=${Boolean(ledger)} lateness=${ledger?.data?.lateness} />
    <div class="columns">
      <${Devices} fleet=${fleet} values=${values} stats=${stats.data} />
      <${RecentErrors} fleet=${fleet} />
    </div>`;
}
