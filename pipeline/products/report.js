"use strict";

// Everything the page shows is in the page: nothing is fetched. Text of a survey only ever becomes textContent.
const read = (id) => { const node = document.getElementById(id); return node ? JSON.parse(node.textContent) : null; };
const make = (tag, attributes = {}, ...children) => {
  const svg = ["svg", "polyline"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const metric = document.documentElement.dataset.unit === "m";
const served = document.documentElement.dataset.served === "1";

let cracks = null;
const crackOf = (id) => {
  cracks ??= new Map((read("cracks") ?? []).map((crack) => [crack.id, crack]));
  return cracks.get(id);
};

// One crack: its numbers, and the photograph with its line.
function points(flat) {
  const pairs = [];
  for (let n = 0; n + 1 < flat.length; n += 2) pairs.push(`${flat[n]},${flat[n + 1]}`);
  return pairs.join(" ");
}

function pictureOf(crack) {
  const picture = crack.picture === null ? null : read(`picture-${crack.picture}`);
  const fullSize = (key) => make("a", { href: `frame?key=${encodeURIComponent(key)}`, target: "_blank" }, "full size");
  if (!picture) {
    const links = served ? crack.frames.map((key) => make("p", {}, `${key} `, fullSize(key))) : [];
    const hint = "This page holds no picture of it. crackmap view, given the output folder, shows every frame at full size.";
    return make("div", {}, ...(served ? links : [make("p", { class: "soft" }, hint)]));
  }
  const [width, height] = picture.size;
  const drawing = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const line of picture.lines) drawing.append(make("polyline", { class: "others", points: points(line) }));
  drawing.append(make("polyline", { class: "halo", points: points(crack.line) }));
  drawing.append(make("polyline", { class: "picked", points: points(crack.line) }));
  const image = make("img", { src: picture.src, width, height, alt: `Photograph with crack ${crack.id} drawn in` });
  const caption = make("figcaption", {}, `${picture.key} `, ...(served ? [fullSize(picture.key)] : []));
  return make("figure", { class: "photo" }, make("div", { class: "stack" }, image, drawing), caption);
}

function show(id) {
  const crack = crackOf(id);
  if (!crack) return;
  const along = metric ? "m" : "px", across = metric ? "mm" : "px";
  const number = (value, digits, unit, spread = null) =>
    value === null ? "–" : `${value.toFixed(digits)} ${spread === null ? "" : `± ${spread.toFixed(digits)} `}${unit}`;
  const rows = [
    ["Length", number(crack.length, metric ? 2 : 0, along, crack.u_length)],
    ["Mean width", number(crack.width, 1, across, crack.u_width)],
    ["Greatest width", number(crack.widest, 1, across)],
    ["Direction", `${crack.angle.toFixed(0)}°`],
    ["Chainage", number(crack.chainage, 1, "m")],
    ["Offset", number(crack.offset, 2, "m")],
    ["Confidence", String(crack.confidence)],
    ["Pattern", crack.pattern || "–"],
    ["Recording", crack.recording],
    ["Frames", crack.frames.join(", ")],
    ["Remarks", crack.remarks.join("; ") || "–"],
  ];
  const list = make("dl");
  for (const [name, value] of rows) list.append(make("dt", {}, name), make("dd", {}, value));
  const dialog = document.getElementById("crack");
  dialog.querySelector("h2").textContent = `Crack ${crack.id}`;
  dialog.querySelector(".body").replaceChildren(pictureOf(crack), list);
  if (!dialog.open) dialog.showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-crack]");
  if (target) show(target.dataset.crack);
});
document.querySelector("#crack .close").addEventListener("click", () => document.getElementById("crack").close());
document.getElementById("crack").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});

// Tables sort by their headings and keep the rows that hold every word of the filter.
const value = (row, column) => {
  const cell = row.cells[column];
  const text = cell?.dataset.value ?? cell?.textContent.trim() ?? "";
  return cell?.classList.contains("text") ? text : text === "" || text === "–" ? -Infinity : Number(text);
};

function sort(table, button) {
  const heading = button.closest("th"), body = table.tBodies[0];
  const column = [...heading.parentNode.cells].indexOf(heading);
  const down = heading.getAttribute("aria-sort") !== "descending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row, place) => [value(row, column), place, row]);
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a === b ? 0 : a - b);
  rows.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])) || a[1] - b[1]);
  body.append(...rows.map((item) => item[2]));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.querySelectorAll("th button")) button.addEventListener("click", () => sort(table, button));
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters), said = input.parentNode.querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    said.textContent = words.length ? `${shown} rows` : "";
  });
}

// The map, and the library that draws it, wait until they are in view and the page has nothing else to do.
function runLater(id) {
  const script = document.createElement("script");
  script.textContent = document.getElementById(id).textContent;
  document.head.append(script);
}

function drawMap(place) {
  for (const library of document.querySelectorAll("script[id^=library-]")) runLater(library.id);
  const map = read("map-data");
  const { figure, show: showPlot } = Bokeh.Plotting;
  const ink = style("--ink"), soft = style("--soft"), rule = style("--rule");
  const plot = figure({
    match_aspect: true, tools: "pan,wheel_zoom,box_zoom,tap,reset", active_scroll: "wheel_zoom", height: 460,
    sizing_mode: "stretch_width", background_fill_alpha: 0, border_fill_alpha: 0, outline_line_color: rule,
    lod_threshold: null,
  });
  const split = (items) => ({
    xs: items.map((item) => item.xy.filter((_, n) => n % 2 === 0)),
    ys: items.map((item) => item.xy.filter((_, n) => n % 2 === 1)),
  });
  const source = (items, more) => new Bokeh.ColumnDataSource({ data: { ...split(items), ...more } });
  plot.patches({ field: "xs" }, { field: "ys" }, {
    source: source(map.sections, {}), fill_color: style("--road"), line_color: soft, line_width: 0.8, line_alpha: 0.6,
  });
  plot.patches({ field: "xs" }, { field: "ys" }, {
    source: source(map.patterns, {}), fill_color: style("--w3"), fill_alpha: 0.25, line_color: style("--w3"),
  });
  const colours = map.cracks.map((item) => style(`--w${crackOf(item.id)?.class ?? 0}`));
  const lines = source(map.cracks, { colour: colours });
  plot.multi_line({ field: "xs" }, { field: "ys" }, {
    source: lines, line_color: { field: "colour" }, line_width: 2.5, line_cap: "round", nonselection_line_alpha: 1,
  });
  for (const axis of plot.axes) {
    axis.axis_line_color = rule; axis.major_tick_line_color = rule; axis.minor_tick_line_color = null;
    axis.major_label_text_color = soft; axis.axis_label_text_color = soft;
  }
  plot.xaxes[0].axis_label = `easting − ${map.origin[0]} m`;
  plot.yaxes[0].axis_label = `northing − ${map.origin[1]} m`;
  for (const grid of plot.grids) grid.grid_line_color = null;
  plot.toolbar.logo = null;
  lines.selected.change.connect(() => {
    const [first] = lines.selected.indices;
    if (first !== undefined) { show(map.cracks[first].id); lines.selected.indices = []; }
  });
  place.replaceChildren();
  Promise.resolve(showPlot(plot, place)).then(() => { place.dataset.ready = "1"; });
  window.crackmapPlot = plot;
}

const place = document.getElementById("map-place");
if (place) {
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watch.disconnect();
      setTimeout(() => drawMap(place), 150);
    }
  }, { rootMargin: "200px" });
  watch.observe(place);
}

if (location.hash.startsWith("#C")) show(location.hash.slice(1));
document.documentElement.dataset.ready = "1";
