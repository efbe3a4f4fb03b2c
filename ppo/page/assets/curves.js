// Curves over one axis, drawn by uPlot (each with an x of its own: its mode 2), with bands beneath and a tip at the pointer.
const HEIGHT = 260;
const FONT = "11px system-ui, sans-serif";
const LINTHRESH = data.edges[data.edges.length - 1]; // of the KL: above its last band the scale is logarithmic
const WIDTHS = { thin: 1, line: 1.6, dots: 0, rings: 0, middle: 2.4, step: 2.4 };
const apart = (item) => item.style === "dots" || item.style === "rings"; // points that no line joins

function curves(chart, box) {
  const lines = chart.lines.map((line) => ({ ...line, x: data.xs[line.x] }));
  const bands = chart.bands.map((band) => ({ ...band, x: data.xs[band.x], y: band.middle, style: band.step ? "step" : "middle" }));
  const all = [...lines, ...bands];
  const ends = all.filter((item) => item.x.length).flatMap((item) => [item.x[0], item.x[item.x.length - 1]]);
  const whole = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  if (whole[0] === whole[1]) { // one point: in the middle
    const room = Math.abs(whole[0]) * 0.1 || 1;
    whole.splice(0, 2, whole[0] - room, whole[0] + room);
  }
  const view = () => state.zoom[chart.group] || whole;
  const shown = (item) => !hiddenArm(item.arm);

  function heights([low, high]) {
    let [bottom, top] = [Infinity, -Infinity];
    const count = (y) => {
      if (y == null || (chart.scale === "log" && y <= 0)) return;
      if (y < bottom) bottom = y;
      if (y > top) top = y;
    };
    const look = (x, ys) => {
      for (let i = 0; i < x.length; i++) {
        if (x[i] >= low && x[i] <= high) count(ys[i]);
        for (const edge of [low, high]) { // where a line enters and leaves
          if (i > 0 && x[i - 1] < edge && x[i] > edge && ys[i - 1] != null && ys[i] != null) {
            count(ys[i - 1] + ((ys[i] - ys[i - 1]) * (edge - x[i - 1])) / (x[i] - x[i - 1]));
          }
        }
      }
    };
    lines.filter(shown).forEach((line) => look(line.x, line.y));
    bands.filter(shown).forEach((band) => { look(band.x, band.low); look(band.x, band.high); });
    if (top < bottom) [bottom, top] = chart.scale === "log" ? [0.1, 1] : [0, 1];
    if (chart.scale === "kl") return [Math.min(0, bottom), Math.max(top * 1.1, data.edges[1])];
    if (chart.scale === "log") return [bottom / 1.2, top * 1.2];
    const room = (top - bottom) * 0.06 || Math.abs(top) * 0.05 || 0.5;
    return [bottom - room, top + room];
  }

  // Within the frame of the axes and `edge` around it, in the pixels of the canvas.
  function within(u, edge, paint) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    const room = edge * devicePixelRatio; // a dot on the edge is drawn whole
    ctx.rect(bbox.left - room, bbox.top - room, bbox.width + 2 * room, bbox.height + 2 * room);
    ctx.clip();
    paint(ctx, (x) => u.valToPos(x, "x", true), (y) => u.valToPos(y, "y", true), bbox);
    ctx.restore();
  }

  function beneath(u) {
    within(u, 0, (ctx, px, py, bbox) => {
      if (chart.scale === "kl") {
        data.bands.forEach((band, i) => {
          const above = i + 1 < data.edges.length ? data.edges[i + 1] : Infinity;
          if (data.edges[i] >= u.scales.y.max) return;
          const [y0, y1] = [py(data.edges[i]), py(Math.min(above, u.scales.y.max))];
          ctx.fillStyle = faded(band, 0.13);
          ctx.fillRect(bbox.left, y1, bbox.width, y0 - y1);
        });
      }
      for (const band of bands.filter(shown)) {
        ctx.fillStyle = faded(band.colour, 0.18);
        for (const [from, to] of stretches(band)) {
          ctx.beginPath();
          trace(ctx, px, py, band, band.high, from, to, 1);
          trace(ctx, px, py, band, band.low, to, from, -1);
          ctx.fill();
        }
      }
    });
  }

  function above(u) {
    within(u, 4, (ctx, px, py) => {
      for (const item of all.filter(shown)) {
        ctx.strokeStyle = colour(item.colour);
        ctx.lineWidth = 1.6 * devicePixelRatio;
        item.y.forEach((y, i) => {
          const alone = item.y[i - 1] == null && item.y[i + 1] == null; // no line leads to it
          if (y == null || (!apart(item) && !alone)) return;
          ctx.beginPath();
          ctx.arc(px(item.x[i]), py(y), (item.low ? 4 : 3) * devicePixelRatio, 0, 2 * Math.PI);
          ctx.fillStyle = colour(item.style === "rings" ? "paper" : item.colour);
          ctx.fill();
          if (item.style === "rings") ctx.stroke();
        });
      }
    });
  }

  const thin = Math.max(0.12, Math.min(0.45, 12 / lines.length)); // of many lines, each is fainter
  const paths = { dots: () => null, rings: () => null, step: uPlot.paths.stepped({ align: 1 }) };
  const [first, last] = view();
  const [bottom, top] = heights([first, last]);
  const axis = { stroke: () => colour("muted"), grid: { stroke: () => colour("grid"), width: 1 }, font: FONT, ticks: { show: false } };
  const u = new uPlot({
    mode: 2,
    width: box.clientWidth || 400,
    height: HEIGHT,
    padding: [8, 14, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, dataIdx: () => null,
              bind: { dblclick: () => () => zoom(null) } },
    scales: {
      x: { time: false, auto: false, min: first, max: last },
      y: { auto: false, min: bottom, max: top, distr: { linear: 1, log: 3, kl: 4 }[chart.scale], asinh: LINTHRESH },
    },
    axes: [
      { ...axis, scale: "x", space: 70, size: 30, gap: 4, label: chart.x_label, labelFont: FONT, labelSize: 16, labelGap: 0,
        values: (_, splits) => splits.map((v) => figure(v)) },
      { ...axis, scale: "y", gap: 4, ...(chart.scale === "kl" ? { splits: klSplits } : {}),
        size: (_, values) => 14 + 6.4 * Math.max(3, ...(values || []).map((v) => (v || "").length)),
        values: (_, splits) => splits.map((v) => (v == null ? "" : figure(+v.toPrecision(chart.scale === "log" ? 2 : 6)))) },
    ],
    series: [{}, ...all.map((item) => ({
      facets: [{ scale: "x", auto: false, sorted: 1 }, { scale: "y", auto: false }],
      stroke: () => (item.style === "thin" ? faded(item.colour, thin) : colour(item.colour)),
      width: WIDTHS[item.style],
      points: { show: false },
      paths: paths[item.style] || uPlot.paths.linear(),
      show: shown(item),
    }))],
    hooks: {
      drawClear: [beneath],
      draw: [above],
      setSelect: [(u) => {
        const { left, width } = u.select;
        if (width > 6) zoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  }, [null, ...all.map((item) => [item.x, item.y])], box);

  function klSplits(u, _, min, max) {
    const wanted = [0, 0.0025, 0.005, ...data.edges.slice(1), 0.1, 1, 10, 100].filter((edge) => edge >= min && edge <= max);
    return wanted.filter((edge, i) => i === 0 || u.valToPos(wanted[i - 1], "y") - u.valToPos(edge, "y") > 9);
  }

  function zoom(range) {
    const span = range && range[1] - range[0];
    const inside = range && [Math.max(range[0], whole[0]), Math.min(range[1], whole[1])];
    const all = !range || (inside[0] <= whole[0] && inside[1] >= whole[1]) || !(span > 0);
    if (all) delete state.zoom[chart.group];
    else state.zoom[chart.group] = inside;
    for (const other of drawn) if (other.refresh && other.chart.group === chart.group) other.refresh();
    document.body.classList.toggle("zoomed", Object.keys(state.zoom).length > 0);
  }

  function refresh() {
    const range = view();
    const [bottom, top] = heights(range);
    u.batch(() => {
      all.forEach((item, i) => { u.series[i + 1].show = shown(item); });
      u.setScale("x", { min: range[0], max: range[1] });
      u.setScale("y", { min: bottom, max: top });
    });
    u.redraw();
    forget();
  }

  const forget = hover(u, [...bands, ...lines], shown);
  pinch(u, zoom);
  new ResizeObserver(() => {
    if (box.clientWidth && box.clientWidth !== u.width) u.setSize({ width: box.clientWidth, height: HEIGHT });
  }).observe(box);
  return { refresh, restyle: () => { u.redraw(false); forget(); }, canvas: u.ctx.canvas };
}

// The stretches [from, to] of a band in which nothing is missing.
function stretches(band) {
  const found = [];
  band.x.forEach((_, i) => {
    if (band.middle[i] == null || band.low[i] == null || band.high[i] == null) return;
    const open = found[found.length - 1];
    if (open && open[1] === i - 1) open[1] = i;
    else found.push([i, i]);
  });
  return found;
}

function trace(ctx, px, py, band, ys, from, to, way) {
  for (let i = from; way > 0 ? i <= to : i >= to; i += way) {
    if (band.step && i !== from) way > 0 ? ctx.lineTo(px(band.x[i]), py(ys[i - 1])) : ctx.lineTo(px(band.x[i + 1]), py(ys[i]));
    ctx.lineTo(px(band.x[i]), py(ys[i]));
  }
}
