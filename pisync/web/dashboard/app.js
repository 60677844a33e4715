// The dashboard: whoever is logged in sees the fleet that the address names.
import { html, render, useEffect, useRef } from "/dashboard/preact.js";
import { useRead, useThrottled } from "./data.js";
import { follow, unfollow, useFeed } from "./feed.js";
import { Notices } from "./notices.js";
import { Failure } from "./parts.js";
import { isId, route } from "./route.js";
import { mayAdminister, session } from "./session.js";
import { useStore } from "./store.js";
import { awaitNothing, tellOutcomes } from "./syncs.js";
import { forgetClock, setClock } from "./time.js";
import { Admin } from "./views/admin.js";
import { Device } from "./views/device.js";
import { Login } from "./views/login.js";
import { Overview } from "./views/overview.js";
import { Header, NoFleet, Offline } from "./views/shell.js";

const STATS_PAUSE = 1_000; // ms between two looks
const LEDGER_PAUSE = 3_000;

function App() {
  const user = useStore(session);
  const { fleet } = useStore(route);
  if (!user) return html`<${Login} />`;
  const Shown = mayAdminister(user) ? AdminsFleet : Fleet;
  return html`<${Shown} key=${`${user.token} ${fleet}`} user=${user} fleet=${fleet} /><${Notices} />`;
}

/** A fleet as an admin sees it: also its clock, its profile, its ledger. */
function AdminsFleet({ user, fleet }) {
  const fleets = useRead({ path: "/admin/fleets" });
  const view = useRead({ path: `/admin/fleets/${fleet}` });
  const ledger = useRead({ path: `/admin/fleets/${fleet}/ledger` });
  const look = useThrottled(ledger.reload, LEDGER_PAUSE);
  useFeed({ onEvents: look });
  useEffect(() => view.data && setClock(view.data.clock), [view.data]);
  return html`<${Fleet} user=${user} fleet=${fleet} fleets=${fleets} view=${view} ledger=${ledger} />`;
}

function Fleet({ user, fleet, fleets, view, ledger }) {
  const { page: asked, id, values } = useStore(route);
  const isAdmin = Boolean(ledger);
  const page = (asked === "admin" && isAdmin) || (asked === "device" && isId(id)) ? asked : "";
  const main = useRef(null);
  const isFirst = useRef(true);
  const stats = useRead({ path: "/stats", fleet });
  const look = useThrottled(stats.reload, STATS_PAUSE);
  useFeed({
    onEvents(events) {
      tellOutcomes(events);
      look();
    },
  });
  useEffect(() => {
    forgetClock();
    follow(fleet);
    return () => {
      unfollow();
      awaitNothing();
    };
  }, []);
  useEffect(() => {
    document.title = `${titleOf(page, id)} · PiSync`;
    if (isFirst.current) isFirst.current = false;
    else main.current.focus(); // as a page that is loaded begins at its top
    scrollTo(0, 0);
  }, [page, id]);

  return html`<${Header} page=${page} fleet=${fleet} fleets=${fleets} user=${user} isAdmin=${isAdmin} />
    <${Offline} />
    <main ref=${main} tabindex="-1">${shown()}</main>`;

  function shown() {
    if (stats.error?.status === 404) return html`<${NoFleet} error=${stats.error} />`;
    if (page === "admin") {
      return html`<${Admin} fleet=${fleet} fleets=${fleets} view=${view} ledger=${ledger} />`;
    }
    if (stats.error?.status === 403) return html`<${Failure} error=${stats.error} />`;
    if (page === "device") {
      return html`<${Device} key=${id} fleet=${fleet} id=${id} isAdmin=${isAdmin} />`;
    }
    return html`<${Overview} fleet=${fleet} values=${values} stats=${stats} ledger=${ledger} />`;
  }
}

function titleOf(page, id) {
  if (page === "admin") return "Admin";
  return page === "device" ? `Device ${id}` : "Devices";
}

render(html`<${App} />`, document.querySelector("#app"));
