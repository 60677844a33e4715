// What is around every page: where one is, which fleet, whether it is live, who is logged in.
import { html } from "/dashboard/preact.js";
import { DEFAULT_FLEET } from "../api.js";
import { connection, pause, resume, retryNow } from "../feed.js";
import { useCountdown, useId } from "../parts.js";
import { go, href } from "../route.js";
import { end } from "../session.js";
import { useStore } from "../store.js";

export function Header({ page, fleet, fleets, user, isAdmin }) {
  const link = (to, name, isHere) =>
    html`<li><a href=${href(to)} aria-current=${isHere ? "page" : undefined}>${name}</a></li>`;
  return html`<header class="top">
    <a class="brand" href=${href("/")}><img src="/dashboard/icon.svg" alt="" width="24" height="24" />PiSync</a>
    <nav aria-label="Pages">
      <ul>
        ${link("/", "Devices", page === "" || page === "device")}
        ${isAdmin && link("/admin", "Admin", page === "admin")}
        <li><a href="/docs">API</a></li>
      </ul>
    </nav>
    <${Fleet} fleet=${fleet} fleets=${fleets} page=${page} isAdmin=${isAdmin} />
    <${Connection} />
    <div class="who">
      <span class="muted">${user.name}</span>
      <button type="button" class="small outline secondary" onClick=${() => end()}>Log out</button>
    </div>
  </header>`;
}

function Fleet({ fleet, fleets, page, isAdmin }) {
  const id = useId();
  if (!isAdmin) return fleet === DEFAULT_FLEET ? null : html`<p class="fleet">Fleet <b>${fleet}</b></p>`;
  const names = new Set([fleet, ...(fleets.data ?? []).map((each) => each.name)]);
  return html`<p class="fleet">
    <label for=${id}>Fleet</label>
    <select id=${id} value=${fleet} onChange=${(event) => go(page === "admin" ? "/admin" : "/", { fleet: event.target.value })}>
      ${[...names].map((name) => html`<option value=${name} selected=${name === fleet}>${name}</option>`)}
    </select>
  </p>`;
}

const WORDS = { connecting: "Connecting…", live: "Live", paused: "Paused", refused: "No events" };

/** Whether the page shows what is; with a way to hold it still, and to try again at once. */
function Connection() {
  const state = useStore(connection);
  const paused = state.phase === "paused";
  return html`<div class="connection ${state.phase}">
    <p role="status"><i aria-hidden="true"></i>${WORDS[state.phase] ?? "Offline"}</p>
    <button type="button" class="small outline secondary" onClick=${paused ? resume : pause}>
      ${paused ? "Resume" : "Pause"}
    </button>
  </div>`;
}

/** Over the page while the server is away. */
export function Offline() {
  const state = useStore(connection);
  const left = useCountdown(state.until);
  // That there is no such fleet, or that the token does not open it, the page itself says.
  if (state.phase === "refused" && [403, 404].includes(state.status)) return null;
  if (state.phase === "refused") return html`<p class="banner bad" role="alert">${state.why}</p>`;
  return html`<div class="banner-place" role="status">
    ${state.phase === "retrying" &&
    html`<p class="banner">
      <span><b>The server can't be reached.</b> What you see may be out of date.${" "}
        <span aria-hidden="true">${left > 0 ? `Next try in ${left} s.` : "Trying…"}</span></span>
      <button type="button" class="small" onClick=${retryNow}>Try now</button>
    </p>`}
  </div>`;
}

export function NoFleet({ error }) {
  return html`<div class="failure" role="alert">
    <p>${error.message}</p>
    <a href=${href("/", { fleet: DEFAULT_FLEET })}>To the default fleet</a>
  </div>`;
}
