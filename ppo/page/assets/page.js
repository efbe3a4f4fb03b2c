// The page around the charts: switches, arms, tables that are sorted, dark and light, printing.
const place = document.getElementById("charts");
const controls = document.getElementById("controls");

function draw(entry) {
  const make = entry.chart.kind === "curves" ? curves : rows;
  Object.assign(entry, make(entry.chart, entry.box));
}

// Bands that belong to no arm, and have no chip above.
const named = (chart) => (chart.bands || []).filter((band) => band.arm == null);

for (const chart of data.charts) {
  const box = make("div", { className: chart.kind });
  const save = make("button", { type: "button", className: "save", textContent: "PNG", title: "save as a picture" });
  const head = make("figcaption", {}, make("b", { textContent: chart.title }));
  if (chart.kind === "curves") head.append(save);
  const legend = make("div", { className: "legend" }, ...named(chart).map((band) => {
    const swatch = make("i", { className: "swatch" });
    swatch.style.background = `var(--${band.colour})`;
    return make("span", {}, swatch, band.name);
  }));
  const foot = make("p", { textContent: chart.note, hidden: !chart.note });
  const entry = { chart, box, figure: make("figure", { className: `of-${chart.kind}` }, head, legend, box, foot) };
  save.addEventListener("click", () => savePicture(entry));
  drawn.push(entry);
  place.append(entry.figure);
}

function update() {
  let fresh = null; // the first chart that was not there before
  for (const entry of drawn) {
    const hidden = !fits(entry.chart.when);
    if (entry.figure.hidden && !hidden) fresh ??= entry.figure;
    entry.figure.hidden = hidden;
    if (entry.figure.hidden) continue;
    if (entry.refresh) entry.refresh();
    else draw(entry); // when it is first asked for: its width is known only then
  }
  for (const row of document.querySelectorAll("tr[data-when]")) row.hidden = !fits(JSON.parse(row.dataset.when));
  if (fresh) fresh.scrollIntoView({ block: "nearest" });
}

// --- switches
for (const choice of data.choices) {
  const options = [...(choice.all ? [["", choice.all]] : []), ...choice.options.map((option) => [option, option])];
  state.chosen[choice.key] = options[0][0];
  const group = make("div", { className: "choice" });
  const id = `choice-${choice.key}`;
  group.append(make("label", { htmlFor: id, textContent: choice.label }));
  if (options.length > 5) {
    const select = make("select", { id }, ...options.map(([value, textContent]) => make("option", { value, textContent })));
    select.addEventListener("change", () => { state.chosen[choice.key] = select.value; update(); });
    group.append(select);
  } else {
    const buttons = options.map(([value, textContent]) => make("button", { type: "button", textContent, data: { value } }));
    const press = (value) => buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.value === value));
    buttons.forEach((button) => button.addEventListener("click", () => {
      state.chosen[choice.key] = button.dataset.value;
      press(button.dataset.value);
      update();
    }));
    press(options[0][0]);
    group.append(make("span", { className: "segments", id }, ...buttons));
  }
  if (choice.options.length > 1) controls.append(group);
}

if (data.arms.length) {
  const chips = data.arms.map((arm, i) => {
    const swatch = make("i", { className: "swatch" });
    swatch.style.background = `var(--${arm.colour})`;
    const chip = make("button", { type: "button", className: "chip", title: `${arm.name}\ndouble click: this one alone` }, swatch, make("span", { textContent: arm.name }));
    chip.addEventListener("click", () => { state.hidden.has(i) ? state.hidden.delete(i) : state.hidden.add(i); press(); });
    chip.addEventListener("dblclick", () => {
      const alone = data.arms.length - state.hidden.size === 1 && !state.hidden.has(i);
      state.hidden = new Set(alone ? [] : data.arms.map((_, k) => k).filter((k) => k !== i));
      press();
    });
    return chip;
  });
  const press = () => {
    chips.forEach((chip, i) => chip.setAttribute("aria-pressed", !state.hidden.has(i)));
    update();
  };
  chips.forEach((chip) => chip.setAttribute("aria-pressed", true));
  controls.append(make("div", { className: "chips" }, ...chips));
}

