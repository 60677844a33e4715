// Small parts that all views are made of.
import { html, useEffect, useRef, useState } from "/dashboard/preact.js";
import { curl } from "./api.js";
import { ago, exact, tick } from "./time.js";

const counts = new Intl.NumberFormat("en");
export const number = (value) => counts.format(value);

let ids = 0;
/** Return an id that no other element of the page has. */
export function useId() {
  const id = useRef("");
  id.current ||= `i${(ids += 1)}`;
  return id.current;
}

// Escape puts the exact times away, if they are in the way of something else.
const putAway = (yes) => document.body.classList.toggle("put-away", yes);
addEventListener("keydown", ({ key }) => key === "Escape" && putAway(true));
for (const moved of ["pointerover", "focusin"]) addEventListener(moved, () => putAway(false));

/** How long ago; the exact time shows on hover, and when its row has the focus. */
export function When({ at, never = "never" }) {
  const [, setText] = useState("");
  useEffect(() => {
    // Every second for every time that is shown: only what reads differently is rendered again.
    const look = () => setText(at && ago(at));
    look();
    return tick.watch(look);
  }, [at]);
  if (!at) return html`<span class="muted">${never}</span>`;
  return html`<time class="when" datetime=${at}>
    <span class="ago">${ago(at)}</span><span class="exact">${exact(at)}</span>
  </time>`;
}

/** A labelled input with a hint, and with what is wrong with it. Other properties are the input's. */
export function Field({ label, hint, error, as = "input", children, class: kind = "", ...input }) {
  const id = useId();
  const notes = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return html`<div class="field ${kind}">
    <label for=${id}>${label}</label>
    <${as}
      id=${id}
      aria-describedby=${notes || undefined}
      aria-invalid=${error ? "true" : undefined}
      ...${input}
    >${children}<//>
    ${hint && html`<small id="${id}-hint">${hint}</small>`}
    ${error && html`<small id="${id}-error" class="error">${[error].flat().join(" ")}</small>`}
  </div>`;
}

/** A Field for a number: `onChange` gets it. What is none it gets as text, for the server to judge. */
export function NumberField({ value, onChange, ...field }) {
  const [text, setText] = useState(String(value));
  useEffect(() => {
    if (numeric(text) !== value) setText(String(value)); // it was changed from elsewhere
  }, [value]);
  const typed = (event) => {
    setText(event.target.value);
    onChange(numeric(event.target.value));
  };
  return html`<${Field} inputmode="decimal" autocomplete="off" ...${field} value=${text} onInput=${typed} />`;
}

/** Return a text as a number, or as it is if it is none. */
export function numeric(text) {
  const trimmed = text.trim();
  return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

/** Return how many seconds are left until a time (ms of this machine's clock), and count them down. */
export function useCountdown(until = 0) {
  const [, redraw] = useState(0);
  const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  useEffect(() => {
    const timer = left > 0 && setTimeout(() => redraw((old) => old + 1), 500);
    return () => clearTimeout(timer);
  });
  return left;
}

/** A button that is busy while what it does is under way. It keeps the focus then. */
export function Doing({ busy, onClick, children, ...button }) {
  return html`<button
    type="button"
    ...${button}
    aria-disabled=${busy ? "true" : undefined}
    onClick=${(event) => !busy && onClick?.(event)}
  >${children}</button>`;
}

/** Why something could not be shown, and another try. */
export function Failure({ error, retry }) {
  return html`<div class="failure" role="alert">
    <p>${error.message}</p>
    ${retry && html`<button type="button" class="small outline" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** The call that something makes, to copy as curl. */
export function Curl({ request, label = "As curl" }) {
  const command = curl(request);
  const [copied, setCopied] = useState(false);
  const text = useRef(null);
  useEffect(() => setCopied(false), [command]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      setCopied(true);
    } catch {
      getSelection().selectAllChildren(text.current); // no clipboard without https: Ctrl+C then
    }
  };
  return html`<details class="curl">
    <summary>${label} <code>${request.method ?? "GET"} ${request.path.split("?")[0]}</code></summary>
    <div>
      <pre tabindex="0" aria-label="The call as a curl command"><code ref=${text}>${command}</code></pre>
      <button type="button" class="small outline secondary" onClick=${copy}>
        ${copied ? "Copied" : "Copy"}
      </button>
    </div>
  </details>`;
}

/** A question before something that can't be undone. */
export function Confirm({ title, children, yes, onYes, onNo }) {
  const dialog = useRef(null);
  const answered = useRef(onNo); // Escape closes it too
  const id = useId();
  useEffect(() => dialog.current.showModal(), []);
  const answer = (then) => () => {
    answered.current = then;
    dialog.current.close();
  };
  return html`<dialog ref=${dialog} aria-labelledby=${id} onClose=${() => answered.current()}>
    <article>
      <h2 id=${id}>${title}</h2>
      ${children}
      <footer>
        <button type="button" class="secondary outline" onClick=${answer(onNo)}>Cancel</button>
        <button type="button" class="danger" onClick=${answer(onYes)}>${yes}</button>
      </footer>
    </article>
  </dialog>`;
}
