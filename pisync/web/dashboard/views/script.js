// Script the outcomes of a device's next attempts; finish one that is held.
/** @import { Outcome } from "../types.js" */
import { Action } from "../action.js";
import { pathOf } from "../api.js";
import { Field, useId } from "../parts.js";
import { html, useState } from "../preact.js";
import { formatted, JsonList, parsed } from "./json_list.js";

const EXAMPLES = {
  "Fail once": [{ sync_status_code: 500, error_message: "Storage Full", delay: 1 }],
  "Fail until changed": [
    { sync_status_code: 404, error_message: "Server Not Reachable", sticky: true },
  ],
  "Pending for three reads": [
    { sync_status_code: 500, error_message: "Storage Full", polls: 3 },
  ],
  Hold: [{ hold: true }],
};
/** @type {Record<string, Outcome>} */
const OUTCOMES = {
  200: { sync_status_code: 200 },
  400: { sync_status_code: 400, error_message: "Storage Full" },
  404: { sync_status_code: 404, error_message: "Server Not Reachable" },
  500: { sync_status_code: 500, error_message: "Connection Timeout" },
};

/** @param {{ fleet: string, device: string }} props */
export function Script({ fleet, device }) {
  const [text, setText] = useState(formatted(EXAMPLES["Fail once"]));
  const [outcome, setOutcome] = useState("200");
  const title = useId();
  const path = pathOf`/admin/fleets/${fleet}/devices/${device}`;
  const { list: steps, error } = parsed(text);
  return html`<section class="card" aria-labelledby=${title}>
    <h2 id=${title}>Script</h2>
    <p class="lead">The next attempts follow these steps, one each, then the profile again.</p>
    <${JsonList} label="Steps, as JSON" text=${text} examples=${EXAMPLES} onChange=${setText} />
    <${Action}
      label="Write the script"
      disabled=${Boolean(error)}
      request=${{ method: "PUT", path: `${path}/script`, body: steps }}
      onDone=${() => "Written."}
    />
    <${Action}
      label="End the script"
      tone="outline secondary"
      request=${{ method: "DELETE", path: `${path}/script` }}
      onDone=${() => "Ended."}
    />
    <h3>Release a held sync</h3>
    <${Field}
      as="select"
      label="With the outcome"
      value=${outcome}
      onChange=${(/** @type {any} */ { target }) => setOutcome(target.value)}
    >
      ${Object.entries(OUTCOMES).map(
        ([code, { error_message: message }]) =>
          html`<option value=${code}>${code} ${message ?? "success"}</option>`,
      )}
    <//>
    <${Action}
      label="Release"
      tone="outline"
      request=${{ method: "POST", path: `${path}/release`, body: OUTCOMES[outcome] }}
      onDone=${() => "Released."}
    />
  </section>`;
}
