// One group of the table: its row, and what opens below it.
const RUNS_LISTED = 100;
let bodies = 0;

function intervalScale() {
  const known = comparison().groups.filter((group) => isNumber(group.mean));
  const ends = known.flatMap((group) => group.interval || [group.mean, group.mean]);
  const shares = rates(known.map((group) => group.mean));
  const [low, high] = [within(least(ends), shares), within(most(ends), shares)];
  return (value) => 3 + 94 * (high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5);
}

function groupBody(group, scale) {
  const id = `runs-${bodies++}`;
  const body = element("tbody");
  const open = state.open.has(group);
  const [first, ...others] = columns();
  const button = element(
    "button",
    {
      type: "button",
      class: "expand",
      "aria-expanded": String(open),
      "aria-controls": id,
      click: () => toggle(group, button, body, id),
    },
    element("span", { class: "sign", "aria-hidden": "true" }, open ? "▾" : "▸"),
    missing(first[1].value(group)) ? NOTHING : first[1].value(group),
  );
  const cells = others.map(([key, column]) => cell(key, column, group, scale));
  body.append(
    element(
      "tr",
      { class: group.best ? "best" : null },
      element("th", { scope: "row", class: first[1].numeric ? "number" : null }, button),
      cells,
    ),
  );
  if (open) body.append(details(group, id));
  return body;
}

function cell(key, column, group, scale) {
  if (key === "plot") return element("td", { class: "plot", "aria-hidden": "true" }, whisker(group, scale));
  if (key === "flags") {
    return element(
      "td",
      null,
      flags(group).map(([name, why]) => element("span", { class: "flag " + name.replace(" ", "-"), title: why }, name)),
    );
  }
  const value = column.value(group);
  if (key === "mean")
    return element("td", { class: "number", title: bootstrap(group) }, plusMinus(group.mean, half(group)));
  if (key === "trainable") return element("td", { class: "number" }, whole(value));
  if (key === "seconds") return element("td", { class: "number" }, isNumber(value) ? quantity(value) : NOTHING);
  if (key === "p") return element("td", { class: "number" }, isNumber(value) ? probability(value) : "");
  if (key === "selection") {
    const tried = group.tried > 1 ? `, ${group.tried} tried` : "";
    return element("td", null, `${group.selection}${tried}`);
  }
  return element("td", { class: column.numeric ? "number" : null }, missing(value) ? "" : value);
}

function probability(value) {
  return value < 0.001 ? "< 0.001" : value.toFixed(3);
}

function bootstrap(group) {
  return group.bootstrap ? `bootstrap: ${score(group.bootstrap[0])} to ${score(group.bootstrap[1])}` : null;
}

function whisker(group, scale) {
  if (!isNumber(group.mean)) return null;
  const parts = [shape("line", { class: "rail", x1: 3, x2: 97, y1: 8, y2: 8 })];
  if (group.interval) {
    const [low, high] = group.interval.map(scale);
    parts.push(shape("line", { class: "reach", x1: low, x2: high, y1: 8, y2: 8 }));
  }
  parts.push(shape("circle", { cx: scale(group.mean), cy: 8, r: 3.2 }));
  return shape("svg", { class: "whisker", width: 100, height: 16, viewBox: "0 0 100 16" }, parts);
}

function toggle(group, button, body, id) {
  const open = !state.open.has(group);
  if (open) state.open.add(group);
  else state.open.delete(group);
  button.setAttribute("aria-expanded", open);
  button.firstChild.textContent = open ? "▾" : "▸";
  if (open) body.append(details(group, id));
  else body.lastChild.remove();
}

function details(group, id) {
  const facts = [];
  if (isNumber(group.deviation)) facts.push(["standard deviation", score(group.deviation)]);
  if (group.interval) facts.push(["95 % interval (t)", group.interval.map(score).join(" to ")]);
  if (group.bootstrap) facts.push(["95 % interval (bootstrap)", group.bootstrap.map(score).join(" to ")]);
  if (group.chosen) facts.push(["chosen", group.chosen]);
  if (group.averaged_over) facts.push(["averaged over", group.averaged_over]);
  if (isNumber(group.rank)) facts.push(["average rank over data sets", quantity(group.rank)]);
  facts.push(...against(group), ...flags(group).filter(([name]) => name !== "best"));
  const inside = element(
    "div",
    { class: "inside" },
    facts.length
      ? element(
          "dl",
          null,
          facts.map(([name, value]) => element("div", null, element("dt", null, name), element("dd", null, value))),
        )
      : null,
    runsTable(group),
  );
  return element("tr", { id, class: "details" }, element("td", { colspan: columns().size }, inside));
}

function against(group) {
  const test = group.against_best;
  if (!test) return [];
  const facts = [["compared with", test.best]];
  const say = (name, key, write) => {
    if (isNumber(test[key])) facts.push([name, write(test[key])]);
  };
  say("difference to the best", "difference", score);
  say("paired over", "n", (n) => plural(n, "run"));
  say("p, paired t", "p_t", probability);
  say("p, Wilcoxon", "p_wilcoxon", probability);
  say("p, Holm's correction", "p_holm", probability);
  say("effect size", "effect", quantity);
  if (test.more_seeds > 0) say("would tell", "more_seeds", (n) => `about ${plural(n, "more seed")}`);
  return facts;
}

function runsTable(group) {
  const listed = group.runs.slice(0, RUNS_LISTED);
  const title = listed.length < group.n ? `${listed.length} of ${plural(group.n, "run")}` : plural(group.n, "run");
  return plainTable(
    `${title} of ${short(group.line, 80)}`,
    ["seed", comparison().metric, "train s", "", "folder", "overrides"],
    listed.map((number) => {
      const run = DATA.runs[number];
      return [
        run.seed,
        score(run.values[state.metric]),
        quantity(run.seconds),
        run.stale ? "stale" : "",
        run.folder,
        run.overrides,
      ];
    }),
  );
}
