// The dashboard: whoever is logged in sees the fleet that the address names.
/** @import { Fleet as FleetState, Ledger, Reading, Session, Stats } from "./types.js" */
import { pathOf } from "./api.js";
import { useRead, useThrottled } from "./data.js";
import { follow, unfollow, useFeed } from "./feed.js";
import { Notices } from "./notices.js";
import { Failure } from "./parts.js";
import { html, render, useEffect, useRef } from "./preact.js";
import { isId, route } from "./route.js";
import { isAdmin, session } from "./session.js";
import { useStore } from "./store.js";
import { announceOutcomes, forgetAwaited } from "./syncs.js";
import { forgetClock, setClock } from "./time.js";
import { Admin } from "./views/admin.js";
import { Device } from "./views/device.js";
import { Login } from "./views/login.js";
import { Overview } from "./views/overview.js";
import { BadAddress, Header, NoFleet, Offline } from "./views/shell.js";

const STATS_INTERVAL = 1_000; // ms
const LEDGER_INTERVAL = 3_000; // ms

function App() {
  const user = useStore(session);
  const { fleet } = useStore(route);
  if (!user) return html`<${Login} />`;
  if (fleet === null) return html`<${BadAddress} />`;
  const View = isAdmin(user) ? AdminsFleet : Fleet;
  return html`<${View} key=${`${user.token} ${fleet}`} user=${user} fleet=${fleet} /><${Notices} />`;
}

/**
 * A fleet as an admin sees it: also its clock, its profile and its ledger.
 * @param {{ user: Session, fleet: string }} props
 */
function AdminsFleet({ user, fleet }) {
  const path = pathOf`/admin/fleets/${fleet}`;
  const all = useRead({ path: user.fleet ? path : "/admin/fleets" });
  // A bound token sees no list, but its own fleet.
  const fleets = user.fleet ? { ...all, data: all.data && [all.data] } : all;
  const view = /** @type {Reading<FleetState>} */ (useRead({ path }));
  const ledger = useRead({ path: `${path}/ledger` });
  const onEvents = useThrottled(ledger.reload, LEDGER_INTERVAL);
  useFeed({ onEvents });
  useEffect(() => {
    if (view.data) setClock(view.data.clock);
  }, [view.data]);
  return html`<${Fleet}
    user=${user}
    fleet=${fleet}
    fleets=${fleets}
    view=${view}
    ledger=${ledger}
  />`;
}

/**
 * @param {object} props
 * @param {Session} props.user
 * @param {string} props.fleet
 * @param {Reading<FleetState[]>} [props.fleets] This and what follows: for admins.
 * @param {Reading<FleetState>} [props.view]
 * @param {Reading<Ledger>} [props.ledger]
 */
function Fleet({ user, fleet, fleets, view, ledger }) {
  const { page: requested, id, values } = useStore(route);
  const isShown = requested === "admin" ? Boolean(ledger) : requested === "device" && isId(id);
  const page = isShown ? requested : "";
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const isFirst = useRef(true);
  const stats = /** @type {Reading<Stats>} */ (useRead({ path: "/stats", fleet }));
  const reloadStats = useThrottled(stats.reload, STATS_INTERVAL);
  useFeed({
    onEvents(events) {
      announceOutcomes(events);
      reloadStats();
    },
  });
  useEffect(() => {
    forgetClock();
    follow(fleet);
    return () => {
      unfollow();
      forgetAwaited();
    };
  }, []);
  useEffect(() => {
    document.title = `${titleOf(page, id)} · PiSync`;
    if (isFirst.current) isFirst.current = false;
    else main.current?.focus(); // as if the page were loaded
    scrollTo(0, 0);
  }, [page, id]);

  return html`<${Header} page=${page} fleet=${fleet} fleets=${fleets} user=${user} />
    <${Offline} />
    <main ref=${main} tabindex="-1">${content()}</main>`;

  function content() {
    if (stats.error?.status === 404) return html`<${NoFleet} message=${stats.error.message} />`;
    if (page === "admin") {
      return html`<${Admin} fleet=${fleet} fleets=${fleets} view=${view} ledger=${ledger} />`;
    }
    if (stats.error?.status === 403) return html`<${Failure} error=${stats.error} />`;
    if (page === "device") {
      return html`<${Device} key=${id} fleet=${fleet} id=${id} isAdmin=${Boolean(ledger)} />`;
    }
    return html`<${Overview} fleet=${fleet} values=${values} stats=${stats} ledger=${ledger} />`;
  }
}

/**
 * @param {string} page
 * @param {string} id
 */
function titleOf(page, id) {
  if (page === "admin") return "Admin";
  return page === "device" ? `Device ${id}` : "Devices";
}

render(html`<${App} />`, /** @type {Element} */ (document.querySelector("#app")));
