// A run over several stages: new and old classes after each of them, and the whole matrix.
function fillStages() {
  const runs = ofComparison(DATA.stages);
  byId("stages").hidden = !runs.length;
  const before = byId("stages-choice").value;
  byId("stages-choice").replaceChildren(...runs.map((run) => option(run, runTitle(run))));
  keepChoice("stages-choice", before);
}

function drawStages() {
  const section = byId("stages");
  if (section.hidden) return;
  const run = Number(byId("stages-choice").value);
  const one = DATA.stages[run];
  const after = one.numbers.map((number, i) => one.names[i] || `stage ${number}`);
  const place = new Map(one.numbers.map((number, i) => [number, after[i]]));
  const axis = (values, from, to) => {
    const scale = linear(one.numbers, from + 20, to - 20, Math.min(one.numbers.length, 8));
    const [low, high] = [one.numbers[0], one.numbers[one.numbers.length - 1]];
    const at = (number) => from + 20 + ((number - low) / (high - low)) * (to - from - 40);
    at.ticks = one.numbers.map((number) => [number, middle(place.get(number), 14)]);
    return scale.ticks ? at : scale;
  };
  const points = (values, what) =>
    values.map((value, i) => ({ x: one.numbers[i], y: value, title: `${what} after ${after[i]}: ${score(value)}` }));
  const known = one.matrix.flat().filter(isNumber);
  const [low, high] = [Math.min(0, least(known)), Math.max(1, most(known))];
  const omitted = one.of > one.numbers.length ? ` ${one.numbers.length} of ${one.of} stages are shown.` : "";
  const forgetting = isNumber(one.forgetting) ? ` Forgetting: ${score(one.forgetting)}.` : "";
  show(section.querySelector(".place"), (width) => [
    plot(
      {
        title: `${one.metric} on new and old classes, ${runTitle(run)}`,
        description:
          "After each stage: on its own test rows (new), and on those of all earlier stages together (old)." +
          forgetting +
          omitted,
        xTitle: "after stage",
        yTitle: one.metric,
        x: axis,
        height: 300,
        series: [
          { name: "new: the stage's own rows", style: 0, line: true, points: points(one.new, "new") },
          { name: "old: rows of all earlier stages", style: 1, line: true, points: points(one.old, "old") },
        ],
        table: () => [
          ["after stage", "new", "old"],
          after.map((name, i) => [name, score(one.new[i]), score(one.old[i])]),
        ],
      },
      width,
    ),
    heatmap(
      {
        title: `${one.metric} on each stage after each stage, ${runTitle(run)}`,
        description: `Down: after which stage; across: on whose test rows. Stronger: higher.${omitted}`,
        rows: after,
        columns: after,
        values: one.matrix,
        rowTitle: "after",
        columnTitle: "on the rows of",
        text: (value) => value.toFixed(2),
        share: (value) => (value - low) / (high - low),
        table: () => [
          ["after", ...after],
          one.matrix.map((row, i) => [after[i], ...after.map((_, j) => (j < row.length ? score(row[j]) : ""))]),
        ],
      },
      width,
    ),
  ]);
}
