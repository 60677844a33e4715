// What is read from the server, and read again when it may have changed.
/** @import { ApiError } from "./api.js" */
/** @import { FleetEvent, Reading, Request } from "./types.js" */
import { call } from "./api.js";
import { useFeed } from "./feed.js";
import { useEffect, useRef, useState } from "./preact.js";

/**
 * Read from the server now, when `request` changes, and when everything is to be read again.
 *
 * Events that arrive during a read are applied to its result.
 *
 * @template T
 * @param {Request} request
 * @param {(data: T, events: FleetEvent[]) => T} [onEvents] Returns the data with these events.
 * @returns {Reading<T>} `patch` applies a change that the caller knows of.
 */
export function useRead(request, onEvents) {
  const [state, setState] = useState(
    /** @type {Pick<Reading<T>, "data" | "headers" | "error" | "loading">} */ ({
      data: null,
      headers: null,
      error: null,
      loading: true,
    }),
  );
  const current = useRef(
    /** @type {{ controller: AbortController, events: FleetEvent[] } | null} */ (null),
  );
  const key = JSON.stringify(request);

  async function reload() {
    current.current?.controller.abort();
    const read = { controller: new AbortController(), events: /** @type {FleetEvent[]} */ ([]) };
    current.current = read;
    setState((old) => ({ ...old, loading: true }));
    try {
      const { data, headers } = await call({ ...request, signal: read.controller.signal });
      if (current.current !== read) return;
      const patched = onEvents && read.events.length ? onEvents(data, read.events) : data;
      setState({ data: patched, headers, error: null, loading: false });
    } catch (failure) {
      // Keep the last answer: the page says that it is offline.
      const error = /** @type {ApiError} */ (failure);
      if (current.current === read) setState((old) => ({ ...old, error, loading: false }));
    } finally {
      if (current.current === read) current.current = null;
    }
  }

  /** @param {(data: T) => T} change */
  const patch = (change) =>
    setState((old) => {
      if (old.data === null) return old;
      const data = change(old.data);
      return data === old.data ? old : { ...old, data };
    });

  useEffect(() => {
    reload();
    return () => {
      const read = current.current;
      current.current = null;
      read?.controller.abort();
    };
  }, [key]);

  useFeed({
    onReload: reload,
    onEvents(events) {
      if (!onEvents) return;
      current.current?.events.push(...events);
      patch((data) => onEvents(data, events));
    },
  });
  return { ...state, reload, patch };
}

/**
 * Return a function that calls `act` soon, and at most once in `interval` ms.
 * @param {() => void} act
 * @param {number} interval
 */
export function useThrottled(act, interval) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const last = useRef(-Infinity);
  useEffect(() => () => clearTimeout(timer.current), []);
  return () => {
    if (timer.current) return;
    const left = Math.max(100, last.current + interval - performance.now());
    timer.current = setTimeout(() => {
      timer.current = 0;
      last.current = performance.now();
      latest.current();
    }, left);
  };
}
