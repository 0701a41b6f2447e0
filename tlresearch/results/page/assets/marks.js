// Lines and points that are told apart by colour, by marker and by dash.
const STYLES = 8;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2 5 6", "1 4", "12 4", "3 2 1 2"];

const MARKERS = [
  (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (x, y, r) =>
    polygon([
      [x - r, y - r],
      [x + r, y - r],
      [x + r, y + r],
      [x - r, y + r],
    ]),
  (x, y, r) =>
    polygon([
      [x, y - 1.2 * r],
      [x + 1.15 * r, y + r],
      [x - 1.15 * r, y + r],
    ]),
  (x, y, r) =>
    polygon([
      [x, y - 1.35 * r],
      [x + 1.35 * r, y],
      [x, y + 1.35 * r],
      [x - 1.35 * r, y],
    ]),
  (x, y, r) =>
    polygon([
      [x, y + 1.2 * r],
      [x + 1.15 * r, y - r],
      [x - 1.15 * r, y - r],
    ]),
  (x, y, r) => cross(x, y, r, 0),
  (x, y, r) => cross(x, y, r, Math.PI / 4),
  (x, y, r) =>
    polygon([...Array(10).keys()].map((i) => around(x, y, (i % 2 ? 0.6 : 1.5) * r, (i * Math.PI) / 5 - Math.PI / 2))),
];

function around(x, y, r, angle) {
  return [x + r * Math.cos(angle), y + r * Math.sin(angle)];
}

function polygon(points) {
  return "M" + points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L") + "Z";
}

function cross(x, y, r, turn) {
  const [long, thin] = [1.35 * r, 0.45 * r];
  const arm = [
    [thin, thin],
    [long, thin],
    [long, -thin],
  ];
  return polygon(
    [0, 1, 2, 3].flatMap((i) =>
      arm.map(([a, b]) => {
        const angle = turn - (i * Math.PI) / 2;
        return [x + a * Math.cos(angle) - b * Math.sin(angle), y + a * Math.sin(angle) + b * Math.cos(angle)];
      }),
    ),
  );
}

function mark(style, x, y, r, title) {
  const known = style >= 0;
  return shape(
    "path",
    {
      class: known ? `mark s${style % STYLES}` : "mark other",
      d: MARKERS[known ? style % STYLES : 0](x, y, r),
    },
    title ? shape("title", null, title) : null,
  );
}

function track(style, points, extra) {
  const d = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
  return shape("path", {
    class: `track s${style % STYLES} ${extra || ""}`,
    d,
    "stroke-dasharray": DASHES[style % STYLES] || null,
  });
}

function legend(entries) {
  return element(
    "ul",
    { class: "legend" },
    entries.map(({ name, style, line }) =>
      element(
        "li",
        null,
        shape(
          "svg",
          { width: 34, height: 14, viewBox: "0 0 34 14", "aria-hidden": "true" },
          line
            ? track(style, [
                [1, 7],
                [33, 7],
              ])
            : null,
          mark(style, 17, 7, 4),
        ),
        element("span", { title: name }, short(name, 70)),
      ),
    ),
  );
}
