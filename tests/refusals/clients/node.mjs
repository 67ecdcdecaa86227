// Node's http, its fetch (undici), and its http2 over TLS.
import http from "node:http";
import http2 from "node:http2";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";

const PIECES = 16;
const [kind, address] = process.argv.slice(2);
if (address === "--check") process.exit(0);

async function* pieces({ size, seconds }) {
  const piece = Buffer.alloc(Math.floor(size / PIECES), "x");
  for (let number = 1; number < PIECES; number++) {
    yield piece;
    if (seconds) await pause((seconds * 1000) / PIECES);
  }
  yield Buffer.alloc(size - piece.length * (PIECES - 1), "x");
}

function byHttp({ path, size, seconds, chunked, expect }) {
  const headers = { "Content-Type": "application/json" };
  if (!chunked) headers["Content-Length"] = size;
  if (expect) headers.Expect = "100-continue";
  return new Promise((resolve, reject) => {
    const request = http.request(`http://${address}${path}`, { method: "POST", headers, agent: false, timeout: 60000 });
    request.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    request.on("error", reject);
    const send = () => {
      if (!chunked && !seconds) request.end(Buffer.alloc(size, "x"));
      else Readable.from(pieces({ size, seconds })).pipe(request);
    };
    if (expect) request.on("continue", send);
    else send();
  });
}

async function byFetch({ path, size, seconds, chunked }) {
  const body = chunked || seconds ? Readable.toWeb(Readable.from(pieces({ size, seconds }))) : Buffer.alloc(size, "x");
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`http://${address}${path}`, { method: "POST", headers, body, duplex: "half" });
  await response.arrayBuffer();
  return response.status;
}

function byHttp2({ path, size, seconds, chunked, expect }) {
  const headers = { ":method": "POST", ":path": path, "content-type": "application/json" };
  if (!chunked) headers["content-length"] = size;
  if (expect) headers.expect = "100-continue";
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://${address}`, { rejectUnauthorized: false });
    session.on("error", reject);
    const request = session.request(headers);
    let status;
    request.on("response", (head) => { status = head[":status"]; });
    request.on("error", reject);
    request.on("end", () => { resolve(status); session.destroy(); });
    request.resume();
    if (!chunked && !seconds) request.end(Buffer.alloc(size, "x"));
    else Readable.from(pieces({ size, seconds })).on("error", () => {}).pipe(request);
  });
}

const asks = { http: byHttp, fetch: byFetch, http2: byHttp2 };

for await (const line of createInterface({ input: process.stdin })) {
  const [name, path, , size, seconds, framing, expect] = line.split(" ");
  const request = { path, size: Number(size), seconds: Number(seconds), chunked: framing === "chunked", expect: expect === "1" };
  let said;
  try {
    said = await asks[kind](request);
  } catch (error) {
    said = `lost: ${error.cause ?? error}`.replaceAll("\n", " ");
  }
  console.log(`${name} ${said}`);
}
