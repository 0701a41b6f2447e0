// A matrix as coloured cells, with numbers where there is room.
// spec: {title, description, rows: [name], columns: [name], values[i][j] (null: no cell), share: value → 0 to 1,
//        text: value → string, rowTitle, columnTitle, table}
function heatmap(spec, width) {
  const longest = Math.min(16, most(spec.rows.map((name) => name.length)));
  const left = 30 + 7 * longest;
  const top =
    34 +
    (most(spec.columns.map((name) => name.length)) > 3
      ? 7.2 * Math.min(16, most(spec.columns.map((name) => name.length)))
      : 8);
  const cell = Math.max(12, Math.min(46, (width - left - 8) / spec.columns.length));
  const size = {
    width: Math.max(width, left + cell * spec.columns.length + 8),
    height: top + cell * spec.rows.length + 8,
  };
  const parts = [
    shape(
      "text",
      { class: "axis", x: left + (cell * spec.columns.length) / 2, y: 14, "text-anchor": "middle" },
      spec.columnTitle,
    ),
    shape(
      "text",
      {
        class: "axis",
        x: 12,
        y: top + (cell * spec.rows.length) / 2,
        "text-anchor": "middle",
        transform: `rotate(-90 12 ${top + (cell * spec.rows.length) / 2})`,
      },
      spec.rowTitle,
    ),
  ];
  spec.rows.forEach((name, i) =>
    parts.push(
      shape(
        "text",
        { class: "tick", x: left - 6, y: top + cell * (i + 0.5) + 4, "text-anchor": "end" },
        middle(name, 16),
      ),
    ),
  );
  spec.columns.forEach((name, j) => {
    const [x, y] = [left + cell * (j + 0.5), top - 7];
    const upright = top > 44;
    parts.push(
      shape(
        "text",
        {
          class: "tick",
          x: upright ? x + 4 : x,
          y,
          "text-anchor": upright ? "start" : "middle",
          transform: upright ? `rotate(-90 ${x + 4} ${y})` : null,
        },
        middle(name, 16),
      ),
    );
  });
  spec.values.forEach((row, i) =>
    row.forEach((value, j) => {
      if (value === null || value === undefined) return;
      const share = Math.max(0, Math.min(1, spec.share(value, i)));
      const [x, y] = [left + cell * j, top + cell * i];
      parts.push(
        shape("rect", { class: "cell", x, y, width: cell - 1, height: cell - 1 }),
        shape(
          "rect",
          { class: "heat", x, y, width: cell - 1, height: cell - 1, "fill-opacity": share.toFixed(3) },
          shape("title", null, `${spec.rows[i]}, ${spec.columns[j]}: ${spec.text(value)}`),
        ),
      );
      const text = spec.text(value);
      if (cell >= 6.5 * text.length + 3 && text !== "0") {
        parts.push(
          shape(
            "text",
            {
              class: share > 0.55 ? "number strong" : "number",
              x: x + cell / 2,
              y: y + cell / 2 + 4,
              "text-anchor": "middle",
            },
            text,
          ),
        );
      }
    }),
  );
  const made = figure(spec.title, spec.description, parts, size, null, spec.table);
  made.querySelector("svg.chart").classList.add("fixed");
  return made;
}
