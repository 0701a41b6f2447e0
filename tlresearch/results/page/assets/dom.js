// Elements are made here alone: texts become text nodes, so that a label that looks like markup stays a label.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG_NAMES = document.getElementById("seed").namespaceURI;

function byId(id) {
  return document.getElementById(id);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

// element("td", {class: "number"}, "0.5"); a function as an attribute listens to the event of that name.
function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG_NAMES, name), attributes, children);
}

function option(value, text) {
  return element("option", { value }, text);
}

// The choice that was made before, where it is still there.
function keepChoice(id, before) {
  if ([...byId(id).options].some((one) => one.value === before)) byId(id).value = before;
}

// A table of plain cells: what a chart shows, in words and numbers. The first cell of a row is its header.
function plainTable(caption, header, rows) {
  return element(
    "table",
    { class: "plain" },
    element("caption", null, caption),
    element(
      "thead",
      null,
      element(
        "tr",
        null,
        header.map((text) => element("th", { scope: "col" }, text)),
      ),
    ),
    element(
      "tbody",
      null,
      rows.map((row) =>
        element(
          "tr",
          null,
          row.map((cell, i) => {
            const numeric = typeof cell === "number" || /^[\d.,–\s±-]+$/.test(String(cell));
            return element(i ? "td" : "th", { scope: i ? null : "row", class: i && numeric ? "number" : null }, cell);
          }),
        ),
      ),
    ),
  );
}

// Later calls within a moment replace earlier ones.
function calm(action) {
  let waiting = 0;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(action, 120);
  };
}
