// Which page is shown: `#/device/7?fleet=suite-1`. The fleet is kept from page to page.
/** @import { Route } from "./types.js" */
import { BASE_FLEET, DEFAULT_FLEET, urlOf, withQuery } from "./api.js";
import { session } from "./session.js";
import { createStore } from "./store.js";

export const route = createStore(parse());
addEventListener("hashchange", () => route.set(parse()));
session.watch(() => route.set(parse()));

/** Return the fleet that is shown where the address names none behind its `#`. */
function homeFleet() {
  return BASE_FLEET ?? session.get()?.fleet ?? DEFAULT_FLEET;
}

/** @returns {Route} */
function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = ""] = path.split("/");
  const { fleet: named, ...values } = Object.fromEntries(new URLSearchParams(query));
  const fleet = BASE_FLEET ?? named ?? homeFleet();
  return { page, id, fleet: isFleetName(fleet) ? fleet : null, values };
}

/**
 * Whether a text can be a device's id in a path.
 * @param {string} text
 */
export function isId(text) {
  return /^[1-9]\d{0,15}$/.test(text);
}

/**
 * Whether a fleet can have this name.
 * @param {string} text
 */
export function isFleetName(text) {
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(text);
}

/**
 * Return a link to a page, in the present fleet unless `values` name another.
 * @param {string} path
 * @param {Record<string, string | number>} values
 */
export function href(path, values = {}) {
  const fleet = values.fleet ?? route.get().fleet ?? homeFleet();
  const isElsewhere = BASE_FLEET !== undefined && fleet !== BASE_FLEET;
  const page = isElsewhere ? urlOf(`/fleets/${fleet}/`) : "";
  const isNamed = BASE_FLEET === undefined && fleet !== homeFleet();
  return `${page}#${withQuery(path, { ...values, fleet: isNamed ? fleet : "" })}`;
}

/**
 * @param {string} path
 * @param {Record<string, string | number>} values
 */
export function go(path, values) {
  location.href = href(path, values);
}
