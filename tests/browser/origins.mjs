// A script of another origin in a real browser: with --allow-origin it can tell maintenance from an outage, and its preflights
// are responded to in both modes.
import assert from "node:assert/strict";
import http from "node:http";
import { rmSync } from "node:fs";
import { Gateway, PATIENCE, browser, scratch } from "./rig.mjs";

// Serves on a port of its own, which is an origin of its own.
async function serve(handler) {
  const server = http.createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

const app = await serve((request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<title>app</title>"));
const preflights = [];

// A UCS that lets the app in, as one must that serves pages of another origin.
const ucs = await serve((request, response) => {
  if (request.method === "OPTIONS") preflights.push(request.url);
  request.resume();
  request.on("end", () => response.writeHead(request.method === "OPTIONS" ? 204 : 200, {
    "access-control-allow-origin": app.url, "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "content-type", "access-control-max-age": "0",
  }).end());
});

const context = await browser();
context.setDefaultTimeout(PATIENCE);
const page = context.pages()[0] || (await context.newPage());
await page.goto(app.url);

// What the app's script learns of a change that needs a preflight.
const change = (data) => page.evaluate(async (url) => {
  try {
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    return { status: response.status, gateway: response.headers.get("UCS-Gateway"), after: response.headers.get("Retry-After") };
  } catch (error) {
    return { error: error.name };
  }
}, `http://${data}/profiles`);

try {
  const gateway = await new Gateway(ucs).start(undefined, ["--allow-origin", app.url]);
  assert.deepEqual(await change(gateway.data), { status: 200, gateway: null, after: null }, "production");
  assert.deepEqual(preflights, ["/profiles"], "UCS responds to the preflight of what is admitted");

  await gateway.api("PUT", "/mode", { mode: "maintenance", expires_in: "1h" });
  const refused = await change(gateway.data);
  assert.equal(refused.status, 503, JSON.stringify(refused));
  assert.match(refused.gateway, /reason=mode/);
  assert.ok(Number(refused.after) > 0, refused.after);
  assert.equal(preflights.length, 1, "UCS is not asked for what is refused");

  await gateway.kill();
  assert.deepEqual(await change(gateway.data), { error: "TypeError" }, "an outage");

  // Without the flag both look alike; the mode is still maintenance.
  const closed = await new Gateway(ucs).start();
  assert.deepEqual(await change(closed.data), { error: "TypeError" }, "maintenance that does not allow the origin");
  await closed.kill();
  console.log("maintenance is told from an outage, and preflights work in both modes");
} finally {
  await context.close();
  app.server.close();
  ucs.server.close();
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(0);
