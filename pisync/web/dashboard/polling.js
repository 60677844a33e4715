// What no event tells of is read again every few seconds.
import { connection } from "./feed.js";
import { useEffect, useRef } from "./preact.js";

/**
 * Read again every `interval` ms, while the page is visible, not paused, and the server is there.
 * @param {() => void} read
 * @param {number} interval
 */
export function usePolling(read, interval) {
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden && connection.get().phase === "live") latest.current();
    }, interval);
    return () => clearInterval(timer);
  }, [interval]);
}
