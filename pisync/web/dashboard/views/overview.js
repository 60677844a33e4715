// The first page: the fleet at a glance, its devices, its recent errors.
import { html } from "/dashboard/preact.js";
import { Devices } from "./devices.js";
import { RecentErrors } from "./errors.js";
import { Summary } from "./summary.js";

export function Overview({ fleet, values, stats, ledger }) {
  return html`<h1 class="unseen">Fleet ${fleet}</h1>
    <${Summary} stats=${stats} isAdmin=${Boolean(ledger)} lateness=${ledger?.data?.lateness} />
    <div class="columns">
      <${Devices} fleet=${fleet} values=${values} stats=${stats.data} />
      <${RecentErrors} fleet=${fleet} />
    </div>`;
}
