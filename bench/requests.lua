-- Sends the requests of the file that REQUESTS names, one "METHOD target" a line, in turn; says at
-- the end, as JSON, what came of it.

local lines = {}
for line in io.lines(os.getenv("REQUESTS")) do
  lines[#lines + 1] = line
end
wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")
wrk.headers["Pisync-Fleet"] = os.getenv("PISYNC-FLEET")

local function parts(line)
  return line:match("^(%u+) (.+)$")
end

if #lines == 1 then
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
