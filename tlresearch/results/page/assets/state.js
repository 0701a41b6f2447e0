// What is shown: which metric, which groups, in which order. The table and the charts ask here.
const state = { metric: 0, dataset: "", words: [], column: "mean", falling: true, open: new Set() };

function comparison() {
  return DATA.comparisons[state.metric];
}

function lowerIsBetter() {
  return comparison().better === "lower";
}

function flags(group) {
  const found = [];
  if (group.best) found.push(["best", "no other group is better, and the test says so"]);
  if (group.oracle) found.push(["oracle", "chosen by numbers of the test rows: not comparable with the others"]);
  if (group.stale) found.push(["stale", `${plural(group.stale, "run")} made by other code than today's`]);
  if (group.negative_transfer) found.push(["negative transfer", group.negative_transfer]);
  return found;
}

const COLUMNS = {
  name: { title: "group", value: (group) => group.name },
  mean: { title: null, value: (group) => group.mean, numeric: true },
  plot: { title: "95 % interval" },
  n: { title: "n", value: (group) => group.n, numeric: true },
  trainable: { title: "trainable", value: (group) => group.cost.parameters_trainable, numeric: true },
  seconds: { title: "train s", value: (group) => group.cost.seconds_training, numeric: true },
  selection: { title: "selected by", value: (group) => group.selection },
  p: { title: "p (Holm)", value: (group) => (group.against_best || {}).p_holm, numeric: true },
  flags: {
    title: "flags",
    value: (group) =>
      flags(group)
        .map(([name]) => name)
        .join(" "),
  },
};

// Key → {title, value, numeric}, in the order of the table; a setting's key has "cell:" in front.
// The first one's cells are the rows' headers: a setting, or the groups' name where they differ in none.
function columns() {
  const shown = comparison();
  if (!known.has(shown)) known.set(shown, columnsOf(shown));
  return known.get(shown);
}

const known = new WeakMap();

function columnsOf({ columns: keys, groups, metric }) {
  const { name, mean, ...others } = COLUMNS;
  const settings = keys.map((key) => [
    "cell:" + key,
    {
      title: key,
      value: (group) => group.cells[key],
      numeric: groups.some((group) => group.cells[key] && isNumber(Number(group.cells[key]))),
    },
  ]);
  const first = settings.length ? settings : [["name", name]];
  return new Map([...first, ["mean", { ...mean, title: metric }], ...Object.entries(others)]);
}

function text(group) {
  const cells = Object.values(group.cells).join(" ");
  return `${group.name} ${cells} ${group.selection} ${COLUMNS.flags.value(group)}`.toLowerCase();
}

function setFilter(typed) {
  state.words = typed
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word && !/^[-−]$/.test(word));
}

// The column that says on which data a group was trained; undefined where all were on the same.
function dataColumn() {
  return comparison().columns.find((key) => key === "dataset" || key === "dataset.name");
}

function datasets(groups) {
  const key = dataColumn();
  return key ? [...new Set(groups.map((group) => group.cells[key]))] : [];
}

function matches(group) {
  if (state.dataset && group.cells[dataColumn()] !== state.dataset) return false;
  const found = text(group);
  return state.words.every((word) => (/^[-−]/.test(word) ? !found.includes(word.slice(1)) : found.includes(word)));
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  const numbers = a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y);
  return numbers ? x - y : String(a).localeCompare(String(b), "en", { numeric: true });
}

function missing(value) {
  return value === null || value === undefined || value === "";
}

// The groups that the filter lets through, sorted; those without a value are last in both directions.
function visible() {
  const column = columns().get(state.column) || COLUMNS.mean;
  const sign = state.falling ? -1 : 1;
  return comparison()
    .groups.filter(matches)
    .sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return sign * compare(x, y);
    });
}

// The groups' lines, each with its groups, in the order of the table: line name → groups.
function lines(groups) {
  const found = new Map();
  for (const group of groups) {
    if (!found.has(group.line)) found.set(group.line, []);
    found.get(group.line).push(group);
  }
  return found;
}

// Run number → its group in the comparison shown.
function groupsOfRuns() {
  return new Map(comparison().groups.flatMap((group) => group.runs.map((run) => [run, group])));
}

// Those of the runs, by whose numbers something is kept, that the comparison shown is about.
function ofComparison(kept) {
  const known = groupsOfRuns();
  return Object.keys(kept)
    .map(Number)
    .filter((run) => known.has(run));
}

function runTitle(number) {
  const run = DATA.runs[number];
  const group = groupsOfRuns().get(number);
  const value = run.values[state.metric];
  const name = group ? short(group.line, 60) : run.folder;
  return `${name} · seed ${run.seed}${isNumber(value) ? ` · ${score(value)}` : ""}`;
}
