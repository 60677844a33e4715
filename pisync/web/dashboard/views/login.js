// Register, log in, or use a token.
/** @import { ApiError } from "../api.js" */
import { call, pathOf, urlOf } from "../api.js";
import { BusyButton, Field, useCountdown } from "../parts.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { begin, endReason } from "../session.js";
import { useStore } from "../store.js";

const WAYS = { login: "Log in", register: "Register", token: "Use a token" };

/** @typedef {keyof typeof WAYS} Way */

/**
 * @typedef {object} Problem
 * @property {Record<string, string | string[]>} fields
 * @property {string} message
 * @property {number} [until] When the next try may be, in ms of this machine's clock.
 */

export function Login() {
  const [way, setWay] = useState(/** @type {Way} */ ("login"));
  const reason = useStore(endReason);
  const icon = urlOf("/dashboard/icon.svg");
  return html`<main class="login">
    <h1><img src=${icon} alt="" width="36" height="36" />PiSync</h1>
    <p class="muted">A device-sync backend to test against.</p>
    ${reason && html`<p class="failure" role="alert">${reason}</p>`}
    <section class="card">
      <fieldset class="ways">
        <legend class="unseen">How to log in</legend>
        ${Object.entries(WAYS).map(
          ([key, name]) => html`<button
            type="button"
            aria-pressed=${key === way}
            onClick=${() => setWay(/** @type {Way} */ (key))}
          >${name}</button>`,
        )}
      </fieldset>
      ${way === "token" ? html`<${WithToken} />` : html`<${Credentials} key=${way} way=${way} />`}
    </section>
    <p class="muted small-print"><a href=${urlOf("/docs")}>All calls</a>, to read and to try.</p>
  </main>`;
}

/** @param {{ way: "login" | "register" }} props */
function Credentials({ way }) {
  const [credentials, setCredentials] = useState({ username: "", password: "" });
  const [problem, setProblem] = useState(/** @type {Problem} */ ({ fields: {}, message: "" }));
  const [busy, setBusy] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const wait = useCountdown(problem.until);
  const isNew = way === "register";

  useEffect(() => {
    const invalid = form.current?.querySelector("[aria-invalid]");
    if (invalid instanceof HTMLElement) invalid.focus();
  }, [problem]);

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      const { data } = await call({ method: "POST", path: pathOf`/${way}`, body: credentials });
      begin(data.token, { isNew: true });
    } catch (failure) {
      setBusy(false);
      setProblem(byField(/** @type {ApiError} */ (failure)));
    }
  }

  /** @param {keyof typeof credentials} name */
  const input = (name) => ({
    name,
    required: true,
    value: credentials[name],
    error: problem.fields[name],
    onInput: (/** @type {any} */ { target }) =>
      setCredentials({ ...credentials, [name]: target.value }),
  });
  return html`<form ref=${form} onSubmit=${submit} novalidate>
    <${Field}
      label="User name"
      autocomplete="username"
      autocapitalize="none"
      spellcheck=${false}
      hint=${isNew && "3 to 64 letters, digits, dots, dashes or underscores."}
      ...${input("username")}
    />
    <${Field}
      label="Password"
      type="password"
      autocomplete=${isNew ? "new-password" : "current-password"}
      hint=${isNew && "8 characters or more."}
      ...${input("password")}
    />
    <p class="error form-error" role="alert">
      ${problem.message}${wait > 0 && ` Try again in ${wait} s.`}
    </p>
    <${BusyButton} type="submit" busy=${busy || wait > 0}>
      ${busy ? "One moment…" : WAYS[way]}
    <//>
  </form>`;
}

/**
 * Place an error at the field that it is about, if it is about one.
 * @param {ApiError} error
 * @returns {Problem}
 */
function byField(error) {
  if (error.status === 409) return { fields: { username: error.message }, message: "" };
  const fields = error.fields ?? {};
  const message = Object.keys(fields).length ? "" : error.message;
  return { fields, message, until: Date.now() + (error.retryAfter ?? 0) * 1000 };
}

function WithToken() {
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    try {
      begin(token.trim().replace(/^Bearer\s+/i, ""));
    } catch (failure) {
      setError(/** @type {Error} */ (failure).message);
    }
  }
  return html`<form onSubmit=${submit} novalidate>
    <${Field}
      label="Token"
      as="textarea"
      rows="5"
      class="mono"
      spellcheck=${false}
      autocomplete="off"
      hint="As made by: pisync token --name NAME --scope devices --scope admin"
      value=${token}
      error=${error}
      onInput=${(/** @type {any} */ { target }) => setToken(target.value)}
    />
    <button type="submit">Log in</button>
  </form>`;
}
