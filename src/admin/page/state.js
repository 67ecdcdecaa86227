// The record: banner, mode, facts, history, fleet.
// A stream that ends and comes back at once is no loss.
const LOST = 1500;
const view = { lostSince: null, record: null, ready: null, fleet: null, certificates: [], flips: [] };

function showRecord(record) {
  const before = view.record;
  const differs = (name) => !before || JSON.stringify(before[name]) !== JSON.stringify(record[name]);
  view.record = record;
  const switching = record.phase === "switching";
  setText("mode-name", record.mode.toUpperCase());
  setText("change", switching ? "Change the mode" : `Change to ${other(record.mode)} …`);
  document.title = `${switching ? "switching to " : ""}${record.mode} – UCS gateway`;
  const counts = record.in_flight;
  setText("in-flight", `(${counts.production + counts.maintenance + counts.both})`);
  showTimes();
  showDrainCard(switching);
  // A local close is in the history, and changes no revision.
  if (differs("revision") || differs("local")) {
    showHistory();
    recordChanged(before);
  }
}

const isLost = () => view.lostSince !== null && Date.now() - new Date(view.lostSince) > LOST;

// Everything that depends on the clock, once a second.
function showTimes() {
  const record = view.record;
  if (!record) return;
  const switching = record.phase === "switching";
  at("state").className = "card state " + (isLost() ? "lost" : switching ? "switching" : record.mode);
  at("change").disabled = switching || isLost();
  showBanner(record);
  setText("phase", isLost() ? `Last known; the gateway has not responded since ${when(view.lostSince)}.` : switching
    ? `Switching from ${record.from}; deadline ${ahead(record.deadline)}.`
    : "In force." + (record.report || record.drain !== "complete" ? " " + drainOutcome(record) : ""));
  const rows = facts(record).filter(([, text]) => text);
  const list = at("facts");
  // Kept unless it changed, so that a selection stays.
  const text = JSON.stringify(rows);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...rows.map(([name, fact, bad]) => {
    const group = element("div");
    group.append(element("dt", name), element("dd", fact, bad ? "bad" : ""));
    return group;
  }));
}

function showBanner(record) {
  const lines = isLost() ? [`NO CONNECTION to the gateway since ${when(view.lostSince)}: the mode may have changed`] : [];
  const closed = record.local && `This gateway alone is CLOSED since ${when(record.local.since)} by ${record.local.actor.name}${record.local.reason ? ": " + record.local.reason : ""}`;
  if (record.phase === "switching") lines.push(`SWITCHING to ${record.mode} since ${when(record.since)}`);
  else if (record.mode !== "production") {
    const ends = record.expires ? `; ends in ${length(Math.max(0, secondsTo(record.expires)))}` : "; no end is set";
    lines.push(`MAINTENANCE since ${when(record.since)} by ${record.actor.name}${record.reason ? ": " + record.reason : ""}${ends}`);
  }
  if (closed) lines.push(closed);
  if (record.alarm) lines.push("ALARM: " + record.alarm);
  const faults = Object.entries((view.ready && view.ready.file_faults) || {});
  lines.push(...faults.map(([name, fault]) => `ALARM: ${name}: ${fault}`));
  const expiring = Object.entries((view.ready && view.ready.certificates_expiring) || {});
  const fleet = view.fleet ? view.fleet.alarms.concat(view.fleet.store_reachable ? [] : ["the store of the fleet does not respond"]) : [];
  lines.push(...fleet.map((alarm) => "ALARM: " + alarm));
  lines.push(...expiring.map(([name, end]) => `ALARM: the ${name.replaceAll("_", " ")} ends ${when(end)}`));
  const alarm = isLost() || closed || record.alarm || faults.length + expiring.length + fleet.length > 0;
  at("banner").className = "banner " + (alarm ? "alarm" : record.phase === "switching" ? "switching" : "maintenance");
  setText("banner", lines.join("\n"));
  show("banner", lines.length > 0);
}

function drainOutcome(record) {
  const named = names(record.abandoned);
  if (record.drain === "forced") return "Forced while requests of the other mode were running: " + named;
  if (record.drain === "assumed") return "The gateway gave up on requests of the other mode: " + (named || "those of a gateway that has ended since");
  return "Every request of the other mode had ended.";
}

