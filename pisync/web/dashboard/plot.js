// A uPlot that fits its place and the colour scheme.
/** @typedef {(name: string) => string} Colours Looks up a colour of the style sheet by name. */
import { html, useEffect, useRef } from "./preact.js";
import uPlot from "./uplot.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** @returns {Colours} */
function palette() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/**
 * @param {object} props
 * @param {(colour: Colours) => object} props.draw Returns uPlot's options without a size.
 * @param {uPlot.AlignedData} props.data Columns.
 * @param {number} props.height
 * @param {string} props.label What the plot shows, in words.
 */
export function Plot({ draw, data, height, label }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const newest = useRef(data);
  newest.current = data;

  useEffect(() => {
    const parent = /** @type {HTMLElement} */ (place.current);
    const size = () => ({ width: Math.floor(parent.clientWidth), height });
    const build = () => {
      plot.current?.destroy();
      const options = { legend: { show: false }, ...draw(palette()), ...size() };
      plot.current = new uPlot(/** @type {any} */ (options), newest.current, parent);
    };
    build();
    const fit = new ResizeObserver(() => plot.current?.setSize(size()));
    fit.observe(parent);
    dark.addEventListener("change", build);
    return () => {
      fit.disconnect();
      dark.removeEventListener("change", build);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [draw, height]);

  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div class="plot h${height}" ref=${place} role="img" aria-label=${label}></div>`;
}

/**
 * Return an axis's options in the page's colours.
 * @param {Colours} colour
 */
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

export const bars = uPlot.paths.bars?.({ size: [0.9, 20] });
