// The dialog that changes the mode, and the drain, wherever it is shown.
const flip = { revision: null, running: false, most: 0, drain: null };

const drainViews = () => document.querySelectorAll("[data-drain]");

function showDrain(drain) {
  flip.drain = drain;
  flip.most = Math.max(flip.most, drain.waiting_for);
  for (const root of drainViews()) {
    if (!root.firstChild) {
      const bar = element("progress");
      bar.setAttribute("aria-label", "Requests that have ended");
      root.append(element("p"), bar, element("ul"));
    }
    const [text, bar, list] = root.children;
    const until = (drain.waiting_for && drain.drain_deadline) || drain.deadline;
    const left = until ? `; ${length(Math.max(0, secondsTo(until)))} left` : "";
    text.textContent = drain.waiting_for
      ? `Waiting for ${plural(drain.waiting_for, "request")} of ${drain.from}${left}.`
      : `No request is left to wait for${drain.in_fleet ? " here; waiting for every member" : "; setting UCS's mode"}${left}.`;
    bar.max = Math.max(1, flip.most);
    bar.value = flip.most ? flip.most - drain.waiting_for : 1;
    list.replaceChildren(...drain.running.map((one) => element("li", `${one.count} × ${one.operation}`)));
  }
}

function showDrainCard(switching) {
  show("drain", switching);
  if (!switching) {
    flip.most = 0;
    flip.drain = null;
    drainViews().forEach((root) => root.replaceChildren());
    say("drain-note", "");
    return;
  }
  for (const id of ["revert", "cancel"]) setText(id, `Revert to ${view.record.from}`);
}

// A change by another operator makes an open preview untrue; the end of a flip ends its progress.
function recordChanged(before) {
  if (!at("flip").open || flip.running || !before) return;
  if (!at("flip-form").hidden) preview("The mode or its record has changed meanwhile. ");
}

function openFlip() {
  at("flip-form").reset();
  at("to").value = other(view.record.mode);
  for (const option of at("to").options) option.disabled = option.value === view.record.mode;
  say("result", "");
  show("flip-form", true);
  show("flip-progress", false);
  show("done", false);
  at("flip").showModal();
  preview("");
}

async function preview(first) {
  const mode = at("to").value;
  setText("flip-title", `Change to ${mode}`);
  setText("do-it", `Change to ${mode} now`);
  show("force-choice", mode === "production");
  flip.revision = null;
  try {
    const seen = await read("/mode/preview?mode=" + encodeURIComponent(mode));
    flip.revision = seen.current.revision;
    const worst = seen.would_refuse[0];
    const rate = seen.window_seconds
      ? worst ? `would refuse ${seen.per_minute}/min, most of it ${worst.operation} (${worst.per_minute}/min)` : "would refuse no request of the last minutes"
      : "the rate is not known yet";
    setText("preview-text", `${first}Now: ${rate}; ${seen.waits_for} in flight to wait for.`);
    fill("preview", seen.would_refuse.map((one) => [one.operation, one.per_minute, one.in_flight]));
    show("preview", seen.would_refuse.length > 0);
  } catch (error) {
    if (!(error instanceof SignedOut)) setText("preview-text", "No preview: " + error.message);
  }
}

function wanted() {
  const body = { mode: at("to").value, on_timeout: at("late").value };
  if (flip.revision !== null) body.if_revision = flip.revision;
  const texts = { reason: "why", message: "say", expires_in: "ends", drain_timeout: "wait" };
  for (const [name, id] of Object.entries(texts)) if (at(id).value.trim()) body[name] = at(id).value.trim();
  if (at("back").value) body.back_at = new Date(at("back").value).toISOString();
  if (at("force").checked && body.mode === "production") body.force = true;
  return body;
}

async function begin(submitted) {
  submitted.preventDefault();
  const body = wanted();
  flip.running = true;
  show("flip-form", false);
  show("flip-progress", true);
  show("done", true);
  setText("cancel", `Revert to ${other(body.mode)}`);
  say("result", `Changing to ${body.mode} …`);
  try {
    const response = await call("PUT", "/mode", body);
    ended(response, await response.json());
  } catch (error) {
    if (error instanceof SignedOut) return;
    say("result", "The response did not arrive. The change may continue: watch the mode, which is shown as soon as the gateway can be reached.", true);
  } finally {
    flip.running = false;
    show("flip-progress", false);
    at("done").focus();
  }
}

const FIELDS = { reason: "Reason", message: "Message", drain_timeout: "Longest drain", expires_in: "Change back after", back_at: "Clients may return at" };
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function ended(response, answer) {
  const report = answer.report || {};
  const lines = [];
  // A wrong field: what was typed stays.
  if (response.status === 400) {
    show("flip-form", true);
    show("done", false);
    say("result", answer.detail.replace(/^(\w+):/, (all, name) => (FIELDS[name] ? FIELDS[name] + ":" : all)), true);
    return;
  }
  setText("flip-title", "The change has ended");
  if (response.ok) {
    lines.push(report.changed === false ? `${capital(answer.mode)} is in force already.` : `${capital(answer.mode)} is in force, after a drain of ${(report.drain_ms / 1000).toFixed(1)} s.`);
    if (answer.phase === "settled" && report.changed) lines.push(drainOutcome(answer));
  } else {
    lines.push(answer.status === 403 ? `Refused: ${answer.detail}` : capital(answer.detail));
  }
  if (names(report.waited_for)) lines.push("Waited for: " + names(report.waited_for));
  if (names(report.still_running)) lines.push("Still running: " + names(report.still_running));
  say("result", lines.join("\n"), (!response.ok && answer.reason !== "cancelled") || answer.drain === "forced");
}

async function revert() {
  const record = view.record;
  if (record.phase !== "switching") return;
  try {
    const body = { mode: record.from, if_revision: record.revision, reason: "reverted on the page" };
    const response = await call("PUT", "/mode", body);
    if (!response.ok) say("drain-note", (await response.json()).detail, true);
  } catch (error) {
    if (!(error instanceof SignedOut)) say("drain-note", "The response did not arrive.", true);
  }
}
