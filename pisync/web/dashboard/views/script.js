// Write down what a device's next attempts come to; finish one that is held.
import { html, useState } from "/dashboard/preact.js";
import { Action } from "../action.js";
import { Field, useId } from "../parts.js";

const EXAMPLES = {
  "Fail once": [{ sync_status_code: 500, error_message: "Storage Full", delay: 1 }],
  "Fail until changed": [{ sync_status_code: 404, error_message: "Server Not Reachable", sticky: true }],
  "Hold": [{ hold: true }],
};
const OUTCOMES = {
  "200": { sync_status_code: 200 },
  "400": { sync_status_code: 400, error_message: "Storage Full" },
  "404": { sync_status_code: 404, error_message: "Server Not Reachable" },
  "500": { sync_status_code: 500, error_message: "Connection Timeout" },
};

export function Script({ fleet, device }) {
  const [text, setText] = useState(written(EXAMPLES["Fail once"]));
  const [outcome, setOutcome] = useState("200");
  const title = useId();
  const path = `/admin/fleets/${fleet}/devices/${device}`;
  const { steps, wrong } = parsed(text);
  return html`<section class="card" aria-labelledby=${title}>
    <h2 id=${title}>Script</h2>
    <p class="lead">The next attempts follow these steps, one each, then the profile again.</p>
    <p class="presets">
      ${Object.entries(EXAMPLES).map(
        ([name, each]) => html`<button type="button" class="small outline secondary" onClick=${() => setText(written(each))}>${name}</button>`,
      )}
    </p>
    <${Field}
      as="textarea"
      label="Steps, as JSON"
      rows="4"
      class="mono"
      spellcheck=${false}
      value=${text}
      error=${wrong}
      onInput=${(event) => setText(event.target.value)}
    />
    <${Action} label="Write the script" disabled=${Boolean(wrong)} request=${{ method: "PUT", path: `${path}/script`, body: steps }} onDone=${() => "Written."} />
    <${Action} label="End the script" tone="outline secondary" request=${{ method: "DELETE", path: `${path}/script` }} onDone=${() => "Ended."} />
    <h3>Release a held sync</h3>
    <${Field} as="select" label="With the outcome" value=${outcome} onChange=${(event) => setOutcome(event.target.value)}>
      ${Object.entries(OUTCOMES).map(
        ([code, { error_message: message }]) => html`<option value=${code}>${code} ${message ?? "success"}</option>`,
      )}
    <//>
    <${Action} label="Release" tone="outline" request=${{ method: "POST", path: `${path}/release`, body: OUTCOMES[outcome] }} onDone=${() => "Released."} />
  </section>`;
}

const written = (steps) => `[\n${steps.map((step) => `  ${JSON.stringify(step)}`).join(",\n")}\n]`;

function parsed(text) {
  try {
    const steps = JSON.parse(text);
    return Array.isArray(steps) ? { steps } : { steps: [], wrong: "A list of steps is needed." };
  } catch (error) {
    return { steps: [], wrong: error.message };
  }
}
