// Wires the controls to the drawing.
function drawGroups() {
  const groups = visible();
  drawLabels(groups);
  drawCost(groups);
  drawCurves(groups);
  contents();
}

function drawAll() {
  state.falling = !lowerIsBetter();
  state.column = "mean";
  state.open.clear();
  summary();
  fillDatasets();
  drawTable();
  notes();
  fillCosts();
  fillCurves();
  fillConfusions();
  fillDomains();
  fillStages();
  drawGroups();
  drawConfusion();
  drawDomains();
  drawStages();
  contents();
}

function fillDatasets() {
  const found = datasets(comparison().groups);
  state.dataset = "";
  byId("data-choice").hidden = found.length < 2;
  byId("dataset").replaceChildren(option("", "all"), ...found.map((name) => option(name, name)));
}

function summary() {
  const { metric, groups } = comparison();
  const runs = groups.reduce((sum, group) => sum + group.n, 0);
  byId("summary").textContent = `${plural(runs, "run")} in ${plural(groups.length, "group")} · ${metric}`;
  for (const place of document.querySelectorAll(".metric-name")) place.textContent = metric;
}

// Links to the sections that have something to show.
function contents() {
  const links = [...document.querySelectorAll("main > section")]
    .filter((section) => !section.hidden)
    .map((section) => element("a", { href: `#${section.id}` }, section.querySelector("h2").textContent));
  byId("contents").replaceChildren(...links);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function start() {
  byId("metric").replaceChildren(...DATA.comparisons.map((one, i) => option(i, one.metric)));
  byId("metric-choice").hidden = DATA.comparisons.length < 2;
  byId("metric").addEventListener("change", () => {
    state.metric = Number(byId("metric").value);
    drawAll();
  });
  const theme = byId("theme");
  theme.setAttribute("aria-pressed", isDark());
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    theme.setAttribute("aria-pressed", isDark());
  });
  const groupsLater = calm(drawGroups);
  byId("filter").addEventListener("input", () => {
    setFilter(byId("filter").value);
    drawTable();
    groupsLater();
  });
  byId("dataset").addEventListener("change", () => {
    state.dataset = byId("dataset").value;
    drawTable();
    drawGroups();
  });
  byId("more").addEventListener("click", () => moreRows(PORTION));
  for (const [id, draw] of [
    ["cost", drawGroups],
    ["curves", drawGroups],
    ["confusion", drawConfusion],
    ["domains", drawDomains],
    ["stages", drawStages],
  ]) {
    byId(`${id}-choice`).addEventListener("change", draw);
  }
  let width = window.innerWidth;
  window.addEventListener(
    "resize",
    calm(() => {
      if (width === window.innerWidth) return;
      width = window.innerWidth;
      for (const redraw of redraws.values()) redraw();
    }),
  );
  window.addEventListener("beforeprint", () => moreRows(Infinity));
  drawAll();
  document.documentElement.dataset.ready = "true";
}

start();
