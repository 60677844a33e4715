// Where the reader is: `#/device/7?fleet=suite-1`. The fleet goes along from page to page.
import { DEFAULT_FLEET, withQuery } from "./api.js";
import { createStore } from "./store.js";

export const route = createStore(parse());
addEventListener("hashchange", () => route.set(parse()));

function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = ""] = path.split("/");
  const { fleet = DEFAULT_FLEET, ...values } = Object.fromEntries(new URLSearchParams(query));
  return { page, id, fleet, values };
}

/** Whether a text is a device's id as paths have it. */
export const isId = (text) => /^[1-9]\d{0,15}$/.test(text);

/** Return a link to a page, in the present fleet unless `values` name another. */
export function href(path, values = {}) {
  const fleet = values.fleet ?? route.get().fleet;
  return `#${withQuery(path, { ...values, fleet: fleet === DEFAULT_FLEET ? undefined : fleet })}`;
}

export function go(path, values) {
  location.hash = href(path, values);
}
