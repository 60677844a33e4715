// What is around every page: the pages, the fleet, the connection, and who is logged in.
/** @import { Connection as ConnectionState, Fleet as FleetState, Reading, Session } from "../types.js" */
import { DEFAULT_FLEET, urlOf } from "../api.js";
import { connection, pause, resume, retryNow } from "../feed.js";
import { useCountdown, useId } from "../parts.js";
import { html } from "../preact.js";
import { go, href } from "../route.js";
import { end } from "../session.js";
import { useStore } from "../store.js";

/**
 * @param {object} props
 * @param {string} props.page
 * @param {string} props.fleet
 * @param {Reading<FleetState[]>} [props.fleets] For admins.
 * @param {Session} props.user
 */
export function Header({ page, fleet, fleets, user }) {
  /**
   * @param {string} path
   * @param {string} name
   * @param {boolean} isCurrent
   */
  const link = (path, name, isCurrent) =>
    html`<li>
      <a href=${href(path)} aria-current=${isCurrent ? "page" : undefined}>${name}</a>
    </li>`;
  return html`<header class="top">
    <a class="brand" href=${href("/")}>
      <img src=${urlOf("/dashboard/icon.svg")} alt="" width="24" height="24" />PiSync
    </a>
    <nav aria-label="Pages">
      <ul>
        ${link("/", "Devices", page === "" || page === "device")}
        ${fleets && link("/admin", "Admin", page === "admin")}
        <li><a href=${urlOf("/docs")}>API</a></li>
      </ul>
    </nav>
    <${FleetName} fleet=${fleet} fleets=${fleets} page=${page} />
    <${Connection} />
    <div class="who">
      <span class="muted">${user.name}</span>
      <button type="button" class="small outline secondary" onClick=${() => end()}>Log out</button>
    </div>
  </header>`;
}

/**
 * Which fleet this is; admins can choose another.
 * @param {{ fleet: string, fleets?: Reading<FleetState[]>, page: string }} props
 */
function FleetName({ fleet, fleets, page }) {
  const id = useId();
  if (!fleets) {
    return fleet === DEFAULT_FLEET ? null : html`<p class="fleet">Fleet <b>${fleet}</b></p>`;
  }
  const names = new Set([fleet, ...(fleets.data ?? []).map(({ name }) => name)]);
  return html`<p class="fleet">
    <label for=${id}>Fleet</label>
    <select
      id=${id}
      value=${fleet}
      onChange=${(/** @type {any} */ { target }) =>
        go(page === "admin" ? "/admin" : "/", { fleet: target.value })}
    >
      ${[...names].map(
        (name) => html`<option value=${name} selected=${name === fleet}>${name}</option>`,
      )}
    </select>
  </p>`;
}

/** @type {Record<ConnectionState["phase"], string>} */
const PHASES = {
  connecting: "Connecting…",
  live: "Live",
  retrying: "Offline",
  paused: "Paused",
  refused: "No events",
};

/** Whether the page is up to date, with a button to freeze it. */
function Connection() {
  const { phase } = useStore(connection);
  const isPaused = phase === "paused";
  return html`<div class="connection ${phase}">
    <p role="status"><i aria-hidden="true"></i>${PHASES[phase]}</p>
    <button type="button" class="small outline secondary" onClick=${isPaused ? resume : pause}>
      ${isPaused ? "Resume" : "Pause"}
    </button>
  </div>`;
}

/** A banner while the server cannot be reached. */
export function Offline() {
  const state = useStore(connection);
  const left = useCountdown(state.until);
  if (state.phase === "refused") {
    // For these two, the page itself says that the fleet is missing or the token lacks the scope.
    if (state.status === 403 || state.status === 404) return null;
    return html`<p class="banner bad" role="alert">${state.reason}</p>`;
  }
  return html`<div class="banner-place" role="status">
    ${state.phase === "retrying" &&
    html`<p class="banner">
      <span>
        <b>The server can't be reached.</b> What you see may be out of date.${" "}
        <span aria-hidden="true">${left > 0 ? `Next try in ${left} s.` : "Trying…"}</span>
      </span>
      <button type="button" class="small" onClick=${retryNow}>Try now</button>
    </p>`}
  </div>`;
}

/** In place of every page: the address names no fleet, and nothing is asked for. */
export function BadAddress() {
  return html`<main class="login">
    <h1>PiSync</h1>
    <${NoFleet} message="The address names a fleet that cannot exist." />
  </main>`;
}

/** @param {{ message: string }} props */
export function NoFleet({ message }) {
  return html`<div class="failure" role="alert">
    <p>${message}</p>
    <a href=${href("/", { fleet: DEFAULT_FLEET })}>To the default fleet</a>
  </div>`;
}
