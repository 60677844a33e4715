// Which page is shown: `#/device/7?fleet=suite-1`. The fleet is kept from page to page.
/** @import { Route } from "./types.js" */
import { DEFAULT_FLEET, withQuery } from "./api.js";
import { createStore } from "./store.js";

export const route = createStore(parse());
addEventListener("hashchange", () => route.set(parse()));

/** @returns {Route} */
function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = ""] = path.split("/");
  const { fleet = DEFAULT_FLEET, ...values } = Object.fromEntries(new URLSearchParams(query));
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
  const fleet = values.fleet ?? route.get().fleet ?? DEFAULT_FLEET;
  return `#${withQuery(path, { ...values, fleet: fleet === DEFAULT_FLEET ? "" : fleet })}`;
}

/**
 * @param {string} path
 * @param {Record<string, string | number>} values
 */
export function go(path, values) {
  location.hash = href(path, values);
}
