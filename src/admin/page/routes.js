// The route table with its search, and the explanation of one request.
const MOST_ROWS = 40;
const ROWS_UNASKED = 10;
let routes = [];

async function loadRoutes() {
  try {
    routes = (await read("/routes")).routes;
    showRoutes();
  } catch (error) { /* The mode matters more. */ }
}

function showRoutes() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (route) => [route.operation, route.id, route.method, route.pattern, route.class].join(" ").toLowerCase();
  const found = routes.filter((route) => words.every((word) => text(route).includes(word)));
  const shown = found.slice(0, words.length ? MOST_ROWS : ROWS_UNASKED);
  setText("routes-count", `${found.length} of ${plural(routes.length, "route")}${found.length > shown.length ? `; the first ${shown.length} are shown` : ""}`);
  fill("routes", shown.map((route) => [route.operation, route.method, route.pattern, route.class, route.modes.join(", "), route.admitted, route.refused]));
}

async function explain(submitted) {
  submitted.preventDefault();
  const box = at("explained");
  box.replaceChildren();
  show("explained", true);
  try {
    const query = new URLSearchParams({ method: at("method").value, path: at("path").value });
    const found = await read("/explain?" + query);
    const list = element("dl");
    const add = (name, fact, bad) => {
      const group = element("div");
      group.append(element("dt", name), element("dd", fact, bad ? "bad" : ""));
      list.append(group);
    };
    add("Route", found.route ? `${found.route.operation} (${found.route.method} ${found.route.pattern}; class ${found.route.class}; line ${found.route.line})` : "none");
    for (const mode of ["production", "maintenance", "switching"]) {
      const outcome = found[mode];
      add(mode === "switching" ? "While switching" : "In " + mode, `${outcome.verdict}${outcome.status ? " with " + outcome.status : ""}: ${outcome.detail}`, outcome.verdict === "refused");
    }
    box.append(list);
  } catch (error) {
    if (!(error instanceof SignedOut)) box.append(element("p", error.message, "notice bad"));
  }
}
