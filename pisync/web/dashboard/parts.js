// Small parts that all views are made of.
/** @import { Request } from "./types.js" */
import { curl } from "./api.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { ago, exact, tick } from "./time.js";

const counts = new Intl.NumberFormat("en");

/** @param {number} value */
export const number = (value) => counts.format(value);

let ids = 0;
/** Return an id that no other element of the page has. */
export function useId() {
  const id = useRef("");
  id.current ||= `i${(ids += 1)}`;
  return id.current;
}

// Escape hides the exact times, in case they cover something, until the pointer or the focus moves.
/** @param {boolean} isHidden */
const hideExactTimes = (isHidden) => document.body.classList.toggle("put-away", isHidden);
addEventListener("keydown", ({ key }) => key === "Escape" && hideExactTimes(true));
for (const type of ["pointerover", "focusin"]) addEventListener(type, () => hideExactTimes(false));

/**
 * How long ago something was; the exact time shows on hover, and when its row has the focus.
 * @param {{ at: string | null }} props
 */
export function When({ at }) {
  const [, setText] = useState(/** @type {string | null} */ (""));
  useEffect(() => {
    // Once a second for every time that is shown: only a text that changes is rendered again.
    const update = () => setText(at && ago(at));
    update();
    return tick.watch(update);
  }, [at]);
  if (!at) return html`<span class="muted">never</span>`;
  return html`<time class="when" datetime=${at}>
    <span class="ago">${ago(at)}</span><span class="exact">${exact(at)}</span>
  </time>`;
}

/**
 * A labelled input, with a hint and an error. Other properties are the input's.
 * @param {Record<string, any>} props
 */
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

/**
 * A Field for a number. Text that is not a number is passed on as it is, for the server to refuse.
 * @param {Record<string, any>} props
 */
export function NumberField({ value, onChange, ...field }) {
  const [text, setText] = useState(String(value));
  useEffect(() => {
    if (numeric(text) !== value) setText(String(value)); // something else has changed it
  }, [value]);
  /** @param {InputEvent & { target: HTMLInputElement }} event */
  const onInput = ({ target }) => {
    setText(target.value);
    onChange(numeric(target.value));
  };
  return html`<${Field}
    inputmode="decimal"
    autocomplete="off"
    ...${field}
    value=${text}
    onInput=${onInput}
  />`;
}

/**
 * Return a text as a number, or as it is if it is none.
 * @param {string} text
 */
export function numeric(text) {
  const trimmed = text.trim();
  return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

/** Return the seconds until a time (in ms of this machine's clock), counting down. */
export function useCountdown(until = 0) {
  const [, redraw] = useState(0);
  const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  useEffect(() => {
    if (left <= 0) return undefined;
    const timer = setTimeout(() => redraw((old) => old + 1), 500);
    return () => clearTimeout(timer);
  });
  return left;
}

/**
 * A button that does nothing while it is busy, and keeps the focus then.
 * @param {Record<string, any>} props
 */
export function BusyButton({ busy, onClick, children, ...button }) {
  return html`<button
    type="button"
    ...${button}
    aria-disabled=${busy ? "true" : undefined}
    onClick=${(/** @type {MouseEvent} */ event) => !busy && onClick?.(event)}
  >${children}</button>`;
}

/**
 * Why something could not be shown, with a button to try again.
 * @param {{ error: { message: string }, retry?: (() => void) | false }} props
 */
export function Failure({ error, retry }) {
  return html`<div class="failure" role="alert">
    <p>${error.message}</p>
    ${retry && html`<button type="button" class="small outline" onClick=${retry}>Try again</button>`}
  </div>`;
}

/**
 * A call, to copy as a curl command.
 * @param {{ request: Request, label?: string }} props
 */
export function Curl({ request, label = "As curl" }) {
  const command = curl(request);
  const [isCopied, setCopied] = useState(false);
  const text = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => setCopied(false), [command]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      setCopied(true);
    } catch {
      // There is no clipboard without HTTPS: select the text, for Ctrl+C.
      if (text.current) getSelection()?.selectAllChildren(text.current);
    }
  };
  return html`<details class="curl">
    <summary>${label} <code>${request.method ?? "GET"} ${request.path.split("?")[0]}</code></summary>
    <div>
      <pre tabindex="0" aria-label="The call as a curl command"><code ref=${text}>${command}</code></pre>
      <button type="button" class="small outline secondary" onClick=${copy}>
        ${isCopied ? "Copied" : "Copy"}
      </button>
    </div>
  </details>`;
}

/**
 * A question before something that cannot be undone.
 * @param {object} props
 * @param {string} props.title
 * @param {unknown} [props.children]
 * @param {string} props.yes
 * @param {() => void} props.onYes
 * @param {() => void} props.onNo
 */
export function Confirm({ title, children, yes, onYes, onNo }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const onClose = useRef(onNo); // Escape closes it too
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  /** @param {() => void} answer */
  const close = (answer) => () => {
    onClose.current = answer;
    dialog.current?.close();
  };
  return html`<dialog ref=${dialog} aria-labelledby=${id} onClose=${() => onClose.current()}>
    <article>
      <h2 id=${id}>${title}</h2>
      ${children}
      <footer>
        <button type="button" class="secondary outline" onClick=${close(onNo)}>Cancel</button>
        <button type="button" class="danger" onClick=${close(onYes)}>${yes}</button>
      </footer>
    </article>
  </dialog>`;
}
