// What the other scripts share: elements, numbers as text, colours, and what the reader has chosen.
const data = JSON.parse(document.getElementById("data").textContent);
const state = { chosen: {}, hidden: new Set(), zoom: {} }; // hidden: arms; zoom: group -> [low, high]
const drawn = []; // every chart on the page: {chart, box, refresh(), restyle()}

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  const { data: marks, ...plain } = properties || {};
  Object.assign(element, plain);
  Object.assign(element.dataset, marks);
  element.append(...children);
  return element;
}

// Where a chart or a row of a table is shown: each of its keys must hold what is chosen, or all are chosen ("").
function fits(when) {
  return Object.entries(when).every(([key, values]) => !state.chosen[key] || values.includes(state.chosen[key]));
}

const hiddenArm = (arm) => arm != null && state.hidden.has(arm);

// 1234567 -> 1.23M on an axis, with `long` 1,234,567.
function figure(value, long = false) {
  if (value == null || !isFinite(value)) return "none";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return value.toExponential(2).replace(/\.?0+e/, "e");
  if (!long) {
    for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (size >= unit) return `${+(value / (letter === "k" ? 1e3 : unit)).toPrecision(4)}${letter}`;
    }
  }
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
}

// A colour of page.css as the canvas wants it; `light-dark()` is resolved by the browser.
const probe = make("i", { hidden: true });
document.body.append(probe);
let known = {};
function colour(name) {
  if (!known[name]) {
    probe.style.color = `var(--${name})`;
    known[name] = getComputedStyle(probe).color;
  }
  return known[name];
}
function faded(name, alpha) {
  const [red, green, blue] = colour(name).match(/[\d.]+/g);
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}

// One tip for the whole page, beside the pointer and never off the screen.
const tip = make("div", { id: "tip", hidden: true });
document.body.append(tip);
function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line) => make("div", { textContent: line })));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${y - height - 10 < 4 ? y + 18 : y - height - 10}px`;
}
const hideTip = () => { tip.hidden = true; };
