// A fleet's profile: the outcomes of attempts, how long they take, when, and the seed of it.
/** @import { FieldErrors, Profile as ProfileData } from "../types.js" */
import { Action } from "../action.js";
import { pathOf } from "../api.js";
import { Field, NumberField, useId } from "../parts.js";
import { html, useEffect, useState } from "../preact.js";
import { Delay } from "./delay.js";
import { Outcomes } from "./outcomes.js";
import { Phases, withPhases } from "./phases.js";

const MAX_SEED = Number.MAX_SAFE_INTEGER;

/**
 * A form on a copy of the profile.
 * @param {object} props
 * @param {string} props.fleet
 * @param {ProfileData} props.profile
 * @param {(fleet: object) => void} props.onChange Gets the fleet with its new profile.
 */
export function Profile({ fleet, profile, onChange }) {
  const shown = withPhases(profile);
  const [draft, setDraft] = useState(shown);
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  const title = useId();
  useEffect(() => setDraft(shown), [JSON.stringify(profile)]);
  /** @param {Partial<ProfileData>} values */
  const change = (values) => setDraft({ ...draft, ...values });
  const saved = Object.fromEntries(
    Object.entries(shown).map(([name, value]) => [name, JSON.stringify(value)]),
  );
  const changes = Object.entries(draft).filter(
    ([name, value]) => JSON.stringify(value) !== saved[name],
  );
  const body = { profile: Object.fromEntries(changes) };
  return html`<section class="card profile" aria-labelledby=${title}>
    <h2 id=${title}>Profile</h2>
    <p class="lead">Applies to attempts that start from now on.</p>
    <${Outcomes}
      outcomes=${draft.outcomes}
      errors=${errors}
      onChange=${(/** @type {ProfileData["outcomes"]} */ outcomes) => change({ outcomes })}
    />
    <${Delay}
      delay=${draft.delay}
      errors=${errors}
      onChange=${(/** @type {ProfileData["delay"]} */ delay) => change({ delay })}
    />
    <div class="fields">
      <${NumberField}
        label="Seed"
        value=${draft.seed}
        error=${errors["profile.seed"]}
        onChange=${(/** @type {number | string} */ seed) => change({ seed })}
      />
      <${Field}
        as="select"
        label="A sync of a pending device"
        value=${draft.when_pending}
        onChange=${(/** @type {any} */ { target }) => change({ when_pending: target.value })}
      >
        <option value="join">joins the attempt</option>
        <option value="refuse">is refused</option>
      <//>
      <${NumberField}
        label="Pending at most"
        value=${draft.max_pending}
        error=${errors["profile.max_pending"]}
        onChange=${(/** @type {number | string} */ max) => change({ max_pending: max })}
      />
    </div>
    <${Phases} draft=${draft} errors=${errors} onChange=${change} />
    <p class="presets">
      <button
        type="button"
        class="small outline secondary"
        onClick=${() => change({ seed: randomSeed() })}
      >Draw another seed</button>
      <button
        type="button"
        class="small outline secondary"
        disabled=${!changes.length}
        onClick=${() => setDraft(shown)}
      >Undo all changes</button>
    </p>
    <${Action}
      label="Save the profile"
      disabled=${!changes.length || typeof draft.phases === "string"}
      request=${{ method: "PATCH", path: pathOf`/admin/fleets/${fleet}`, body }}
      onFields=${setErrors}
      onDone=${(/** @type {object} */ changed) => {
        onChange(changed);
        return "Saved.";
      }}
    />
  </section>`;
}

const randomSeed = () => Math.floor(Math.random() * MAX_SEED);
