// Places on an axis. A scale is a function value → pixel with `ticks`: [[value, text] …].
function least(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function most(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

// Whether the numbers are shares, which end at 0 and 1 though their intervals may not.
function rates(values) {
  return values.every((value) => !isNumber(value) || (value >= 0 && value <= 1));
}

function within(value, shares) {
  return shares && isNumber(value) ? Math.min(1, Math.max(0, value)) : value;
}

function step(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) || 10);
}

function linear(values, from, to, count) {
  let [low, high] = [least(values), most(values)];
  if (!(high > low)) {
    const room = Math.abs(low) * 0.1 || 0.5;
    [low, high] = [low - room, high + room];
  }
  const width = step(high - low, count);
  const [first, last] = [Math.floor(low / width + 1e-9), Math.ceil(high / width - 1e-9)];
  const place = (value) => from + ((value / width - first) / (last - first)) * (to - from);
  const decimals = Math.max(
    0,
    Math.min(6, -Math.floor(Math.log10(width) + 1e-9) + (String(width).includes("25") ? 1 : 0)),
  );
  place.ticks = [];
  for (let i = first; i <= last; i++) {
    const value = i * width;
    place.ticks.push([value, Math.abs(value) >= 1e4 ? quantity(value) : value.toFixed(decimals)]);
  }
  return place;
}

// Logarithmic where all are above zero and far apart; zero has no logarithm, so those values stand at the left end.
function byMagnitude(values, from, to) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length || most(positive) / least(positive) < 8) return linear(values, from, to, 5);
  const zero = positive.length < values.length;
  const low = Math.log10(least(positive)) - 0.06;
  const high = Math.log10(most(positive)) + 0.06;
  const start = zero ? from + 36 : from;
  const place = (value) => (value > 0 ? start + ((Math.log10(value) - low) / (high - low)) * (to - start) : from + 8);
  const factors = high - low < 1.6 ? [1, 2, 5] : [1];
  const every = Math.ceil((high - low) / 6);
  place.ticks = zero ? [[0, "0"]] : [];
  for (let power = Math.floor(low); power <= high; power++) {
    if (factors.length === 1 && (power - Math.floor(low)) % every) continue;
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (Math.log10(value) >= low && Math.log10(value) <= high) place.ticks.push([value, quantity(value)]);
    }
  }
  return place;
}

// Labels a class: doubling is one step; 0 stands left of the fewest, "all" right of the most.
function byLabels(values, from, to) {
  const counts = [...new Set(values.filter((value) => isNumber(value) && value > 0))].sort((a, b) => a - b);
  const at = new Map();
  if (values.includes(0)) at.set(0, Math.log2(counts[0] || 2) - 1.5);
  for (const count of counts) at.set(count, Math.log2(count));
  if (values.includes("all")) at.set("all", (at.size ? most([...at.values()]) : 0) + 1.5);
  const [low, high] = [least([...at.values()]), most([...at.values()])];
  const place = (value) =>
    high > low ? from + 14 + ((at.get(value) - low) / (high - low)) * (to - from - 28) : (from + to) / 2;
  place.ticks = [...at.keys()].map((value) => [value, String(value)]);
  return place;
}
