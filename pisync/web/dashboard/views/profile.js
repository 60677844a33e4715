// A fleet's profile: what attempts come to, how long they take, from which seed.
import { html, useEffect, useState } from "/dashboard/preact.js";
import { Action } from "../action.js";
import { Field, NumberField, useId } from "../parts.js";
import { Delay } from "./delay.js";
import { Outcomes } from "./outcomes.js";

const LARGEST_SEED = Number.MAX_SAFE_INTEGER;

/** Edits a copy; `changed(fleet)` gets the fleet with its new profile. */
export function Profile({ fleet, profile, changed }) {
  const [draft, setDraft] = useState(profile);
  const [wrong, setWrong] = useState({});
  const title = useId();
  useEffect(() => setDraft(profile), [JSON.stringify(profile)]);
  const turn = (change) => setDraft({ ...draft, ...change });
  const different = Object.fromEntries(
    Object.entries(draft).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(profile[name])),
  );
  const isDifferent = Object.keys(different).length > 0;
  return html`<section class="card profile" aria-labelledby=${title}>
    <h2 id=${title}>Profile</h2>
    <p class="lead">For attempts that start from now on.</p>
    <${Outcomes} outcomes=${draft.outcomes} wrong=${wrong} onChange=${(outcomes) => turn({ outcomes })} />
    <${Delay} delay=${draft.delay} wrong=${wrong} onChange=${(delay) => turn({ delay })} />
    <div class="fields">
      <${NumberField}
        label="Seed"
        value=${draft.seed}
        error=${wrong["profile.seed"]}
        onChange=${(seed) => turn({ seed })}
      />
      <${Field} as="select" label="A sync of a pending device" value=${draft.when_pending} onChange=${(event) => turn({ when_pending: event.target.value })}>
        <option value="join">joins the attempt</option>
        <option value="refuse">is refused</option>
      <//>
      <${NumberField}
        label="Pending at most"
        value=${draft.max_pending}
        error=${wrong["profile.max_pending"]}
        onChange=${(most) => turn({ max_pending: most })}
      />
    </div>
    <p class="presets">
      <button type="button" class="small outline secondary" onClick=${() => turn({ seed: drawSeed() })}>Draw another seed</button>
      <button type="button" class="small outline secondary" disabled=${!isDifferent} onClick=${() => setDraft(profile)}>Undo all changes</button>
    </p>
    <${Action}
      label="Save the profile"
      disabled=${!isDifferent}
      request=${{ method: "PATCH", path: `/admin/fleets/${fleet}`, body: { profile: different } }}
      onFields=${setWrong}
      onDone=${(data) => {
        changed(data);
        return "Saved.";
      }}
    />
  </section>`;
}

const drawSeed = () => Math.floor(Math.random() * LARGEST_SEED);
