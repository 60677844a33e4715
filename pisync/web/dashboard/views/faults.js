// A fleet's rules for faults of HTTP, and how many requests each has hit.
/** @import { FaultRule, FieldErrors, Ledger, Reading } from "../types.js" */
import { Action } from "../action.js";
import { pathOf } from "../api.js";
import { useRead } from "../data.js";
import { Failure, number, useId } from "../parts.js";
import { usePolling } from "../polling.js";
import { html, useEffect, useState } from "../preact.js";
import { errorsIn, formatted, JsonList, parsed } from "./json_list.js";

const INTERVAL = 3_000; // ms
const EXAMPLES = {
  "Lose the answer": [{ calls: ["sync"], first: 1, fault: { kind: "reset" }, when: "after" }],
  "429 twice": [{ calls: ["sync"], first: 2, fault: { kind: "status", status: 429, retry_after: 1 } }],
  "A storm of 503": [
    { calls: ["sync", "device", "devices"], share: 0.5, fault: { kind: "status", status: 503 } },
  ],
  "Slow pages": [{ calls: ["devices"], fault: { kind: "drip", bytes: 100, every: 0.1 } }],
  "Cut the stream": [{ calls: ["events"], first: 1, fault: { kind: "truncate" } }],
};

/** @param {{ fleet: string, ledger: Reading<Ledger> }} props */
export function Faults({ fleet, ledger }) {
  const path = pathOf`/admin/fleets/${fleet}/faults`;
  const { data, error, reload, patch } = /** @type {Reading<FaultRule[]>} */ (useRead({ path }));
  const [text, setText] = useState("");
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  const title = useId();
  usePolling(reload, INTERVAL);
  const written = formatted((data ?? []).map(({ hits: _, ...rule }) => rule));
  useEffect(() => setText(written), [written]);
  const { list: rules, error: mistake } = parsed(text || "[]");
  return html`<section class="card" aria-labelledby=${title}>
    <h2 id=${title}>Faults</h2>
    <p class="lead">
      What befalls answers, before or after the call has had its effect. The first rule that hits a
      request decides.
    </p>
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    ${data && !data.length && html`<p class="lead">No rules, no faults.</p>`}
    ${data && data.length > 0 && html`<${Rules} rules=${data} />`}
    <${Total} faults=${ledger.data?.faults} />
    <${JsonList}
      label="Rules, as JSON"
      text=${text}
      examples=${EXAMPLES}
      error=${errorsIn(errors)}
      onChange=${setText}
    />
    <${Action}
      label="Set the rules"
      disabled=${Boolean(mistake)}
      request=${{ method: "PUT", path, body: rules }}
      onFields=${setErrors}
      onDone=${(/** @type {FaultRule[]} */ set) => {
        patch(() => set);
        return "Set.";
      }}
    />
    <${Action}
      label="End all faults"
      tone="outline secondary"
      request=${{ method: "DELETE", path }}
      onDone=${() => {
        setErrors({});
        patch(() => []);
        return "Ended.";
      }}
    />
  </section>`;
}

/** @param {{ rules: FaultRule[] }} props */
function Rules({ rules }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Rules for faults">
    <table class="plain-table">
      <thead>
        <tr>
          <th scope="col">Calls</th>
          <th scope="col">Requests</th>
          <th scope="col">Fault</th>
          <th scope="col" class="figure">Hits</th>
        </tr>
      </thead>
      <tbody>
        ${rules.map(
          (rule, place) => html`<tr key=${place}>
            <th scope="row">${rule.calls.join(", ")}</th>
            <td>${requestsOf(rule)}</td>
            <td>${faultOf(rule)}</td>
            <td class="figure">${number(rule.hits)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

const MAX_IDS = 5; // that are shown of a rule

/** @param {FaultRule} rule */
function requestsOf({ first, share = 1, device_ids: ids }) {
  const some = first === undefined ? `${Number((100 * share).toFixed(2))} %` : `the first ${number(first)}`;
  if (!ids) return some;
  const more = ids.length > MAX_IDS ? ", …" : "";
  return `${some} of device ${ids.slice(0, MAX_IDS).join(", ")}${more}`;
}

/** @param {FaultRule} rule */
function faultOf({ fault: { kind, ...parameters }, when }) {
  const shown = kind === "delay" ? parameters.delay : parameters;
  const values = Object.entries(shown).map(([name, value]) => `${name} ${value}`);
  const details = values.length ? ` (${values.join(", ")})` : "";
  return `${kind}${details}, ${when} its effect`;
}

/** @param {{ faults?: Ledger["faults"] }} props By the ledger: since the fleet was made or reset. */
function Total({ faults = {} }) {
  const counts = Object.entries(faults).flatMap(([when, kinds]) =>
    Object.entries(kinds).map(([kind, count]) => `${number(count)} ${kind} ${when}`),
  );
  if (!counts.length) return null;
  return html`<p class="lead small-print">Since the last reset: ${counts.join(", ")} its effect.</p>`;
}
