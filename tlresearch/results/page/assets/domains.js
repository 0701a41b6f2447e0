// Each domain of a group as a bar, the worst first.
function fillDomains() {
  const having = comparison()
    .groups.map((group, i) => [group, i])
    .filter(([group]) => group.domains);
  byId("domains").hidden = !having.length;
  byId("domains-choice").replaceChildren(
    ...having.map(([group, i]) => {
      const worst = group.domains.domains[0];
      return option(i, `${short(group.line, 70)} · worst: ${short(worst.name, 30)} (${score(worst.mean)})`);
    }),
  );
}

function drawDomains() {
  const section = byId("domains");
  if (section.hidden) return;
  const group = comparison().groups[byId("domains-choice").value];
  const { metric, of, domains } = group.domains;
  const worst = domains[0];
  const omitted = of > domains.length ? ` The ${domains.length} worst of ${of} domains.` : "";
  show(section.querySelector(".place"), (width) => {
    const height = 50 + 28 * domains.length;
    const left = 16 + 7 * Math.min(18, most(domains.map((one) => one.name.length)));
    const shares = rates(domains.map((one) => one.mean));
    const high = (one) => within(one.mean + (one.half || 0), shares);
    const ends = domains.flatMap((one) => [one.mean, high(one)]);
    const x = linear([0, ...ends], left, width - 110, 5);
    const parts = x.ticks
      .map(([value, text]) => [
        shape("line", { class: "grid", x1: x(value), x2: x(value), y1: 8, y2: height - 38 }),
        shape("text", { class: "tick", x: x(value), y: height - 22, "text-anchor": "middle" }, text),
      ])
      .flat();
    parts.push(
      shape("text", { class: "axis", x: (left + width - 110) / 2, y: height - 4, "text-anchor": "middle" }, metric),
    );
    domains.forEach((one, i) => {
      const y = 14 + 28 * i;
      const [from, to] = [Math.min(x(0), x(one.mean)), Math.max(x(0), x(one.mean))];
      parts.push(
        shape(
          "text",
          { class: i ? "tick" : "tick worst", x: left - 6, y: y + 14, "text-anchor": "end" },
          middle(one.name, 18),
        ),
        shape(
          "rect",
          { class: i ? "domain" : "domain worst", x: from, y, width: Math.max(1, to - from), height: 19 },
          shape("title", null, `${one.name}: ${plusMinus(one.mean, one.half)}`),
        ),
      );
      if (isNumber(one.half)) {
        parts.push(
          shape("path", {
            class: "bar plain",
            d: `M${Math.max(left, x(one.mean - one.half))},${y + 9.5}H${x(high(one))}m0,-4v8`,
          }),
        );
      }
      const end = Math.max(to, x(high(one)));
      parts.push(
        shape("text", { class: "tick", x: end + 6, y: y + 14 }, i ? score(one.mean) : `${score(one.mean)} worst`),
      );
    });
    return [
      figure(
        `${metric} in each domain, ${short(group.line, 60)}`,
        `Worst: ${worst.name} (${plusMinus(worst.mean, worst.half)}, ${whole(worst.rows)} test rows). ` +
          `Means over ${plural(worst.n, "run")}; lines are 95 % intervals.${omitted}`,
        parts,
        { width, height },
        null,
        () => [
          ["domain", metric, "runs", "test rows"],
          domains.map((one) => [one.name, plusMinus(one.mean, one.half), one.n, one.rows]),
        ],
      ),
    ];
  });
}
