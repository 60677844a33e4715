// Choose a fleet, make one, delete one.
import { html, useState } from "/dashboard/preact.js";
import { Action } from "../action.js";
import { DEFAULT_FLEET } from "../api.js";
import { Failure, Field, number, numeric, useId } from "../parts.js";
import { go, href } from "../route.js";

export function Fleets({ fleet, fleets }) {
  const [made, setMade] = useState({ name: "", devices: "100", seed: "" });
  const [wrong, setWrong] = useState({});
  const title = useId();
  const list = fleets.data ?? [];
  const taken = list.some((each) => each.name === made.name);
  const isName = /^[a-z0-9][a-z0-9-]{0,62}$/.test(made.name);
  const input = (name) => ({
    autocomplete: "off",
    value: made[name],
    onInput: (event) => setMade({ ...made, [name]: event.target.value.trim() }),
  });
  const profile = made.seed === "" ? undefined : { profile: { seed: numeric(made.seed) } };
  return html`<section class="card fleets" aria-labelledby=${title}>
    <h2 id=${title}>Fleets</h2>
    ${fleets.error && !fleets.data && html`<${Failure} error=${fleets.error} retry=${fleets.reload} />`}
    <div class="scroll" tabindex="0" role="region" aria-label="All fleets">
      <table class="plain-table">
        <thead><tr><th scope="col">Name</th><th scope="col" class="figure">Devices</th><th scope="col" class="figure">Seed</th><th scope="col">Clock</th></tr></thead>
        <tbody>
          ${list.map(
            (each) => html`<tr key=${each.name} aria-current=${each.name === fleet ? "true" : undefined}>
              <th scope="row"><a href=${href("/admin", { fleet: each.name })}>${each.name}</a></th>
              <td class="figure">${number(each.devices)}</td>
              <td class="figure mono">${each.seed}</td>
              <td>${each.clock.mode === "manual" ? "held" : `${number(each.clock.speed)}×`}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <h3>Make a fleet</h3>
    <div class="fields">
      <${Field}
        label="Name"
        spellcheck=${false}
        autocapitalize="none"
        hint="Small letters, digits, dashes."
        error=${made.name && !isName ? "Not a fleet's name." : ""}
        ...${input("name")}
      />
      <${Field} label="Devices" inputmode="numeric" error=${wrong.devices} ...${input("devices")} />
      <${Field} label="Seed" inputmode="numeric" placeholder="drawn" error=${wrong["profile.seed"]} ...${input("seed")} />
    </div>
    <${Action}
      label=${taken ? "Replace the fleet" : "Make the fleet"}
      disabled=${!isName}
      request=${{
        method: "PUT",
        path: `/admin/fleets/${made.name || "NAME"}`,
        body: { devices: numeric(made.devices), ...profile },
      }}
      confirm=${taken && {
        title: `Replace fleet ${made.name}?`,
        text: "It is there already. Its devices, its history and its pending syncs will be gone.",
        yes: "Replace",
      }}
      onFields=${setWrong}
      onDone=${(data) => {
        fleets.reload();
        go("/admin", { fleet: data.name });
        return `Fleet ${data.name} has ${number(data.devices)} devices.`;
      }}
    />
    ${fleet !== DEFAULT_FLEET &&
    html`<${Action}
      label="Delete fleet ${fleet}"
      tone="outline danger"
      request=${{ method: "DELETE", path: `/admin/fleets/${fleet}` }}
      confirm=${{
        title: `Delete fleet ${fleet}?`,
        text: "Its devices, its history and its pending syncs will be gone.",
        yes: "Delete",
      }}
      onDone=${() => {
        fleets.reload();
        go("/admin", { fleet: DEFAULT_FLEET });
      }}
    />`}
  </section>`;
}
