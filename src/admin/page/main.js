// Sign-in, the event stream, and the wiring of the page.
// The gateway sends an event every second: silence means that the connection is dead.
const SILENCE = 4000;
const RETRY = 1000;
let following = 0;

async function follow() {
  const mine = ++following;
  while (mine === following) {
    try {
      // The first record of a connection counts whatever was shown before: the gateway may have been restored to an older one.
      showRecord(await read("/mode"));
      samples.splice(0, samples.length, ...(await read("/traffic")).samples);
      const response = await call("GET", "/mode/events");
      if (!response.ok) throw new Error("no events");
      connected(true);
      showSurroundings();
      if (!routes.length) loadRoutes();
      await readEvents(response.body, () => mine === following);
    } catch (error) { /* Shown below, and tried again. */ }
    if (mine !== following) return;
    connected(false);
    await new Promise((done) => setTimeout(done, RETRY));
  }
}

function connected(live) {
  view.lostSince = live ? null : view.lostSince || new Date().toISOString();
  showTimes();
  setText("connection", live ? "live" : "connection lost; trying again");
  at("connection").classList.toggle("lost", !live);
}

async function readEvents(body, isWanted) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let silence;
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => reader.cancel(), SILENCE);
  };
  listen();
  try {
    while (isWanted()) {
      const { done, value } = await reader.read();
      if (done) return;
      listen();
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      blocks.forEach(handleEvent);
    }
  } finally {
    clearTimeout(silence);
    reader.cancel().catch(() => {});
  }
}

function handleEvent(block) {
  const field = (name) => (block.split("\n").find((line) => line.startsWith(name + ":")) || "").slice(name.length + 1).trim();
  const data = field("data");
  if (!data) return;
  const event = JSON.parse(data);
  if (field("event") === "record") showRecord(event);
  if (field("event") === "drain") showDrain(event);
  if (field("event") === "traffic") addSample(event);
}

function signOut(message) {
  following++;
  view.record = null;
  view.lostSince = null;
  samples.length = 0;
  sessionStorage.removeItem(KEY);
  if (at("flip").open) at("flip").close();
  document.title = "UCS gateway";
  setText("connection", "");
  say("notice", message || "", Boolean(message));
  for (const id of ["console", "banner", "sign-out"]) show(id, false);
  show("sign-in", true);
  at("token").value = "";
  at("token").focus();
}

function signIn() {
  say("notice", "");
  show("sign-in", false);
  for (const id of ["console", "sign-out"]) show(id, true);
  setText("connection", "connecting …");
  follow();
}

at("sign-in").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const token = at("token").value.trim();
  // A header cannot carry it, so the browser would not even send it.
  if (/[^\x20-\xff]/.test(token)) {
    signOut("The token has a character that no token has, perhaps a typographic quote. Copy it again.");
    return;
  }
  sessionStorage.setItem(KEY, token);
  signIn();
});
at("sign-out").addEventListener("click", () => signOut(""));
at("change").addEventListener("click", openFlip);
at("to").addEventListener("change", () => preview(""));
at("flip-form").addEventListener("submit", begin);
for (const id of ["not-now", "done"]) at(id).addEventListener("click", () => at("flip").close());
for (const id of ["revert", "cancel"]) at(id).addEventListener("click", revert);
at("search").addEventListener("input", showRoutes);
at("explain").addEventListener("submit", explain);
setInterval(() => {
  showTimes();
  if (flip.drain) showDrain(flip.drain);
  // Members confirm a flip one by one.
  if (view.fleet && view.record && view.record.phase === "switching") showFleet().catch(() => {});
}, 1000);
setInterval(() => { if (view.record) { showSurroundings(); loadRoutes(); } }, 15000);
if (sessionStorage.getItem(KEY)) signIn(); else signOut("");
