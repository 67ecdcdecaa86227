// Calls of the admin API, and small helpers for text. Everything shown comes from here; text is only ever set as text.
const KEY = "ucs-gateway-token";
const at = (id) => document.getElementById(id);
const show = (id, visible) => { at(id).hidden = !visible; };
const say = (id, text, bad = false) => {
  at(id).textContent = text;
  at(id).classList.toggle("bad", bad);
  show(id, text !== "");
};
const setText = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const when = (text) => (text ? new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) : "–");
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const names = (counts) => (counts || []).map((one) => `${one.count} × ${one.operation}`).join(", ");
const other = (mode) => (mode === "production" ? "maintenance" : "production");

// "3 min", "2 h 5 min".
function length(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const [unit, rest] = seconds < 86400 ? [[3600, "h"], [60, "min"]] : [[86400, "d"], [3600, "h"]];
  const more = Math.floor((seconds % unit[0]) / rest[0]);
  return `${Math.floor(seconds / unit[0])} ${unit[1]}${more ? ` ${more} ${rest[1]}` : ""}`;
}
const secondsTo = (text) => Math.round((new Date(text) - Date.now()) / 1000);
const ago = (text) => `${when(text)} (${length(Math.max(0, -secondsTo(text)))} ago)`;
const ahead = (text) => `${when(text)} (in ${length(Math.max(0, secondsTo(text)))})`;

class SignedOut extends Error {}

async function call(method, path, body) {
  const response = await fetch(path, {
    method, cache: "no-store", credentials: "omit", redirect: "error",
    headers: { Authorization: "Bearer " + sessionStorage.getItem(KEY), "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) {
    signOut("The token was not accepted. Sign in with a valid one.");
    throw new SignedOut();
  }
  return response;
}

async function read(path) {
  const response = await call("GET", path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || response.statusText);
  return answer;
}

// Rows of a table; a value is text, or a node.
function fill(table, rows) {
  at(table).tBodies[0].replaceChildren(...rows.map((values) => {
    const row = element("tr");
    row.append(...values.map((value) => {
      const cell = element("td");
      cell.append(value === null || value === undefined ? "" : value);
      return cell;
    }));
    return row;
  }));
}
