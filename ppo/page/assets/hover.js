// The curve that is nearest to the pointer, drawn thick above the others, and its value in words; two fingers zoom.
const REACH = 40; // pixels from the pointer to the curve

// The last i with x[i] <= value.
function before(x, value) {
  let [low, high] = [0, x.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (x[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

function hover(u, everything, shown) {
  const over = make("canvas", { className: "over" });
  u.over.append(over);

  function nearest(left, top) {
    let best = null;
    for (const item of everything) {
      if (!shown(item) || !item.x.length) continue;
      const at = u.posToVal(left, "x");
      const i = before(item.x, at);
      const next = Math.min(i + 1, item.x.length - 1);
      const k = at - item.x[i] > item.x[next] - at ? next : i;
      if (item.y[k] == null) continue;
      const [x, y] = [u.valToPos(item.x[k], "x"), u.valToPos(item.y[k], "y")];
      let away = Math.hypot((x - left) * (apart(item) ? 1 : 0.2), y - top);
      if (!apart(item) && next !== i && item.y[i] != null && item.y[next] != null && !item.step) {
        const share = (at - item.x[i]) / (item.x[next] - item.x[i] || 1); // on the line between two points
        if (share >= 0 && share <= 1) {
          away = Math.abs(u.valToPos(item.y[i], "y") * (1 - share) + u.valToPos(item.y[next], "y") * share - top);
        }
      }
      if (away < REACH && (!best || away < best.away)) best = { item, k, away, x, y };
    }
    return best;
  }

  function clear() {
    over.getContext("2d").clearRect(0, 0, over.width, over.height);
    hideTip();
  }

  function show(left, top, x, y) {
    const ratio = devicePixelRatio;
    over.width = u.over.clientWidth * ratio;
    over.height = u.over.clientHeight * ratio;
    const found = nearest(left, top);
    if (!found) return clear();
    const { item, k } = found;
    const ctx = over.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.strokeStyle = ctx.fillStyle = colour(item.colour);
    ctx.lineWidth = item.low ? 4 : 2.5;
    ctx.beginPath();
    let pen = false;
    if (!apart(item)) {
      item.x.forEach((step, i) => {
        if (item.y[i] == null) { pen = false; return; }
        const [px, py] = [u.valToPos(step, "x"), u.valToPos(item.y[i], "y")];
        if (pen && item.step) ctx.lineTo(px, u.valToPos(item.y[i - 1], "y"));
        pen ? ctx.lineTo(px, py) : ctx.moveTo(px, py);
        pen = true;
      });
    }
    ctx.stroke();
    ctx.beginPath();
    ctx.arc(found.x, found.y, 4.5, 0, 2 * Math.PI);
    ctx.fill();
    const arm = item.arm == null ? [] : [data.arms[item.arm].name];
    const range = item.low && item.low[k] != null ? ` (${figure(item.low[k], true)} to ${figure(item.high[k], true)})` : "";
    const at = `${u.axes[0].label || "x"} ${figure(item.x[k], true)}`;
    showTip([...arm, `${item.name}: ${figure(item.y[k], true)}${range}`, at], x, y);
  }

  u.over.addEventListener("mousemove", (event) => {
    const frame = u.over.getBoundingClientRect();
    show(event.clientX - frame.left, event.clientY - frame.top, event.clientX, event.clientY);
  });
  u.over.addEventListener("mouseleave", clear);
  const touched = (event) => {
    if (event.touches.length !== 1) return clear();
    const [finger, frame] = [event.touches[0], u.over.getBoundingClientRect()];
    show(finger.clientX - frame.left, finger.clientY - frame.top, finger.clientX, finger.clientY);
  };
  u.over.addEventListener("touchstart", touched, { passive: true });
  u.over.addEventListener("touchmove", touched, { passive: true });
  u.over.addEventListener("touchend", clear);
  return clear;
}

function pinch(u, zoom) {
  let start = null; // the values beneath both fingers when they came down
  const places = (event) => [...event.touches].map((finger) => finger.clientX - u.over.getBoundingClientRect().left).sort((a, b) => a - b);
  u.over.addEventListener("touchstart", (event) => {
    start = event.touches.length === 2 ? places(event).map((left) => u.posToVal(left, "x")) : null;
  }, { passive: true });
  u.over.addEventListener("touchmove", (event) => {
    if (!start || event.touches.length !== 2) return;
    event.preventDefault();
    const [a, b] = places(event);
    if (b - a < 8) return;
    const scale = (start[1] - start[0]) / (b - a);
    const low = start[0] - a * scale;
    zoom([low, low + u.over.clientWidth * scale]);
  }, { passive: false });
}
