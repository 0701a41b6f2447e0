// The confusion matrix of one run: rows true, columns predicted labels.
function fillConfusions() {
  const runs = ofComparison(DATA.confusions);
  byId("confusion").hidden = !runs.length;
  const before = byId("confusion-choice").value;
  byId("confusion-choice").replaceChildren(
    ...runs.flatMap((run) =>
      DATA.confusions[run].map((one, i) =>
        option(`${run} ${i}`, runTitle(run) + (DATA.confusions[run].length > 1 ? ` · ${one.task}` : "")),
      ),
    ),
  );
  keepChoice("confusion-choice", before);
}

function drawConfusion() {
  if (byId("confusion").hidden) return;
  const [run, task] = byId("confusion-choice").value.split(" ");
  const one = DATA.confusions[run][task];
  const rest = one.classes > one.labels.length;
  const columns = rest ? [...one.labels, `${one.classes - one.labels.length} others`] : one.labels;
  const wrong = one.counts
    .flatMap((row, i) => row.map((count, j) => [count, one.labels[i], columns[j], i === j]))
    .filter(([count, , , right]) => count && !right)
    .sort((a, b) => b[0] - a[0])
    .slice(0, 3);
  const frequent = wrong.map(([count, is, said]) => `${is} taken for ${said} (${count})`).join(", ");
  const text = [
    rest ? `The ${one.labels.length} worst of ${one.classes} classes by F1.` : "",
    frequent ? `Most frequent: ${short(frequent, 200)}.` : "No mistakes.",
    "Stronger: a larger share of the true label's rows, on a scale of square roots, so that rare confusions show.",
  ];
  show(byId("confusion").querySelector(".place"), (width) => [
    heatmap(
      {
        title: `Confusions of ${one.task}, ${runTitle(Number(run))}`,
        description: text.filter(Boolean).join(" "),
        rows: one.labels,
        columns,
        values: one.counts,
        text: String,
        rowTitle: "true",
        columnTitle: "predicted",
        share: (count, i) => (one.rows[i] ? Math.sqrt(count / one.rows[i]) : 0),
        table: () => [
          ["true", ...columns, "rows", "F1"],
          one.labels.map((label, i) => [label, ...one.counts[i], one.rows[i], score(one.f1[i])]),
        ],
      },
      width,
    ),
  ]);
}
