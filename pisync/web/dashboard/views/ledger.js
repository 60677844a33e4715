// What became of every sync that the fleet was asked for, and whether it balances.
import { html } from "/dashboard/preact.js";
import { Curl, Failure, number, useId } from "../parts.js";
import { Status } from "../status.js";
import { Lateness } from "./lateness.js";

export function Ledger({ fleet, ledger }) {
  const title = useId();
  const { data, error, reload } = ledger;
  return html`<section class="card ledger" aria-labelledby=${title}>
    <h2 id=${title}>Ledger</h2>
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    ${data && html`<${Balance} of=${data} /><${Sums} of=${data} /><${Failures} of=${data.failed} /><${Lateness} of=${data.lateness} />`}
    <${Curl} request=${{ path: `/admin/fleets/${fleet}/ledger` }} />
  </section>`;
}

function Balance({ of }) {
  const finished = of.accepted - of.pending;
  return html`<p class="balance ${of.balanced ? "good" : "bad"}">
    <b>${of.balanced ? "It balances." : "It does not balance."}</b>
    <span>${number(of.accepted)} accepted = ${number(finished)} finished + ${number(of.pending)} pending</span>
  </p>`;
}

function Sums({ of }) {
  const rows = [
    ["Accepted", of.accepted],
    ["Joined", of.joined],
    ["Refused", of.refused],
    ["Succeeded", of.succeeded],
    ["Failed", Object.values(of.failed).flatMap(Object.values).reduce((sum, each) => sum + each, 0)],
    ["Pending", of.pending],
    ["Held", of.held],
    ["Error logs", of.error_logs],
  ];
  return html`<dl class="sums">
    ${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${number(value)}</dd></div>`)}
  </dl>`;
}

function Failures({ of }) {
  const rows = Object.entries(of).flatMap(([code, messages]) =>
    Object.entries(messages).map(([message, count]) => ({ code: Number(code), message, count })),
  );
  if (!rows.length) return null;
  return html`<table class="plain-table">
    <caption class="unseen">Failures by code and message</caption>
    <thead><tr><th scope="col">Failed with</th><th scope="col">Error</th><th scope="col" class="figure">Times</th></tr></thead>
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
