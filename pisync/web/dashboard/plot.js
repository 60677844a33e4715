// A uPlot that fits its place and the colour scheme.
import { html, useEffect, useRef } from "/dashboard/preact.js";
import uPlot from "/dashboard/uplot.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Return a function that looks up a colour of the style sheet by name. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/**
 * `draw(colour)` returns uPlot's options without a size; `data` its columns. `label` says in words
 * what is to be seen.
 */
export function Plot({ draw, data, height, label }) {
  const place = useRef(null);
  const plot = useRef(null);
  const newest = useRef(data);
  newest.current = data;

  useEffect(() => {
    const size = () => ({ width: Math.floor(place.current.clientWidth), height });
    const build = () => {
      plot.current?.destroy();
      const options = { legend: { show: false }, ...draw(palette()), ...size() };
      plot.current = new uPlot(options, newest.current, place.current);
    };
    build();
    const fit = new ResizeObserver(() => plot.current.setSize(size()));
    fit.observe(place.current);
    dark.addEventListener("change", build);
    return () => {
      fit.disconnect();
      dark.removeEventListener("change", build);
      plot.current.destroy();
      plot.current = null;
    };
  }, [draw, height]);

  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div class="plot h${height}" ref=${place} role="img" aria-label=${label}></div>`;
}

/** Return an axis's options in the page's colours. */
export function axis(colour, more = {}) {
  return {
    stroke: colour("muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    gap: 4,
    ...more,
  };
}

export const bars = uPlot.paths.bars({ size: [0.9, 20] });
