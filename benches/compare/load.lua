-- The load of wrk: request lines from a file (UCS_MIX), a random identifier in each place, the totals as one JSON line.
-- With UCS_BODY a body of so many bytes is sent; with UCS_STATUSES the answers are counted by status, which costs time.

local templates, tail, thread_number, threads = {}, "", 0, {}

function setup(thread)
  thread:set("id", thread_number)
  thread_number = thread_number + 1
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(tonumber(os.getenv("UCS_SEED") or "1") * 1000 + id)
  for i = 1, 10 do math.random() end
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
  tail = "Host: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n"
  local size = tonumber(os.getenv("UCS_BODY") or "0")
  if size > 0 then
    local body = '{"text":"' .. string.rep("x", size - 11) .. '"}'
    tail = tail .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  else
    tail = tail .. "\r\n"
  end
  statuses = ""
  if os.getenv("UCS_STATUSES") then
    local counts = {}
    function response(status)
      counts[status] = (counts[status] or 0) + 1
      if counts[status] % 64 == 1 then
        local text = {}
        for key, count in pairs(counts) do text[#text + 1] = '"' .. key .. '":' .. count end
        statuses = table.concat(text, ",")
      end
    end
  end
end

local random = math.random

function request()
  local parts = templates[random(#templates)]
  local n = #parts
  if n == 1 then return parts[1] .. tail end
  if n == 2 then return parts[1] .. random(100000000000, 999999999999) .. parts[2] .. tail end
  local line = parts[1]
  for i = 2, n do line = line .. random(100000000000, 999999999999) .. parts[i] end
  return line .. tail
end

function done(summary, latency, requests)
  local e, seen = summary.errors, {}
  for _, thread in ipairs(threads) do
    local text = thread:get("statuses")
    if text ~= "" then seen[#seen + 1] = "{" .. text .. "}" end
  end
  io.write(string.format('JSON {"requests":%d,"micros":%d,"bytes":%d,"failed":%d,"refused":%d,"p50":%d,"p90":%d,"p99":%d,"max":%d,"statuses":[%s]}\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max, table.concat(seen, ",")))
end
