// A value that components and modules can watch.
import { useEffect, useState } from "/dashboard/preact.js";

export function createStore(value) {
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

/** Return a store's value, and render again when it changes. */
export function useStore(store) {
  const [value, setValue] = useState(store.get);
  useEffect(() => {
    const changed = (next) => setValue(() => next);
    changed(store.get()); // it may have changed since the render
    return store.watch(changed);
  }, [store]);
  return value;
}
