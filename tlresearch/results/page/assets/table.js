// The table of groups: sorted by its headers, filtered, rows made in portions.
const PORTION = 100;
let shownRows = 0;
let ordered = [];

function drawTable(keepFocus) {
  ordered = visible();
  shownRows = 0;
  const table = byId("table");
  for (const body of [...table.tBodies]) body.remove();
  drawHeader(table.tHead, keepFocus);
  caption();
  moreRows(PORTION);
  const all = comparison().groups;
  const runs = ordered.reduce((sum, group) => sum + group.n, 0);
  byId("status").textContent = all.length
    ? `Showing ${ordered.length} of ${plural(all.length, "group")} (${plural(runs, "run")}).`
    : comparison().not_done.length
      ? "No run is done yet."
      : "No runs yet; tlresearch train makes one.";
  table.hidden = !all.length;
}

function caption() {
  const { metric, better, shared } = comparison();
  const common = Object.entries(shared)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");
  byId("results-caption").textContent =
    `${metric}, ${better} is better: mean ± half the 95 % interval over runs that differ by their seed` +
    (common ? `. All: ${common}` : "");
}

function drawHeader(head, focused) {
  const cells = [...columns()].map(([key, column]) => {
    if (!column.value) return element("th", { scope: "col", class: "plot", "aria-hidden": "true" }, column.title);
    const sorted = state.column === key;
    const button = element(
      "button",
      { type: "button", "data-column": key, click: () => sortBy(key) },
      column.title,
      element("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (state.falling ? " ▼" : " ▲") : ""),
    );
    return element(
      "th",
      {
        scope: "col",
        class: column.numeric ? "number" : null,
        "aria-sort": sorted ? (state.falling ? "descending" : "ascending") : "none",
      },
      button,
    );
  });
  head.replaceChildren(element("tr", null, cells));
  if (focused) head.querySelector(`[data-column="${CSS.escape(focused)}"]`).focus();
}

function sortBy(key) {
  if (state.column === key) state.falling = !state.falling;
  else {
    state.column = key;
    state.falling = key === "mean" ? !lowerIsBetter() : key === "n" || key === "flags";
  }
  drawTable(key);
  drawGroups();
}

// Appends rows; each group has a body of its own, which also holds its details once it was opened.
function moreRows(count) {
  const table = byId("table");
  const end = Math.min(shownRows + count, ordered.length);
  const scale = intervalScale();
  const made = document.createDocumentFragment();
  for (; shownRows < end; shownRows++) made.append(groupBody(ordered[shownRows], scale));
  table.append(made);
  const left = ordered.length - shownRows;
  const button = byId("more");
  button.hidden = left === 0;
  button.textContent = `Show ${Math.min(PORTION, left)} more of ${left}`;
}

function notes() {
  const { notes: said, not_done: lost, not_done_in_all: all, groups } = comparison();
  const here = [...said];
  const { groups: groupsInAll, runs: runsInAll } = DATA.limits;
  const kept = DATA.comparisons.reduce((sum, one) => sum + one.groups.length, 0);
  if (kept < groupsInAll)
    here.push(`${kept} of ${groupsInAll} groups are in this page, the best ones; choose with --where.`);
  if (DATA.runs.length < runsInAll && DATA.comparisons.length === 1) {
    here.push(`${DATA.runs.length} of ${runsInAll} runs are in this page one by one; means are over all.`);
  }
  if (groups.some((group) => group.stale))
    here.push("Stale: made by other code than today's; rerun_stale=true runs them again.");
  byId("notes").replaceChildren(
    ...(here.length
      ? [
          element(
            "ul",
            { class: "quiet" },
            here.map((note) => element("li", null, note)),
          ),
        ]
      : []),
  );
  byId("unfinished").hidden = !lost.length;
  byId("unfinished")
    .querySelector(".scroll")
    .replaceChildren(
      plainTable(
        all > lost.length ? `${lost.length} of ${all} runs without numbers` : `${plural(all, "run")} without numbers`,
        ["folder", "status", "overrides", "error"],
        lost.map((run) => [run.folder, run.status, run.overrides, run.error].map((cell) => cell || "")),
      ),
    );
}
