// A value that components and modules can watch.
/** @import { Store } from "./types.js" */
import { useEffect, useState } from "./preact.js";

/**
 * @template T
 * @param {T} value
 * @returns {Store<T>}
 */
export function createStore(value) {
  /** @type {Set<(value: T) => void>} */
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

/**
 * Return a store's value, and render again when it changes.
 * @template T
 * @param {Store<T>} store
 */
export function useStore(store) {
  const [value, setValue] = useState(store.get);
  useEffect(() => {
    /** @param {T} next */
    const update = (next) => setValue(() => next);
    update(store.get()); // it may have changed since the render
    return store.watch(update);
  }, [store]);
  return value;
}