const whole = make("button", { type: "button", className: "whole", textContent: "reset zoom" });
whole.addEventListener("click", () => { state.zoom = {}; document.body.classList.remove("zoomed"); update(); });
controls.append(whole);

// --- pictures
function savePicture({ chart, canvas }) {
  if (!canvas) return;
  const ratio = devicePixelRatio;
  const own = named(chart);
  const names = own.length ? own : chart.bands.length || chart.lines.some((line) => line.arm != null) ? data.arms.filter((_, i) => !state.hidden.has(i)) : [];
  const picture = make("canvas", { width: canvas.width, height: canvas.height + (26 + 16 * names.length) * ratio });
  const ctx = picture.getContext("2d");
  ctx.fillStyle = colour("paper");
  ctx.fillRect(0, 0, picture.width, picture.height);
  ctx.scale(ratio, ratio);
  ctx.fillStyle = colour("ink");
  ctx.font = "bold 13px system-ui, sans-serif";
  ctx.fillText(chart.title, 8, 17);
  ctx.font = FONT;
  names.forEach((arm, i) => {
    ctx.fillStyle = colour(arm.colour);
    ctx.fillRect(8, 28 + 16 * i, 14, 4);
    ctx.fillStyle = colour("ink");
    ctx.fillText(arm.name, 28, 34 + 16 * i);
  });
  ctx.drawImage(canvas, 0, 26 + 16 * names.length, canvas.width / ratio, canvas.height / ratio);
  const link = make("a", { href: picture.toDataURL("image/png"), download: `${chart.title.replace(/[^\w.-]+/g, "_")}.png` });
  link.click();
}

// --- tables
function sortable(table) {
  const body = table.tBodies[0];
  const value = (row, i) => row.cells[i].textContent.trim();
  const number = (word) => (/^-?[\d.]/.test(word) ? parseFloat(word.replace(/,/g, "")) : NaN);
  [...table.tHead.rows[0].cells].forEach((cell, i) => {
    const sample = [...body.rows].map((row) => value(row, i));
    const numeric = sample.every((word) => !isNaN(number(word)) || /^(–|unknown|-?infinity|)$/.test(word));
    if (numeric) [cell, ...[...body.rows].map((row) => row.cells[i])].forEach((one) => one.classList.add("number"));
    cell.addEventListener("click", () => {
      const way = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      [...cell.parentNode.cells].forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const order = (a, b) => {
        const [one, two] = [value(a, i), value(b, i)];
        const [x, y] = [number(one), number(two)];
        if (numeric && isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1; // what is not known comes last
        return way * (numeric && !isNaN(x) ? x - y : one.localeCompare(two, "en", { numeric: true }));
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
document.querySelectorAll("table").forEach(sortable);

document.querySelectorAll("button.copy").forEach((button) => button.addEventListener("click", async () => {
  const line = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(line.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(line); // a browser that does not let us: it is at least selected
  }
}));

// --- dark, light, paper
const themes = ["auto", "dark", "light"];
const theme = document.getElementById("theme");
function restyle() {
  known = {};
  drawn.forEach((entry) => entry.restyle && entry.restyle());
}
if (theme) {
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = themes[(themes.indexOf(document.documentElement.dataset.theme || "auto") + 1) % themes.length];
    document.documentElement.dataset.theme = now;
    theme.textContent = now;
    restyle();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
let before_print = "auto";
addEventListener("beforeprint", () => {
  before_print = document.documentElement.dataset.theme || "auto";
  document.documentElement.dataset.theme = "light";
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  restyle();
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = before_print; restyle(); });

update();
document.body.dataset.drawn = drawn.filter((entry) => entry.refresh).length; // the script came to its end
