// Learning curves of the first groups in the table's order: one colour a group, one line a run.
const RUNS_A_GROUP = 3;

function fillCurves() {
  const names = new Set(ofComparison(DATA.curves).flatMap((run) => Object.keys(DATA.curves[run])));
  const before = byId("curves-choice").value;
  byId("curves-choice").replaceChildren(...[...names].map((name) => option(name, name)));
  keepChoice("curves-choice", before);
}

function drawCurves(groups) {
  const name = byId("curves-choice").value;
  const section = byId("curves");
  section.hidden = !name;
  if (section.hidden) return;
  const having = groups
    .map((group) => [group, group.runs.filter((run) => DATA.curves[run] && DATA.curves[run][name])])
    .filter(([, runs]) => runs.length);
  const shown = having.slice(0, STYLES).map(([group, runs]) => [group, runs.slice(0, RUNS_A_GROUP)]);
  const title = (group) =>
    group.labels === null || group.labels === "all" ? group.line : `${group.line}, ${group.labels} labels a class`;
  const series = shown
    .flatMap(([group, runs], style) =>
      runs.map((run, i) => {
        const { steps, values } = DATA.curves[run][name];
        return {
          name: i ? null : title(group),
          style,
          line: true,
          faint: i > 0,
          marks: steps.length <= 30,
          size: 3,
          points: steps.map((at, k) => ({
            x: at,
            y: values[k],
            title: `${title(group)}, seed ${DATA.runs[run].seed}, step ${at}: ${score(values[k])}`,
          })),
        };
      }),
    )
    .filter((one) => one.points.some((one) => isNumber(one.y)));
  const said = [`${plural(series.length, "run")} of ${plural(shown.length, "group")}, up to ${RUNS_A_GROUP} of each.`];
  if (having.length > shown.length)
    said.push(`${having.length - shown.length} more groups have curves; filter the table to see them.`);
  if (DATA.limits.curves < DATA.runs.length)
    said.push(`Curves of ${plural(Object.keys(DATA.curves).length, "run")} are in this page.`);
  show(section.querySelector(".place"), (width) =>
    series.length
      ? [
          plot(
            {
              title: `${name} while training`,
              description: said.join(" "),
              xTitle: "step",
              yTitle: name,
              x: (values, from, to) => linear(values, from, to, width < 480 ? 4 : 8),
              series,
              table: () => [
                ["run", "first", "last", "lowest", "highest", "at step"],
                shown.flatMap(([group, runs]) =>
                  runs.map((run) => {
                    const { steps, values } = DATA.curves[run][name];
                    const known = values.filter(isNumber);
                    return [
                      `${title(group)}, seed ${DATA.runs[run].seed}`,
                      score(known[0]),
                      score(known[known.length - 1]),
                      known.length ? score(least(known)) : NOTHING,
                      known.length ? score(most(known)) : NOTHING,
                      steps[steps.length - 1],
                    ];
                  }),
                ),
              ],
            },
            width,
          ),
        ]
      : [element("p", { class: "quiet" }, "None of the groups shown has this curve.")],
  );
}
