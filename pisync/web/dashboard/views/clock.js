// How a fleet's time runs: speed, hold, advance, settle; and back to the first state.
import { html, useState } from "/dashboard/preact.js";
import { Action } from "../action.js";
import { NumberField, number, useId } from "../parts.js";
import { useStore } from "../store.js";
import { exact, fleetNow, setClock, span, tick } from "../time.js";

const SPEEDS = [1, 10, 60, 3600];
const STEPS = { "1 s": 1, "1 min": 60, "1 h": 3600, "1 day": 86_400 };

export function Clock({ fleet, clock, reload }) {
  const [speed, setSpeed] = useState(clock.speed || 1);
  const [seconds, setSeconds] = useState(60);
  const [wrong, setWrong] = useState({});
  const title = useId();
  const path = `/admin/fleets/${fleet}`;
  const isHeld = clock.mode === "manual";
  const turned = (said) => (data) => {
    if (data?.speed !== undefined) setClock(data);
    reload();
    return said(data);
  };
  const moved = turned((data) => `${number(data.finished)} finished.`);
  return html`<section class="card clock" aria-labelledby=${title}>
    <h2 id=${title}>Clock</h2>
    <p class="now">
      <${Now} />
      <span class="muted">${isHeld ? "held" : `running at ${number(clock.speed)}×`}</span>
    </p>
    <div class="controls">
      <div>
        <h3>Run</h3>
        <p class="presets">
          ${SPEEDS.map((each) => html`<button type="button" class="chip" aria-pressed=${speed === each} onClick=${() => setSpeed(each)}>${number(each)}×</button>`)}
        </p>
        <${NumberField} label="Speed" hint="Fleet seconds a second, up to 100,000." value=${speed} error=${wrong.speed} onChange=${setSpeed} />
        <${Action}
          label="Run at this speed"
          request=${{ method: "PUT", path: `${path}/clock`, body: { mode: "real", speed } }}
          onFields=${setWrong}
          onDone=${turned(() => "It runs.")}
        />
        <${Action}
          label="Hold"
          tone="outline"
          request=${{ method: "PUT", path: `${path}/clock`, body: { mode: "manual" } }}
          onDone=${turned(() => "Held.")}
        />
      </div>
      <div>
        <h3>Move</h3>
        <p class="presets">
          ${Object.entries(STEPS).map(([name, each]) => html`<button type="button" class="chip" aria-pressed=${seconds === each} onClick=${() => setSeconds(each)}>${name}</button>`)}
        </p>
        <${NumberField} label="Seconds" hint=${isHeld ? advanceHint(seconds) : "A running clock can't be advanced: hold it first."} value=${seconds} error=${wrong.seconds} onChange=${setSeconds} />
        <${Action}
          label="Advance"
          disabled=${!isHeld}
          request=${{ method: "POST", path: `${path}/advance`, body: { seconds } }}
          onFields=${setWrong}
          onDone=${moved}
        />
        <${Action} label="Settle all pending" tone="outline" request=${{ method: "POST", path: `${path}/settle` }} onDone=${moved} />
      </div>
    </div>
    <h3>Reset</h3>
    <${Action}
      label="Reset the fleet"
      tone="outline danger"
      request=${{ method: "POST", path: `${path}/reset` }}
      confirm=${{
        title: `Reset fleet ${fleet}?`,
        text: "Devices, history, error logs, ledger, scripts and clock go back to their first state. Pending syncs are gone. The profile stays.",
        yes: "Reset",
      }}
      onDone=${turned(() => "Back to its first state.")}
    />
  </section>`;
}

function Now() {
  useStore(tick);
  const now = exact(new Date(fleetNow()).toISOString()).replace(/\.\d+/, "");
  return html`<b role="timer" aria-label="Fleet time">${now}</b>`;
}

const advanceHint = (seconds) => (seconds > 0 ? `That is ${span(seconds)}.` : "");
