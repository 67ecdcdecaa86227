"use strict";
// The console of one gateway. Everything it shows comes from the admin API; text is only ever set as text.
(() => {
  const KEY = "ucs-gateway-token";
  const at = (id) => document.getElementById(id);
  const state = { record: null, following: 0, flipping: false, wanted: null };

  const show = (id, visible) => { at(id).hidden = !visible; };
  const say = (id, text, bad = false) => {
    at(id).textContent = text;
    at(id).classList.toggle("bad", bad);
    show(id, text !== "");
  };
  const when = (text) => (text ? new Date(text).toLocaleString() : "–");

  async function call(method, path, body) {
    const token = sessionStorage.getItem(KEY);
    const response = await fetch(path, {
      method, cache: "no-store", credentials: "omit", redirect: "error",
      headers: { Authorization: "Bearer " + token, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.status === 401) { signOut("The token was not accepted."); throw new Error("not signed in"); }
    return response;
  }

  async function read(path) {
    const response = await call("GET", path);
    const document = await response.json();
    if (!response.ok) throw new Error(document.detail || response.statusText);
    return document;
  }

  const names = (counts) => (counts || []).map((one) => `${one.count} × ${one.operation}`).join(", ");

  // What is not sure about the drain of a mode.
  function unsure(record) {
    const named = names(record.abandoned);
    if (record.drain === "forced") return "; forced while operations of the other mode were running: " + named;
    if (record.drain !== "assumed") return "";
    return "; operations of the other mode were given up on: " + (named || "those of a gateway that has ended since");
  }

  function showRecord(record) {
    if (state.record && record.revision < state.record.revision) return;
    const differs = (name) => JSON.stringify(state.record[name]) !== JSON.stringify(record[name]);
    // A local close is in the history, and changes no revision.
    const changed = !state.record || differs("revision") || differs("local");
    state.record = record;
    const switching = record.phase === "switching";
    at("state").className = "state " + (switching ? "switching" : record.mode);
    const name = record.mode.toUpperCase();
    if (at("mode-name").textContent !== name) at("mode-name").textContent = name;
    at("phase").textContent = switching
      ? `switching from ${record.from}, until ${when(record.deadline)} at most`
      : "in force" + unsure(record);
    at("since").textContent = when(record.since);
    at("actor").textContent = `${record.actor.name} (${record.actor.kind})`;
    at("reason").textContent = record.reason || record.cause || "–";
    const back = record.back_at ? "back at " + when(record.back_at) : "";
    at("told").textContent = [record.message, back].filter(Boolean).join("; ") || "–";
    const next = record.scheduled;
    at("scheduled").textContent = next ? `${next.mode} at ${when(next.at)} by ${next.actor.name}` : "–";
    at("schema").textContent = record.schema;
    at("upstream").textContent = [`${record.upstream.mode}, ${record.upstream.state}`, record.upstream.detail].filter(Boolean).join(": ");
    at("revision").textContent = record.revision;
    document.title = `${switching ? "switching to " : ""}${record.mode} – UCS gateway`;
    const local = record.local;
    const since = local ? `${when(local.since)} by ${local.actor.name}${local.reason ? ": " + local.reason : ""}` : "";
    say("local", local ? "This gateway alone is closed since " + since : "", true);
    say("alarm", record.alarm ? "Needs an operator: " + record.alarm : "", true);
    showCounts(record.in_flight);
    showExpiry();
    show("drain", switching);
    if (changed) {
      // A change by somebody else makes an open preview untrue.
      if (!state.flipping) closePreview();
      if (!switching) at("to").value = record.mode === "production" ? "maintenance" : "production";
      showHistory();
    }
  }

  function showCounts(counts) {
    at("in-flight").textContent = `production ${counts.production}, maintenance ${counts.maintenance}, both ${counts.both}`;
  }

  function showExpiry() {
    const expires = state.record && state.record.expires;
    if (!expires) { at("expires").textContent = "no"; return; }
    const seconds = Math.max(0, Math.round((new Date(expires) - Date.now()) / 1000));
    const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    const clock = parts.map((part) => String(part).padStart(2, "0")).join(":");
    at("expires").textContent = `in ${clock} (${when(expires)})`;
  }

  function showDrain(drain) {
    at("drain-text").textContent = `${drain.waiting_for} still running before ${drain.mode} can begin.`;
    at("drain-list").replaceChildren(...drain.running.map((one) => {
      const item = document.createElement("li");
      item.textContent = `${one.count} × ${one.operation}`;
      return item;
    }));
  }

  const cells = (values) => {
    const row = document.createElement("tr");
    row.append(...values.map((value) => {
      const cell = document.createElement("td");
      cell.textContent = value === null || value === undefined ? "" : value;
      return cell;
    }));
    return row;
  };

  async function showHistory() {
    try {
      const { entries } = await read("/mode/history?limit=20");
      at("history").tBodies[0].replaceChildren(...entries.map((entry) => {
        if (entry.local) {
          const { actor, reason } = entry.local;
          return cells([when(entry.time), `this gateway ${entry.kind}`, actor.name, reason, ""]);
        }
        const record = entry.record;
        const mode = record.phase === "switching" ? `switching to ${record.mode}` : record.mode;
        return cells([when(entry.time), mode, record.actor && record.actor.name, record.reason || record.cause, record.revision]);
      }));
    } catch (error) { /* The mode matters more; the next change asks again. */ }
  }

  async function follow() {
    const mine = ++state.following;
    let pause = 500;
    while (mine === state.following) {
      try {
        showRecord(await read("/mode"));
        const response = await call("GET", "/mode/events");
        if (!response.ok) throw new Error("no events");
        at("connection").textContent = "live";
        at("state").classList.remove("stale");
        pause = 500;
        await readEvents(response.body, () => mine === state.following);
      } catch (error) { /* Shown below, and tried again. */ }
      if (mine !== state.following) return;
      at("connection").textContent = "lost; what is shown may be old, trying again";
      at("state").classList.add("stale");
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, 10000);
    }
  }

  async function readEvents(body, wanted) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    // The gateway sends something every 15 s; silence means that the line is dead.
    let silence;
    const listen = () => { clearTimeout(silence); silence = setTimeout(() => reader.cancel(), 40000); };
    listen();
    try {
      while (wanted()) {
        const { done, value } = await reader.read();
        if (done) return;
        listen();
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        blocks.forEach(handleEvent);
      }
    } finally { clearTimeout(silence); reader.cancel().catch(() => {}); }
  }

  function handleEvent(block) {
    const field = (name) => (block.split("\n").find((line) => line.startsWith(name + ":")) || "").slice(name.length + 1).trim();
    const data = field("data");
    if (!data) return;
    const event = JSON.parse(data);
    if (field("event") === "record") showRecord(event);
    if (field("event") === "drain") showDrain(event);
  }

  const closePreview = () => { show("confirm", false); state.wanted = null; };

  async function preview(submitted) {
    submitted.preventDefault();
    say("result", "");
    const wanted = { mode: at("to").value, on_timeout: at("late").value };
    if (state.record) wanted.if_revision = state.record.revision;
    if (at("why").value.trim()) wanted.reason = at("why").value.trim();
    if (at("say").value.trim()) wanted.message = at("say").value.trim();
    if (at("ends").value) wanted.expires_in = at("ends").value;
    if (at("wait").value) wanted.drain_timeout = at("wait").value;
    if (at("force").checked) wanted.force = true;
    try {
      const seen = await read("/mode/preview?mode=" + encodeURIComponent(wanted.mode));
      wanted.if_revision = seen.current.revision;
      state.wanted = wanted;
      at("confirm-title").textContent = `From ${seen.current.mode} to ${wanted.mode}?`;
      const ends = wanted.expires_in ? ` It changes back by itself after ${wanted.expires_in}.` : "";
      at("preview-text").textContent = seen.window_seconds
        ? `${seen.waits_for} in flight will be waited for. Lately ${seen.per_minute} requests a minute would have been refused (over ${seen.window_seconds} s).${ends}`
        : `${seen.waits_for} in flight will be waited for. The rate is not known yet.${ends}`;
      at("preview").tBodies[0].replaceChildren(...seen.would_refuse.map((one) => cells([one.operation, one.in_flight, one.per_minute])));
      show("preview", seen.would_refuse.length > 0);
      at("do-it").textContent = `Change to ${wanted.mode} now`;
      show("confirm", true);
      at("confirm").focus();
    } catch (error) { say("result", error.message, true); }
  }

  async function flip() {
    const wanted = state.wanted;
    if (!wanted) return;
    state.flipping = true;
    at("do-it").disabled = at("ask").disabled = true;
    say("result", `Changing to ${wanted.mode} …`);
    try {
      const response = await call("PUT", "/mode", wanted);
      const answer = await response.json();
      const report = answer.report || {};
      if (response.ok) {
        let text = report.changed === false ? `Already in ${answer.mode}.` : `${answer.mode} is in force, after ${report.drain_ms} ms.`;
        if (names(report.abandoned)) text += `\nGiven up on: ${names(report.abandoned)}`;
        const forced = answer.drain === "forced";
        if (forced) text += `\nForced; still running: ${names(report.still_running)}`;
        say("result", text, forced);
        showRecord(answer);
      } else {
        const still = names(report.still_running);
        say("result", answer.detail + (still ? `\nStill running: ${still}` : ""), true);
      }
    } catch (error) {
      say("result", "The response did not arrive; the change may continue. Watch the mode above.", true);
    } finally {
      state.flipping = false;
      at("do-it").disabled = at("ask").disabled = false;
      closePreview();
    }
  }

  function signOut(message) {
    state.following++;
    state.record = null;
    sessionStorage.removeItem(KEY);
    say("notice", message || "", Boolean(message));
    show("console", false);
    show("sign-in", true);
    at("token").value = "";
    at("token").focus();
  }

  function signIn() {
    say("notice", "");
    show("sign-in", false);
    show("console", true);
    follow();
  }

  at("sign-in").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    sessionStorage.setItem(KEY, at("token").value.trim());
    signIn();
  });
  at("flip").addEventListener("submit", preview);
  at("flip").addEventListener("input", closePreview);
  at("do-it").addEventListener("click", flip);
  at("not-now").addEventListener("click", closePreview);
  at("sign-out").addEventListener("click", () => signOut(""));
  setInterval(showExpiry, 1000);
  if (sessionStorage.getItem(KEY)) signIn(); else signOut("");
})();
