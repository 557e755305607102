-- wrk's results as one line that bench/run.py reads. Arguments: `post BYTES` sends bodies of that many, `routes COUNT PREFIXES` asks for
-- another route with each request: PREFIXES on each host.

local requests, at = nil, 0

function init(args)
    if args[1] == "post" then
        wrk.method = "POST"
        wrk.body = string.rep("x", tonumber(args[2]))
    end
    if args[1] == "routes" then
        local count, prefixes = tonumber(args[2]), tonumber(args[3])
        requests = {}
        math.randomseed(1)
        for i = 1, math.min(count, 20000) do
            local route = count <= 20000 and i - 1 or math.random(0, count - 1)
            requests[i] = string.format("GET /r%d/1k HTTP/1.1\r\nHost: h%d.example.com\r\n\r\n", route % prefixes,
                math.floor(route / prefixes))
        end
        request = function()
            at = at % #requests + 1
            return requests[at]
        end
    end
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format("RESULT requests=%d us=%d p50_us=%d p99_us=%d errors=%d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
