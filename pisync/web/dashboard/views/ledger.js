// How every sync that was requested ended, and whether the counts balance.
/** @import { Ledger as LedgerData, Reading } from "../types.js" */
import { pathOf } from "../api.js";
import { Curl, Failure, number, useId } from "../parts.js";
import { html } from "../preact.js";
import { Status } from "../status.js";
import { Lateness } from "./lateness.js";

/** @param {{ fleet: string, ledger: Reading<LedgerData> }} props */
export function Ledger({ fleet, ledger }) {
  const title = useId();
  const { data, error, reload } = ledger;
  return html`<section class="card ledger" aria-labelledby=${title}>
    <h2 id=${title}>Ledger</h2>
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    ${data &&
    html`<${Balance} ledger=${data} />
      <${Sums} ledger=${data} />
      <${Failures} failed=${data.failed} />
      <${Lateness} lateness=${data.lateness} />`}
    <${Curl} request=${{ path: pathOf`/admin/fleets/${fleet}/ledger` }} />
  </section>`;
}

/** @param {{ ledger: LedgerData }} props */
function Balance({ ledger: { accepted, pending, balanced } }) {
  const finished = `${number(accepted - pending)} finished`;
  return html`<p class="balance ${balanced ? "good" : "bad"}">
    <b>${balanced ? "It balances." : "It does not balance."}</b>
    <span>${number(accepted)} accepted = ${finished} + ${number(pending)} pending</span>
  </p>`;
}

/** @param {{ ledger: LedgerData }} props */
function Sums({ ledger }) {
  const counts = Object.values(ledger.failed).flatMap((messages) => Object.values(messages));
  const rows = Object.entries({
    Accepted: ledger.accepted,
    Joined: ledger.joined,
    Refused: ledger.refused,
    Succeeded: ledger.succeeded,
    Failed: counts.reduce((sum, count) => sum + count, 0),
    Pending: ledger.pending,
    Held: ledger.held,
    "Error logs": ledger.error_logs,
  });
  return html`<dl class="sums">
    ${rows.map(
      ([name, count]) => html`<div key=${name}><dt>${name}</dt><dd>${number(count)}</dd></div>`,
    )}
  </dl>`;
}

/** @param {{ failed: LedgerData["failed"] }} props */
function Failures({ failed }) {
  const rows = Object.entries(failed).flatMap(([code, messages]) =>
    Object.entries(messages).map(([message, count]) => ({ code: Number(code), message, count })),
  );
  if (!rows.length) return null;
  return html`<table class="plain-table">
    <caption class="unseen">Failures by code and message</caption>
    <thead>
      <tr>
        <th scope="col">Failed with</th>
        <th scope="col">Error</th>
        <th scope="col" class="figure">Count</th>
      </tr>
    </thead>
    <tbody>
      ${rows.map(
        ({ code, message, count }) => html`<tr key=${`${code} ${message}`}>
          <td><${Status} code=${code} /></td>
          <td>${message}</td>
          <td class="figure">${number(count)}</td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}
