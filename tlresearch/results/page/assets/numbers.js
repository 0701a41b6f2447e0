// How numbers are written.
const NOTHING = "–";
const WHOLE = new Intl.NumberFormat("en");

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function score(value) {
  if (!isNumber(value)) return NOTHING;
  const size = Math.abs(value);
  return size !== 0 && (size >= 1000 || size < 0.001) ? value.toPrecision(4) : value.toFixed(4);
}

// A short form: 3.24 G, 0.25, 12 k.
function quantity(value) {
  if (!isNumber(value)) return NOTHING;
  const size = Math.abs(value);
  for (const [unit, name] of [
    [1e15, " P"],
    [1e12, " T"],
    [1e9, " G"],
    [1e6, " M"],
    [1e4, " k"],
  ]) {
    const divisor = unit === 1e4 ? 1e3 : unit;
    if (size >= unit) return trimmed((value / divisor).toPrecision(3)) + name;
  }
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return trimmed(value.toPrecision(3));
}

function trimmed(text) {
  return String(Number(text));
}

function whole(value) {
  return isNumber(value) ? WHOLE.format(Math.round(value)) : NOTHING;
}

function half(group) {
  return group.interval ? (group.interval[1] - group.interval[0]) / 2 : null;
}

function plusMinus(mean, halfWidth) {
  return isNumber(halfWidth) ? `${score(mean)} ± ${score(halfWidth)}` : score(mean);
}

// "seconds_training" as people read it.
function spoken(name) {
  return name.replaceAll("_", " ");
}

function plural(count, noun) {
  return `${WHOLE.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// Cut in the middle: names of classes and domains often begin alike.
function middle(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return letters.slice(0, head).join("") + "…" + letters.slice(1 + head - most).join("");
}

function short(text, most) {
  const letters = Array.from(text);
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}
