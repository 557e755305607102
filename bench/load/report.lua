-- wrk's results as one line that bench/run.py reads.
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("RESULT requests=%d us=%d p50_us=%d p99_us=%d errors=%d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
