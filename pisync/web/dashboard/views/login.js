// Register, log in, or come with a token.
import { html, useEffect, useRef, useState } from "/dashboard/preact.js";
import { call } from "../api.js";
import { Doing, Field, useCountdown } from "../parts.js";
import { begin, farewell } from "../session.js";
import { useStore } from "../store.js";

const WAYS = { login: "Log in", register: "Register", token: "Use a token" };

export function Login() {
  const [way, setWay] = useState("login");
  const why = useStore(farewell);
  return html`<main class="login">
    <h1><img src="/dashboard/icon.svg" alt="" width="36" height="36" />PiSync</h1>
    <p class="muted">A device-sync backend to test against.</p>
    ${why && html`<p class="failure" role="alert">${why}</p>`}
    <section class="card">
      <fieldset class="ways">
        <legend class="unseen">How to begin</legend>
        ${Object.entries(WAYS).map(
          ([each, name]) => html`<button
            type="button"
            aria-pressed=${each === way}
            onClick=${() => setWay(each)}
          >${name}</button>`,
        )}
      </fieldset>
      ${way === "token" ? html`<${WithToken} />` : html`<${Credentials} key=${way} way=${way} />`}
    </section>
    <p class="muted small-print"><a href="/docs">All calls</a>, to read and to try.</p>
  </main>`;
}

function Credentials({ way }) {
  const [credentials, setCredentials] = useState({ username: "", password: "" });
  const [problem, setProblem] = useState({ fields: {}, message: "" });
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const wait = useCountdown(problem.until);
  const isNew = way === "register";

  useEffect(() => {
    form.current?.querySelector("[aria-invalid]")?.focus();
  }, [problem]);

  async function submit(event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      const { data } = await call({ method: "POST", path: `/${way}`, body: credentials });
      begin(data.token, { isNew: true });
    } catch (error) {
      setBusy(false);
      setProblem(placed(error));
    }
  }

  const input = (name) => ({
    name,
    required: true,
    value: credentials[name],
    error: problem.fields[name],
    onInput: (event) => setCredentials({ ...credentials, [name]: event.target.value }),
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
    <${Doing} type="submit" busy=${busy || wait > 0}>
      ${busy ? "One moment…" : WAYS[way]}
    <//>
  </form>`;
}

// What is wrong belongs to the field that it is about, if it is about one.
function placed(error) {
  if (error.status === 409) return { fields: { username: error.message }, message: "" };
  const fields = error.fields ?? {};
  const message = Object.keys(fields).length ? "" : error.message;
  return { fields, message, until: Date.now() + (error.retryAfter ?? 0) * 1000 };
}

function WithToken() {
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  function submit(event) {
    event.preventDefault();
    try {
      begin(token.trim().replace(/^Bearer\s+/i, ""));
    } catch (refused) {
      setError(refused.message);
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
      onInput=${(event) => setToken(event.target.value)}
    />
    <button type="submit">Log in</button>
  </form>`;
}