function facts(record) {
  const { upstream, scheduled } = record;
  const back = record.back_at ? "back at " + when(record.back_at) : "";
  const schema = { defined: "UCS has a profile schema", undefined: "UCS has NO profile schema" }[record.schema] || "not known";
  const inStep = record.phase !== "switching" ? `in ${upstream.mode} as well` : upstream.mode === record.from ? `still in ${upstream.mode}` : `in ${upstream.mode} already`;
  const behind = upstream.mode === "unknown" ? "in an UNKNOWN mode" : `in ANOTHER mode, ${upstream.mode}`;
  const step = { in_step: inStep, behind, unclear: "its mode is unclear" }[upstream.state] || (upstream.detail ? "" : "has no mode of its own");
  const rows = [
    ["Since", ago(record.since)],
    ["By", `${record.actor.name} (${record.actor.kind})`],
    ["Reason", record.reason || record.cause],
    ["Ends", record.expires ? `${ahead(record.expires)}; ${other(record.mode)} follows` : "not by itself"],
    ["Clients are told", [record.message, back].filter(Boolean).join("; ")],
    ["Scheduled", scheduled && `${scheduled.mode} at ${ahead(scheduled.at)} by ${scheduled.actor.name}`],
    ["UCS", [step, upstream.detail].filter(Boolean).join(": "), ["behind", "unclear"].includes(upstream.state)],
    ["Profile schema", schema, record.schema === "undefined"],
  ];
  const expiring = (view.ready && view.ready.certificates_expiring) || {};
  for (const [name, end] of view.certificates) {
    rows.push([name.replaceAll("_", " "), secondsTo(end) < 0 ? `EXPIRED ${ago(end)}` : `until ${ahead(end)}`, name in expiring]);
  }
  rows.push(["Revision", String(record.revision)]);
  return rows;
}

const STEPS = {
  switching: (mode) => `switching to ${mode}`, settled: (mode) => `${mode} settled`, reverted: (mode) => `reverted to ${mode}`,
  cancelled: (mode) => `cancelled, ${mode} again`, started: (mode) => `started in ${mode}`, amended: (mode) => `${mode} amended`,
};

async function showHistory() {
  try {
    const { entries } = await read("/mode/history?limit=30");
    view.flips = entries.filter((entry) => ["settled", "reverted", "cancelled"].includes(entry.kind)).map((entry) => new Date(entry.time));
    fill("history", entries.map((entry) => {
      if (entry.local) return [when(entry.time), `this gateway ${entry.kind}`, entry.local.actor.name, entry.local.reason, "", ""];
      if (entry.bypass) return [when(entry.time), `${entry.bypass.mode} bypassed`, entry.bypass.principal, entry.bypass.operation, "", ""];
      const { record, kind } = entry;
      const step = STEPS[kind] ? STEPS[kind](record.mode) : `${record.mode} ${kind}`;
      return [when(entry.time), step, record.actor.name, record.reason || record.cause, drainReport(kind, record), record.revision];
    }));
  } catch (error) { /* The mode matters more; the next change reads it again. */ }
}

function drainReport(kind, record) {
  if (!["settled", "reverted", "cancelled"].includes(kind)) return "";
  const report = record.report;
  const parts = report ? [`${(report.drain_ms / 1000).toFixed(1)} s`] : [];
  if (kind === "settled") parts.push(record.drain);
  if (report && names(report.waited_for)) parts.push("waited for " + names(report.waited_for));
  if (report && names(report.still_running)) parts.push("still running " + names(report.still_running));
  if (kind === "settled" && names(record.abandoned)) parts.push("gave up on " + names(record.abandoned));
  return parts.join("; ");
}

// What the stream does not tell: files that cannot be read, certificates, members of a fleet.
async function showSurroundings() {
  try {
    view.ready = await (await call("GET", "/readyz")).json();
    const metrics = await (await call("GET", "/metrics")).text();
    const ends = metrics.matchAll(/^ucs_gateway_certificate_end_timestamp_seconds\{certificate="([^"]+)"\} (\S+)/gm);
    view.certificates = [...ends].map(([, name, end]) => [name, new Date(Number(end) * 1000).toISOString()]);
    showTimes();
    await showFleet();
  } catch (error) { /* The next look tells. */ }
}

async function showFleet() {
  const response = await call("GET", "/fleet");
  view.fleet = response.ok ? await response.json() : null;
  const members = view.fleet ? view.fleet.members : [];
  show("fleet", members.length > 0);
  fill("members", members.map((one) => [
    one.node, one.cause ? `${one.state} (${one.cause})` : one.state, one.acknowledged && one.acknowledged.revision,
    one.in_flight && Object.values(one.in_flight).reduce((sum, count) => sum + count, 0), names(one.waits_for),
    one.alive ? "now" : one.last_seen ? ago(one.last_seen) : "–", one.upstream && one.upstream.mode, one.routes.slice(0, 12), one.version,
  ]));
  showTimes();
}
