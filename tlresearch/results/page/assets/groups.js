// The two charts of groups: against labels and against cost. They show what the table's filter lets through.
const POINTS_SHOWN = 400;

function said(group) {
  return plusMinus(group.mean, half(group));
}

function point(group, x) {
  const [low, high] = group.interval || [null, null];
  return { x, y: group.mean, low, high, group };
}

function cut(groups) {
  const ends = groups.flatMap((group) => group.interval || []);
  return rates(groups.map((group) => group.mean)) && (least(ends) < 0 || most(ends) > 1)
    ? " Intervals are cut at 0 and 1."
    : "";
}

function ofLines(shown, all, groups) {
  const several =
    datasets(groups).length > 1 ? " Several data sets are shown together; choose one above the table." : "";
  return (
    several +
    (all > shown ? ` The first ${shown} of ${all} lines in the table's order; filter the table for others.` : "")
  );
}

function drawLabels(groups) {
  const known = groups.filter((group) => isNumber(group.mean) && group.labels !== null);
  const section = byId("labels");
  section.hidden = new Set(known.map((group) => group.labels)).size < 2;
  if (section.hidden) return;
  const all = [...lines(known)];
  const shown = all.slice(0, STYLES);
  const order = (value) => (value === "all" ? Infinity : value);
  const series = shown.map(([name, members], style) => ({
    name,
    style,
    line: true,
    points: members
      .map((group) => ({
        ...point(group, group.labels),
        title: `${name}, ${group.labels} labels a class: ${said(group)}`,
      }))
      .sort((a, b) => order(a.x) - order(b.x)),
  }));
  const { metric } = comparison();
  show(section.querySelector(".place"), (width) => [
    plot(
      {
        title: `${metric} against labels a class`,
        description:
          "Means and 95 % intervals over seeds; each step to the right doubles the labels." +
          cut(known) +
          ofLines(shown.length, all.length, known),
        xTitle: "labels a class",
        yTitle: metric,
        x: byLabels,
        series,
        table: () => [
          ["line", "labels a class", metric, "n"],
          shown.flatMap(([name, members]) => members.map((group) => [name, group.labels, said(group), group.n])),
        ],
      },
      width,
    ),
  ]);
}

function costs() {
  const found = new Set(comparison().groups.flatMap((group) => Object.keys(group.cost)));
  return ["seconds_training", ...[...found].sort()].filter(
    (name, i, names) => found.has(name) && names.indexOf(name) === i,
  );
}

// Groups that no other beats in both, cheapest first: as cheap and better, or cheaper and as good, beats.
function paretoFront(groups, cost) {
  const sign = lowerIsBetter() ? 1 : -1;
  const sorted = [...groups].sort((a, b) => a.cost[cost] - b.cost[cost] || sign * (a.mean - b.mean));
  const front = [];
  for (const group of sorted) {
    if (!front.length || sign * (group.mean - front[front.length - 1].mean) < 0) front.push(group);
  }
  return front;
}

function drawCost(groups) {
  const cost = byId("cost-choice").value;
  const section = byId("cost");
  const known = groups.filter((group) => isNumber(group.mean) && isNumber(group.cost[cost]));
  section.hidden = !cost;
  if (section.hidden) return;
  const front = paretoFront(known, cost);
  const onFront = new Set(front);
  const all = [...lines(known)];
  const named = (group, name) =>
    group.labels === null || group.labels === "all" ? name : `${name}, ${group.labels} labels a class`;
  const place = (name, group) => ({
    ...point(group, group.cost[cost]),
    title: `${named(group, name)}: ${said(group)} for ${quantity(group.cost[cost])}`,
    note: onFront.has(group) && front.length <= 8 ? short(name, 18) : null,
  });
  const series = all
    .slice(0, STYLES)
    .map(([name, members], style) => ({ name, style, points: members.map((group) => place(name, group)) }));
  const others = all.slice(STYLES).flatMap(([name, members]) => members.map((group) => place(name, group)));
  const room = Math.max(0, POINTS_SHOWN - series.flatMap((one) => one.points).length);
  const shown = others.filter((one, i) => i < room || onFront.has(one.group));
  if (shown.length) series.unshift({ style: -1, points: shown.map((one) => ({ ...one, low: null })) });
  const { metric } = comparison();
  show(section.querySelector(".place"), (width) =>
    known.length
      ? [
          plot(
            {
              title: `${metric} against ${spoken(cost)}`,
              description:
                `Pareto front (the stepped line): ${short(front.map((group) => group.line).join("; "), 300)}. ` +
                "No other group reaches as much for less." +
                (shown.length ? ` Grey: ${plural(others.length, "group")} of other lines.` : "") +
                cut(known) +
                ofLines(STYLES, STYLES, known),
              xTitle: spoken(cost),
              yTitle: metric,
              x: byMagnitude,
              series,
              front: front.map((group) => [group.cost[cost], group.mean]),
              table: () => [
                ["group", spoken(cost), metric, "on the front"],
                known
                  .slice(0, POINTS_SHOWN)
                  .map((group) => [
                    named(group, group.line),
                    quantity(group.cost[cost]),
                    said(group),
                    onFront.has(group) ? "yes" : "",
                  ]),
              ],
            },
            width,
          ),
        ]
      : [element("p", { class: "quiet" }, "None of the groups shown has this cost.")],
  );
}

function fillCosts() {
  const before = byId("cost-choice").value;
  const names = costs();
  byId("cost-choice").replaceChildren(...names.map((name) => option(name, spoken(name))));
  keepChoice("cost-choice", before);
}
