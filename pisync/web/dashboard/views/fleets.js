// Choose a fleet, make one, delete one.
/** @import { FieldErrors, Fleet, Reading } from "../types.js" */
import { Action } from "../action.js";
import { DEFAULT_FLEET, pathOf } from "../api.js";
import { Failure, Field, number, numeric, useId } from "../parts.js";
import { html, useState } from "../preact.js";
import { go, href, isFleetName } from "../route.js";
import { exact, span } from "../time.js";

/** @param {{ fleet: string, fleets: Reading<Fleet[]> }} props */
export function Fleets({ fleet, fleets }) {
  const title = useId();
  const { data, error, reload } = fleets;
  return html`<section class="card fleets" aria-labelledby=${title}>
    <h2 id=${title}>Fleets</h2>
    ${error && !data && html`<${Failure} error=${error} retry=${reload} />`}
    <${List} fleet=${fleet} fleets=${data ?? []} />
    <${Make} fleets=${data ?? []} reload=${reload} />
    ${fleet !== DEFAULT_FLEET && html`<${Delete} fleet=${fleet} reload=${reload} />`}
  </section>`;
}

/** @param {{ fleet: string, fleets: Fleet[] }} props */
function List({ fleet, fleets }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="All fleets">
    <table class="plain-table">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col" class="figure">Devices</th>
          <th scope="col" class="figure">Seed</th>
          <th scope="col">Clock</th>
          <th scope="col">Forgotten after</th>
        </tr>
      </thead>
      <tbody>
        ${fleets.map(
          ({ name, devices, seed, clock, ttl, expires_at }) => html`<tr
            key=${name}
            aria-current=${name === fleet ? "true" : undefined}
          >
            <th scope="row"><a href=${href("/admin", { fleet: name })}>${name}</a></th>
            <td class="figure">${number(devices)}</td>
            <td class="figure mono">${seed}</td>
            <td>${runs(clock)}</td>
            <td title=${expires_at && exact(expires_at)}>${ttl === null ? "never" : span(ttl)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** @param {Fleet["clock"]} clock */
function runs({ mode, speed }) {
  if (mode === "real") return `${number(speed)}×`;
  return mode === "auto" ? "auto" : "held";
}

/** @param {{ fleets: Fleet[], reload: () => void }} props */
function Make({ fleets, reload }) {
  const [form, setForm] = useState({ name: "", devices: "100", seed: "" });
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  const isTaken = fleets.some(({ name }) => name === form.name);
  const isValid = isFleetName(form.name);
  /** @param {keyof typeof form} name */
  const input = (name) => ({
    autocomplete: "off",
    value: form[name],
    onInput: (/** @type {any} */ { target }) => setForm({ ...form, [name]: target.value.trim() }),
  });
  const body = {
    devices: numeric(form.devices),
    ...(form.seed !== "" && { profile: { seed: numeric(form.seed) } }),
  };
  return html`<h3>Make a fleet</h3>
    <div class="fields">
      <${Field}
        label="Name"
        spellcheck=${false}
        autocapitalize="none"
        hint="Lower-case letters, digits, dashes."
        error=${form.name && !isValid ? "A fleet cannot have this name." : ""}
        ...${input("name")}
      />
      <${Field}
        label="Devices"
        inputmode="numeric"
        error=${errors.devices}
        ...${input("devices")}
      />
      <${Field}
        label="Seed"
        inputmode="numeric"
        placeholder="random"
        error=${errors["profile.seed"]}
        ...${input("seed")}
      />
    </div>
    <${Action}
      label=${isTaken ? "Replace the fleet" : "Make the fleet"}
      disabled=${!isValid}
      request=${{ method: "PUT", path: pathOf`/admin/fleets/${form.name || "NAME"}`, body }}
      confirm=${isTaken && {
        title: `Replace fleet ${form.name}?`,
        text: "It exists already. Its devices, its history and its pending syncs will be gone.",
        yes: "Replace",
      }}
      onFields=${setErrors}
      onDone=${(/** @type {Fleet} */ { name, devices }) => {
        reload();
        go("/admin", { fleet: name });
        return `Fleet ${name} has ${number(devices)} devices.`;
      }}
    />`;
}

/** @param {{ fleet: string, reload: () => void }} props */
function Delete({ fleet, reload }) {
  return html`<${Action}
    label="Delete fleet ${fleet}"
    tone="outline danger"
    request=${{ method: "DELETE", path: pathOf`/admin/fleets/${fleet}` }}
    confirm=${{
      title: `Delete fleet ${fleet}?`,
      text: "Its devices, its history and its pending syncs will be gone.",
      yes: "Delete",
    }}
    onDone=${() => {
      reload();
      go("/admin", { fleet: DEFAULT_FLEET });
    }}
  />`;
}
