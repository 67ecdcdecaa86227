// A gateway before a UCS of this process, and a browser. It asserts nothing but its own deadlines.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

// Never reached by a test that passes.
export const PATIENCE = 40_000;

export const scratch = mkdtempSync(join(tmpdir(), "ucs-gateway-browser-"));

// Waits until `holds` returns something.
export async function eventually(name, holds, more = () => "") {
  const what = () => name + more();
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE} ms: ${what()}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

// A UCS that responds to everything at once, except while it holds.
export class Ucs {
  held = [];
  holds = false;

  async start() {
    this.server = http.createServer((request, response) => {
      request.resume();
      request.on("end", () => {
        if (this.holds) this.held.push(response);
        else response.writeHead(200, { "content-type": "application/json" }).end("{}");
      });
    });
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  release() {
    this.holds = false;
    for (const response of this.held.splice(0)) response.writeHead(200).end("{}");
  }
}

export class Gateway {
  constructor(ucs, name = "g") {
    this.ucs = ucs;
    this.state = join(scratch, name);
    this.access = join(scratch, `${name}.yaml`);
    this.tokens = {};
    const principals = [this.principal("night-shift", "mode:read,mode:set,routes:reload"), this.principal("viewer", "mode:read")];
    writeFileSync(this.access, "version: 1\nprincipals:\n" + principals.join(""), { mode: 0o600 });
  }

  // A principal's lines of access.yaml; its token is kept.
  principal(name, permissions) {
    const made = spawnSync(process.env.GATEWAY, ["token", "new", "--name", name, "--permissions", permissions], { encoding: "utf8" });
    const lines = made.stdout.split("\n");
    this.tokens[name] = lines.find((line) => /^# [^ ]+$/.test(line)).slice(2);
    return lines.filter((line) => !line.startsWith("#")).join("\n");
  }

  async start(admin = "127.0.0.1:0", more = []) {
    const flags = ["--routes", process.env.ROUTES, "--upstream", this.ucs.url, "--listen", "127.0.0.1:0", "--admin-listen", admin,
      "--state-dir", this.state, "--access", this.access, "--upstream-mode", "off", "--schema-probe", "off",
      "--initial-mode", "production", "--orphan-grace", "1ms", "--log-format", "json", ...more];
    this.child = spawn(process.env.GATEWAY, ["serve", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    this.child.stderr.on("data", (data) => { log += data; });
    const ready = await eventually("the gateway is ready", () => {
      if (this.child.exitCode !== null) throw new Error("the gateway ended:\n" + log);
      return log.split("\n").find((line) => line.includes('"message":"ready"'));
    }, () => "\n" + log);
    ({ listen: this.data, admin: this.admin } = JSON.parse(ready));
    return this;
  }

  async kill() {
    const ended = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGKILL");
    await ended;
  }

  copyState(name) { cpSync(this.state, join(scratch, name), { recursive: true }); }

  restoreState(name) {
    rmSync(this.state, { recursive: true });
    cpSync(join(scratch, name), this.state, { recursive: true });
  }

  // A request to the data port; resolves with its status.
  request(method, path) {
    const [host, port] = this.data.split(":");
    return new Promise((done) => {
      const request = http.request({ host, port, method, path }, (response) => {
        response.resume();
        response.on("end", () => done(response.statusCode));
      });
      request.on("error", () => done(0));
      request.end();
    });
  }

  async api(method, path, body) {
    const headers = { authorization: "Bearer " + this.tokens["night-shift"], "content-type": "application/json" };
    const response = await fetch(`http://${this.admin}${path}`, { method, headers, body: body && JSON.stringify(body) });
    return response.json();
  }
}

// An etcd with a fleet of this mode in it. Null if there is none here.
export async function fleetStore(mode) {
  const program = ["/usr/bin/etcd", process.env.ETCD].find((path) => path && existsSync(path));
  if (!program) return null;
  const [client, peer] = [await freeAddress(), await freeAddress()];
  const flags = { name: "n", "data-dir": join(scratch, "etcd"), "listen-client-urls": client, "advertise-client-urls": client,
    "listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": `n=${peer}` };
  const child = spawn(program, Object.entries(flags).map(([name, value]) => `--${name}=${value}`), { stdio: "ignore" });
  const url = client.replace("http", "etcd") + "/fleet";
  const init = () => spawnSync(process.env.GATEWAY, ["fleet", "--store", url, "init", "--mode", mode]).status === 0;
  await eventually("the fleet is made", init);
  return { child, url };
}

async function freeAddress() {
  const server = http.createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return `http://127.0.0.1:${port}`;
}

export function browser() {
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];
  return chromium.launchPersistentContext(join(scratch, "profile"), { executablePath: process.env.CHROMIUM, args, timeout: PATIENCE });
}

export const axeSource = () => readFileSync(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
