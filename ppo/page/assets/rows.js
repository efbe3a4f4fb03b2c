// Rows of dots with a middle and its interval, as elements: their places are shares of the width, so that they fit anywhere.
function ticks(low, high) {
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function rows(chart, box) {
  const values = chart.rows.flatMap((row) => [row.middle, ...row.interval, ...row.dots.map((dot) => dot[0])]).filter((v) => v != null);
  let [low, high] = chart.limits || (values.length ? [Math.min(...values), Math.max(...values)] : [0, 1]);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  if (!chart.limits) [low, high] = [low - (high - low) * 0.04, high + (high - low) * 0.04];
  const place = (value) => `${(100 * Math.max(0, Math.min(1, (value - low) / (high - low)))).toFixed(2)}%`;
  const share = (from, to) => `${((100 * (to - from)) / (high - low)).toFixed(2)}%`;
  const mark = (kind, left, more) => {
    const element = make("i", { className: kind, ...more });
    element.style.left = place(left);
    return element;
  };
  const longest = Math.max(0, ...chart.rows.map((row) => row.label.length));
  box.classList.toggle("stacked", longest * 7 > 0.3 * box.clientWidth); // names that do not fit beside go above
  const grid = () => ticks(low, high).map((value) => mark("tick", value));
  const elements = chart.rows.map((row) => {
    const track = make("div", { className: "track" }, ...grid());
    track.style.setProperty("--c", `var(--${row.colour})`);
    if (chart.reference != null) track.append(mark("reference", chart.reference));
    const [from, to] = row.interval;
    if (from != null && to != null) {
      const bar = mark("interval", from);
      bar.style.width = share(Math.max(from, low), Math.min(to, high));
      track.append(bar);
    }
    row.dots.forEach(([value, name, failed], i) => {
      if (value == null) return;
      const dot = mark(failed ? "dot failed" : "dot", value, { textContent: failed ? "×" : "" });
      dot.style.top = `${20 + 15 * (i % 5)}%`;
      tipped(dot, [row.label, `${name}: ${figure(value, true)}${failed ? ", failed" : ""}`]);
      track.append(dot);
    });
    if (row.middle != null) {
      const middle = mark("middle", row.middle);
      const range = from == null ? "" : ` (${figure(from, true)} to ${figure(to, true)})`;
      tipped(middle, [row.label, `${figure(row.middle, true)}${range}`]);
      track.append(middle);
    }
    return make("div", { className: "row" }, make("div", { className: "label", textContent: row.label }), track);
  });
  const scale = make("div", { className: "scale" }, ...ticks(low, high).map((value) => mark("number", value, { textContent: figure(value) })));
  box.append(...elements, scale, make("div", { className: "axis", textContent: chart.x_label }));
  const refresh = () => elements.forEach((element, i) => { element.hidden = chart.rows[i].arms.some(hiddenArm); });
  refresh();
  return { refresh, restyle() {} };
}

function tipped(element, lines) {
  element.title = "";
  element.addEventListener("pointerenter", (event) => showTip(lines, event.clientX, event.clientY));
  element.addEventListener("pointerleave", hideTip);
}
