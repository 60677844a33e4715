-- Sends the requests of the file that REQUESTS names, one "METHOD target" a line, in turn, with the
-- header lines of HEADERS; says at the end, as JSON, what came of it.
--
-- CHANGING is one more header line, with %s where each request has a value of its own: that of SALT,
-- 16 digits, and a number of 16 digits.

local lines = {}
for line in io.lines(os.getenv("REQUESTS")) do
  lines[#lines + 1] = line
end
for line in os.getenv("HEADERS"):gmatch("[^\n]+") do
  local name, value = line:match("^([^:]+): (.*)$")
  wrk.headers[name] = value
end
local changing = os.getenv("CHANGING")

local function parts(line)
  return line:match("^(%u+) (.+)$")
end

if changing then
  assert(#lines == 1, "a header changes with each of several requests")
  local before, after
  local salt, count = os.getenv("SALT"), 0

  function init()
    local name, value = changing:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
    before, after = wrk.format(parts(lines[1])):match("^(.*)%%s(.*)$")
  end

  function request()
    count = count + 1
    return before .. salt .. string.format("%016x", count) .. after
  end
elseif #lines == 1 then
  wrk.method, wrk.path = parts(lines[1])
else
  local requests = {}
  local at = 0

  function init()
    for index, line in ipairs(lines) do
      requests[index] = wrk.format(parts(line))
    end
  end

  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %f, "bytes": %d, "broken": %d, "not_good": %d,'
      .. ' "p50": %f, "p99": %f}\n',
    summary.requests,
    summary.duration / 1e6,
    summary.bytes,
    errors.connect + errors.read + errors.write + errors.timeout,
    errors.status,
    latency:percentile(50) / 1e6,
    latency:percentile(99) / 1e6
  ))
end
