-- The load of wrk: request lines from a file (UCS_MIX), a random identifier in each place, the totals as one JSON line.
-- With UCS_BODY a body of so many bytes is sent.

-- Requests without a body are made before the load begins, as making them would take a tenth of wrk's time: so many that no
-- proxy still remembers one when it comes again (HAProxy keeps 10,000 lookups). Those with a body are made one by one.
local COUNT = 32768
local requests, turn = {}, 0

local templates, tail, thread_number = {}, "", 0
local random = math.random

function setup(thread)
  thread:set("id", thread_number)
  thread_number = thread_number + 1
end

local function read_templates()
  for line in io.lines(os.getenv("UCS_MIX")) do
    local parts, rest = {}, line .. " HTTP/1.1\r\n"
    while true do
      local from, to = rest:find("{}", 1, true)
      if not from then break end
      parts[#parts + 1] = rest:sub(1, from - 1)
      rest = rest:sub(to + 1)
    end
    parts[#parts + 1] = rest
    templates[#templates + 1] = parts
  end
end

local function make()
  local parts = templates[random(#templates)]
  local text = { parts[1] }
  for i = 2, #parts do
    text[#text + 1] = string.format("%.0f", random(100000000000, 999999999999))
    text[#text + 1] = parts[i]
  end
  return table.concat(text) .. tail
end

function init(args)
  math.randomseed(tonumber(os.getenv("UCS_SEED") or "1") * 1000 + id)
  for i = 1, 10 do math.random() end
  read_templates()
  tail = "Host: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n"
  local size = tonumber(os.getenv("UCS_BODY") or "0")
  if size > 0 then
    local body = '{"text":"' .. string.rep("x", size - 11) .. '"}'
    tail = tail .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  else
    tail = tail .. "\r\n"
  end
  if size > 0 then
    request = make
  else
    for i = 1, COUNT do requests[i] = make() end
  end
end

function request()
  turn = turn % COUNT + 1
  return requests[turn]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('JSON {"requests":%d,"micros":%d,"bytes":%d,"failed":%d,"refused":%d,"p50":%d,"p90":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
