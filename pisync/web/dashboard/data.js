// What the server is asked for, and asked for again when it may have changed.
import { useEffect, useRef, useState } from "/dashboard/preact.js";
import { call } from "./api.js";
import { useFeed } from "./feed.js";

/**
 * Read something now, when `request` changes, and when all is to be read anew.
 *
 * Return `{data, headers, error, loading, reload, patch}`. `onEvents(data, events)`, if given,
 * returns the data with these events; those that come while it is being read are applied to what was
 * read. `patch(change)` does so with a change of the reader's own.
 */
export function useRead(request, onEvents) {
  const [state, setState] = useState({ data: null, headers: null, error: null, loading: true });
  const reading = useRef(null);
  const key = JSON.stringify(request);

  async function reload() {
    reading.current?.abort.abort();
    const mine = { abort: new AbortController(), events: [] };
    reading.current = mine;
    setState((old) => ({ ...old, loading: true }));
    try {
      const { data, headers } = await call({ ...request, signal: mine.abort.signal });
      if (reading.current !== mine) return;
      const now = onEvents && mine.events.length ? onEvents(data, mine.events) : data;
      setState({ data: now, headers, error: null, loading: false });
    } catch (error) {
      // An older answer is better than none: the page says that it is offline.
      if (reading.current === mine) setState((old) => ({ ...old, error, loading: false }));
    } finally {
      if (reading.current === mine) reading.current = null;
    }
  }

  const patch = (change) =>
    setState((old) => {
      if (old.data === null) return old;
      const data = change(old.data);
      return data === old.data ? old : { ...old, data };
    });

  useEffect(() => {
    reload();
    return () => {
      const given = reading.current;
      reading.current = null;
      given?.abort.abort();
    };
  }, [key]);

  useFeed({
    onReload: reload,
    onEvents(events) {
      if (!onEvents) return;
      reading.current?.events.push(...events);
      patch((data) => onEvents(data, events));
    },
  });
  return { ...state, reload, patch };
}

/** Return a function that calls `act` soon, and then once in `every` ms at the most. */
export function useThrottled(act, every) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const last = useRef(-Infinity);
  useEffect(() => () => clearTimeout(timer.current), []);
  return () => {
    if (timer.current) return;
    const left = Math.max(100, last.current + every - performance.now());
    timer.current = setTimeout(() => {
      timer.current = 0;
      last.current = performance.now();
      latest.current();
    }, left);
  };
}
