// When failures come: in runs, and in phases of the fleet's time.
/** @import { FieldErrors, Phase, Profile } from "../types.js" */
import { NumberField } from "../parts.js";
import { html, useEffect, useState } from "../preact.js";
import { span } from "../time.js";
import { errorsIn, formatted, JsonList, parsed } from "./json_list.js";

const EXAMPLES = {
  "An outage of a minute": [
    {
      from: 60,
      until: 120,
      outcomes: [{ sync_status_code: 500, error_message: "Connection Timeout", weight: 1 }],
    },
  ],
  "Slow for an hour": [
    { from: 3600, until: 7200, delay: { distribution: "uniform", min: 20, max: 60 } },
  ],
  None: [],
};

/**
 * @param {object} props
 * @param {Profile} props.draft
 * @param {FieldErrors} props.errors
 * @param {(values: Partial<Profile>) => void} props.onChange
 */
export function Phases({ draft, errors, onChange }) {
  const { phases = [] } = draft;
  const isText = typeof phases === "string";
  const [text, setText] = useState(() => (isText ? phases : formatted(phases)));
  useEffect(() => {
    if (isText) return;
    const { list, error } = parsed(text);
    // If something else has changed them.
    if (error || JSON.stringify(list) !== JSON.stringify(phases)) setText(formatted(phases));
  }, [JSON.stringify(phases)]);
  /** @param {string} next */
  function edit(next) {
    setText(next);
    const { list, error } = parsed(next);
    onChange({ phases: error ? next : list });
  }
  return html`<fieldset>
    <legend>Runs and phases</legend>
    <div class="fields">
      <${NumberField}
        label="Attempts in a run, on average"
        hint="1: each is independent of the one before."
        value=${draft.spells?.mean_length ?? 1}
        error=${errors["profile.spells.mean_length"]}
        onChange=${(/** @type {number | string} */ length) =>
          onChange({ spells: { mean_length: length } })}
      />
      <${NumberField}
        label="Phases repeat after, s"
        hint="Empty: never."
        value=${draft.repeat_every ?? ""}
        error=${errors["profile.repeat_every"]}
        onChange=${(/** @type {number | string} */ every) =>
          onChange({ repeat_every: every === "" ? null : every })}
      />
    </div>
    <${JsonList}
      label="Phases, as JSON"
      hint="Seconds of fleet time since the fleet was made or reset."
      text=${text}
      examples=${EXAMPLES}
      error=${errorsIn(errors, "profile.phases")}
      onChange=${edit}
    />
    ${!isText && phases.length > 0 && html`<${Summary} phases=${phases} />`}
  </fieldset>`;
}

/** @param {{ phases: Phase[] }} props */
function Summary({ phases }) {
  return html`<ol class="phases small-print muted">
    ${phases.map((phase, place) => html`<li key=${place}>${described(phase)}</li>`)}
  </ol>`;
}

/** @param {Phase} phase One that is being edited may lack anything. */
function described(phase) {
  const { from, until, outcomes, delay } = phase ?? {};
  const changes = [outcomes && "other outcomes", delay && "other delays"].filter(Boolean);
  const times = [from, until].map((seconds) =>
    typeof seconds === "number" && seconds >= 0 ? span(seconds) : "?",
  );
  return `From ${times[0]} until ${times[1]}: ${changes.join(" and ") || "nothing changes"}.`;
}

/**
 * Return a profile with the members that it shows only where they are used.
 * @param {Profile} profile
 * @returns {Profile}
 */
export const withPhases = (profile) => ({
  ...profile,
  spells: profile.spells ?? { mean_length: 1 },
  phases: profile.phases ?? [],
  repeat_every: profile.repeat_every ?? null,
});
