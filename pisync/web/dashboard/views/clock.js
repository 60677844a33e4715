// How a fleet's time runs: speed, hold, auto, advance, settle; and the way back to the first state.
/** @import { Clock as ClockData, FieldErrors } from "../types.js" */
import { Action } from "../action.js";
import { pathOf } from "../api.js";
import { NumberField, number, useId } from "../parts.js";
import { html, useState } from "../preact.js";
import { useStore } from "../store.js";
import { exact, fleetNow, setClock, span, tick } from "../time.js";

const SPEEDS = { "1×": 1, "10×": 10, "60×": 60, "3,600×": 3600 };
const STEPS = { "1 s": 1, "1 min": 60, "1 h": 3600, "1 day": 86_400 };

/**
 * @param {object} props
 * @param {string} props.fleet
 * @param {ClockData} props.clock
 * @param {() => void} props.reload
 */
export function Clock({ fleet, clock, reload }) {
  const [speed, setSpeed] = useState(clock.speed || 1);
  const [seconds, setSeconds] = useState(60);
  const [errors, setErrors] = useState(/** @type {FieldErrors} */ ({}));
  const title = useId();
  const path = pathOf`/admin/fleets/${fleet}`;
  const isHeld = clock.mode !== "real";
  /** @param {(data: any) => string} message */
  const then = (message) => (/** @type {any} */ data) => {
    if (data?.speed !== undefined) setClock(data);
    reload();
    return message(data);
  };
  const afterMove = then(({ finished }) => `${number(finished)} finished.`);
  return html`<section class="card clock" aria-labelledby=${title}>
    <h2 id=${title}>Clock</h2>
    <p class="now">
      <${Now} />
      <span class="muted">${modeOf(clock)}</span>
    </p>
    <div class="controls">
      <div>
        <h3>Run</h3>
        <${Presets} values=${SPEEDS} chosen=${speed} onChoose=${setSpeed} />
        <${NumberField}
          label="Speed"
          hint="Fleet seconds a second, up to 100,000."
          value=${speed}
          error=${errors.speed}
          onChange=${setSpeed}
        />
        <${Action}
          label="Run at this speed"
          request=${{ method: "PUT", path: `${path}/clock`, body: { mode: "real", speed } }}
          onFields=${setErrors}
          onDone=${then(() => "It runs.")}
        />
        <${Action}
          label="Hold"
          tone="outline"
          request=${{ method: "PUT", path: `${path}/clock`, body: { mode: "manual" } }}
          onDone=${then(() => "Held.")}
        />
        <${Action}
          label="Move by reads"
          tone="outline"
          request=${{ method: "PUT", path: `${path}/clock`, body: { mode: "auto" } }}
          onDone=${then(() => "It moves by reads.")}
        />
        <small class="muted">
          By reads: when someone reads a pending sync, time moves on to the next due time. This page
          reads, too.
        </small>
      </div>
      <div>
        <h3>Move</h3>
        <${Presets} values=${STEPS} chosen=${seconds} onChoose=${setSeconds} />
        <${NumberField}
          label="Seconds"
          hint=${isHeld ? advanceHint(seconds) : "To advance the clock, hold it first."}
          value=${seconds}
          error=${errors.seconds}
          onChange=${setSeconds}
        />
        <${Action}
          label="Advance"
          disabled=${!isHeld}
          request=${{ method: "POST", path: `${path}/advance`, body: { seconds } }}
          onFields=${setErrors}
          onDone=${afterMove}
        />
        <${Action}
          label="Settle all pending"
          tone="outline"
          request=${{ method: "POST", path: `${path}/settle` }}
          onDone=${afterMove}
        />
      </div>
    </div>
    <h3>Reset</h3>
    <${Action}
      label="Reset the fleet"
      tone="outline danger"
      request=${{ method: "POST", path: `${path}/reset` }}
      confirm=${{
        title: `Reset fleet ${fleet}?`,
        text:
          "Devices, history, error logs, ledger, scripts and clock return to their first state. " +
          "Pending syncs are dropped. The profile stays.",
        yes: "Reset",
      }}
      onDone=${then(() => "Back to its first state.")}
    />
  </section>`;
}

/** @param {{ values: Record<string, number>, chosen: number, onChoose: (value: number) => void }} props */
function Presets({ values, chosen, onChoose }) {
  return html`<p class="presets">
    ${Object.entries(values).map(
      ([name, value]) => html`<button
        type="button"
        class="chip"
        aria-pressed=${chosen === value}
        onClick=${() => onChoose(value)}
      >${name}</button>`,
    )}
  </p>`;
}

function Now() {
  useStore(tick);
  const now = exact(new Date(fleetNow()).toISOString()).replace(/\.\d+/, "");
  return html`<b role="timer" aria-label="Fleet time">${now}</b>`;
}

/** @param {ClockData} clock */
function modeOf({ mode, speed }) {
  if (mode === "real") return `running at ${number(speed)}×`;
  return mode === "auto" ? "auto: moved by reads" : "held";
}

/** @param {number} seconds */
const advanceHint = (seconds) => (seconds > 0 ? `That is ${span(seconds)}.` : "");
