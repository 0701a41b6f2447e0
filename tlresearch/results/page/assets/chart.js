// A chart: axes, lines and points, its legend, and the same numbers as a table.
let charts = 0;
const redraws = new Map();

// How wide one chart may be: the place, or one of its columns.
function columnWidth(place) {
  const columns = getComputedStyle(place).gridTemplateColumns.split(" ").map(parseFloat).filter(isNumber);
  return columns[0] || place.clientWidth || 600;
}

// Puts a chart into its place and draws it again when the width changes.
function show(place, make) {
  const draw = () => {
    const open = place.querySelector("details[open]") !== null;
    place.replaceChildren(...make(Math.max(260, Math.min(860, columnWidth(place)))));
    if (open && place.querySelector("details")) place.querySelector("details").open = true;
  };
  redraws.set(place, draw);
  draw();
}

function figure(title, description, drawing, size, extras, table) {
  const id = `chart-${charts++}`;
  const svg = shape(
    "svg",
    {
      role: "img",
      "aria-labelledby": `${id}-title ${id}-text`,
      width: size.width,
      height: size.height,
      viewBox: `0 0 ${size.width} ${size.height}`,
      class: "chart",
    },
    shape("title", { id: `${id}-title` }, title),
    shape("desc", { id: `${id}-text` }, description),
    drawing,
  );
  const numbers = element(
    "details",
    {
      toggle: (event) => {
        const box = event.target;
        if (box.open && box.children.length === 1)
          box.append(
            element(
              "div",
              { class: "scroll", role: "region", "aria-label": title, tabindex: 0 },
              plainTable(title, ...table()),
            ),
          );
      },
    },
    element("summary", null, "As a table"),
  );
  return element("figure", null, svg, extras, element("figcaption", null, description), numbers);
}

// spec: {title, description, xTitle, yTitle, x: (values, from, to) → scale, height, front: [[x, y] …],
//        series: [{name, style, line, marks, points: [{x, y, low, high, title, note}]}], table: () → [header, rows]}
function plot(spec, width) {
  const height = spec.height || 340;
  const shares = rates(spec.series.flatMap((one) => one.points.map((point) => point.y)));
  for (const point of spec.series.flatMap((one) => one.points)) {
    [point.low, point.high] = [within(point.low, shares), within(point.high, shares)];
  }
  const points = spec.series.flatMap((one) => one.points);
  const ends = points.flatMap((point) => [point.y, point.low, point.high]).filter(isNumber);
  const y = linear(ends, height - 46, 14, 6);
  const left = 22 + 7 * most(y.ticks.map(([, text]) => text.length)) + 12;
  const x = spec.x(
    points.map((point) => point.x),
    left,
    width - 14,
  );
  const drawing = [axes(x, y, { left, right: width - 14, top: 14, bottom: height - 46 }, spec)];
  if (spec.front && spec.front.length > 1) {
    const steps = spec.front.flatMap(([a, b], i) =>
      i
        ? [
            [x(a), y(spec.front[i - 1][1])],
            [x(a), y(b)],
          ]
        : [[x(a), y(b)]],
    );
    drawing.push(
      shape("path", {
        class: "front",
        d: steps.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)},${b.toFixed(1)}`).join(""),
      }),
    );
  }
  const taken = [];
  for (const one of spec.series) drawing.push(series(one, x, y, width, taken));
  const named = spec.series.filter((one) => one.name && one.style >= 0);
  return figure(
    spec.title,
    spec.description,
    drawing,
    { width, height },
    named.length ? legend(named) : null,
    spec.table,
  );
}

function axes(x, y, box, spec) {
  const parts = [];
  for (const [value, text] of y.ticks) {
    parts.push(
      shape("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
      shape("text", { class: "tick", x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, text),
    );
  }
  let end = -Infinity;
  for (const [value, text] of x.ticks) {
    const place = x(value);
    parts.push(shape("line", { class: "grid", x1: place, x2: place, y1: box.top, y2: box.bottom + 4 }));
    if (place - 3.6 * text.length < end + 6) continue; // no room for the text
    end = place + 3.6 * text.length;
    parts.push(shape("text", { class: "tick", x: place, y: box.bottom + 18, "text-anchor": "middle" }, text));
  }
  const middle = (box.top + box.bottom) / 2;
  parts.push(
    shape(
      "text",
      { class: "axis", x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" },
      spec.xTitle,
    ),
    shape(
      "text",
      { class: "axis", x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` },
      short(spec.yTitle, 40),
    ),
  );
  return shape("g", null, parts);
}

function series(one, x, y, width, taken) {
  const parts = [];
  const known = one.points.filter((point) => isNumber(point.y));
  const style = one.style;
  if (one.line && known.length > 1)
    parts.push(
      track(
        style,
        known.map((point) => [x(point.x), y(point.y)]),
        one.faint ? "faint" : "",
      ),
    );
  for (const point of known) {
    const [a, b] = [x(point.x), y(point.y)];
    if (isNumber(point.low)) parts.push(bar(style, a, y(point.low), y(point.high)));
    if (one.marks !== false) parts.push(mark(style, a, b, one.size || 4, point.title));
    if (point.note && !taken.some(([c, d]) => Math.abs(a - c) < 6.5 * point.note.length && Math.abs(b - d) < 14)) {
      taken.push([a, b]);
      const turned = a > width - 9 * point.note.length;
      parts.push(
        shape(
          "text",
          { class: "note", x: turned ? a - 8 : a + 8, y: b - 7, "text-anchor": turned ? "end" : "start" },
          point.note,
        ),
      );
    }
  }
  return shape("g", null, parts);
}

function bar(style, x, low, high) {
  const kind = style >= 0 ? `s${style % STYLES}` : "other";
  return shape("path", { class: `bar ${kind}`, d: `M${x},${low}V${high}M${x - 4},${low}h8M${x - 4},${high}h8` });
}
