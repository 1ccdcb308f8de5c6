"use strict";
/* Draws each figure into the element that names it, once that element has a width, and again when the theme changes.
   Returns a function that lets go of everything. */
function phase4Charts(root, figures, dark) {
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const isCoarse = window.matchMedia("(pointer: coarse)").matches;
  const drawn = new Set();

  /* Only values of colour keys are replaced, so a name that looks like a colour stays as it is. */
  function themed(value, key) {
    if (typeof value === "string") {
      return scheme.matches && /color$/.test(key) && value in dark ? dark[value] : value;
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, themed(item, name)]));
  }

  function draw(element) {
    const figure = figures[element.dataset.chart];
    const layout = themed(figure.layout, "layout");
    if (isCoarse) layout.dragmode = false; /* a finger scrolls the page */
    drawn.add(element);
    return window.Plotly.react(element, themed(figure.data, "data"), layout, {
      displayModeBar: false,
      doubleClick: "reset",
    });
  }

  const sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (contentRect.width === 0) continue;
      if (!drawn.has(target)) draw(target);
      else if (Math.round(target.clientWidth) !== target._fullLayout?.width) window.Plotly.Plots.resize(target);
    }
  });
  root.querySelectorAll("[data-chart]").forEach((element) => sizes.observe(element));

  const redraw = () => drawn.forEach((element) => draw(element));
  scheme.addEventListener("change", redraw);
  return () => {
    sizes.disconnect();
    scheme.removeEventListener("change", redraw);
    drawn.forEach((element) => window.Plotly.purge(element));
  };
}
