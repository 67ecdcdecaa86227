// Requests per second by class and outcome, and the operations in flight.
const SECONDS = 300;
const HEIGHT = 60;
const OUTCOMES = ["served", "refused", "failed"];
const samples = [];

function addSample(sample) {
  samples.push(sample);
  if (samples.length > SECONDS) samples.shift();
  showRunning(sample.running);
  drawCharts();
}

function showRunning(running) {
  const table = at("running");
  const rows = running.map((one) => [one.operation, one.class, one.count, one.oldest_ms ? length(Math.floor(one.oldest_ms / 1000)) : "< 1 s"]);
  fill("running", rows.length ? rows : [["No request is in flight.", "", "", ""]]);
  const counts = running.reduce((sum, one) => sum + one.count, 0);
  setText("in-flight", `(${counts})`);
  table.hidden = false;
}

function drawCharts() {
  const classes = [...new Set(samples.flatMap((sample) => Object.keys(sample.classes)))].sort();
  show("no-traffic", classes.length === 0);
  const charts = at("charts");
  for (const old of [...charts.children]) if (!classes.includes(old.dataset.of)) old.remove();
  for (const name of classes) {
    let chart = [...charts.children].find((one) => one.dataset.of === name);
    if (!chart) {
      chart = element("div", null, "chart");
      chart.dataset.of = name;
      const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      picture.setAttribute("viewBox", `0 0 ${SECONDS} ${HEIGHT}`);
      picture.setAttribute("preserveAspectRatio", "none");
      picture.setAttribute("aria-hidden", "true");
      chart.append(element("h3", name), element("p"), picture);
      charts.append(chart);
    }
    drawChart(chart, name);
  }
}

function drawChart(chart, name) {
  const of = (sample, outcome) => (sample.classes[name] || {})[outcome] || 0;
  const totals = samples.map((sample) => OUTCOMES.reduce((sum, outcome) => sum + of(sample, outcome), 0));
  const most = Math.max(1, ...totals);
  const recent = samples.slice(-10);
  const rates = OUTCOMES.map((outcome) => recent.reduce((sum, sample) => sum + of(sample, outcome), 0) / Math.max(1, recent.length));
  chart.querySelector("p").textContent = OUTCOMES.map((outcome, place) => `${rates[place].toFixed(1)}/s ${outcome}`).join(", ") + `; at most ${most}/s`;
  const picture = chart.querySelector("svg");
  const x = (place) => SECONDS - samples.length + place;
  const y = (value) => (HEIGHT - (value / most) * (HEIGHT - 4)).toFixed(1);
  const stacked = samples.map(() => 0);
  const shapes = OUTCOMES.map((outcome) => {
    const below = samples.map((_, place) => `${x(place)},${y(stacked[place])}`).reverse();
    samples.forEach((sample, place) => { stacked[place] += of(sample, outcome); });
    const shape = document.createElementNS(picture.namespaceURI, "polygon");
    shape.setAttribute("class", outcome);
    shape.setAttribute("points", samples.map((_, place) => `${x(place)},${y(stacked[place])}`).concat(below).join(" "));
    return shape;
  });
  const newest = samples.length ? new Date(samples[samples.length - 1].at) : Date.now();
  const marks = view.flips.map((flip) => SECONDS - (newest - flip) / 1000).filter((place) => place > 0).map((place) => {
    const mark = document.createElementNS(picture.namespaceURI, "line");
    const lines = { x1: place, x2: place, y1: 0, y2: HEIGHT, class: "flip" };
    for (const [key, value] of Object.entries(lines)) mark.setAttribute(key, value);
    return mark;
  });
  picture.replaceChildren(...shapes, ...marks);
}
