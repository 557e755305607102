"use strict";
// The figures at the top: now, over ten seconds, over a minute, over what the charts show.

const CLASSES = [
  { key: "2xx", name: "2xx", className: "c1" }, { key: "3xx", name: "3xx", className: "c2", rare: true }, { key: "4xx", name: "4xx", className: "c3", rare: true },
  { key: "5xx", name: "5xx", className: "c4", rare: true }, { key: "other", name: "1xx and none", className: "c5", rare: true },
];
const rateChart = new Chart("rate", CLASSES, { stacked: true, title: "Requests a second by status", show: number });
const latencyChart = new Chart("latency", [
  { key: "p50", name: "p50", className: "c1" }, { key: "p95", name: "p95", className: "c2", dash: "dash" }, { key: "p99", name: "p99", className: "c4", dash: "dots" },
], { title: "Latency by percentile", show: ms, axis: (v) => v + " ms" });

// What is drawn: one point a reading.
const points = [];
function addPoint() {
  const b = readings[readings.length - 1], a = readings[readings.length - 2];
  if (readings.length < 2) { points.length = 0; return; }
  const of = (k) => grown(a.statuses, b.statuses, k) / (b.t - a.t);
  const short = before(readings, 3), [p50, p95, p99] = times(short, b), opened = grown(a, b, "opened"), reused = grown(a, b, "reused");
  points.push({
    t: b.t, "2xx": of("2xx"), "3xx": of("3xx"), "4xx": of("4xx"), "5xx": of("5xx"), other: of("1xx") + of("none"), p50, p95, p99,
    errors: rate(a, b, "server_errors"), connections: b.connections, "in-flight": b.in_flight, queue: b.queue, reuse: share(reused, reused + opened),
    hits: share(grown(a, b, "cache_hits"), grown(a, b, "cache_all")), tls: rate(a, b, "handshakes"), bytes: rate(a, b, "bytes_in") + rate(a, b, "bytes_out"),
  });
  if (points.length > KEPT) points.shift();
}

function showFigures(s) {
  const b = readings[readings.length - 1], a = before(readings, SHORT), seconds = Number($("window").value);
  put("requests-total", number(s.requests));
  put("connections", number(s.connections));
  put("connections-more", b.refused > (a.refused || 0) ? `${number(rate(a, b, "refused"))} refused / s` : "clients, open now");
  put("in-flight", number(b.in_flight));
  put("queue", number(b.queue));
  showTotals(s);
  if (a === b) return;
  put("rate", number(Math.round(rate(readings[readings.length - 2], b, "requests"))));
  put("rate-10", number(rate(a, b, "requests")));
  put("rate-60", b.t - readings[0].t < 55 ? "–" : number(rate(before(readings, 60), b, "requests")));
  const first = before(readings, seconds);
  put("rate-window", `${number(rate(first, b, "requests"))} (${span(b.t - first.t + 0.5)})`);
  times(a, b).forEach((t, i) => put(["p50", "p95", "p99"][i], ms(t)));
  const requests = grown(a, b, "requests"), errors = grown(a, b, "server_errors");
  put("mean", requests ? ms(grown(a, b, "duration_us") / requests / 1000) : "–");
  put("errors", number(rate(a, b, "server_errors")) + " / s");
  put("errors-more", requests ? `${percent(share(errors, requests))} · 4xx ${number(rate(a, b, "client_errors"))} / s` : "no requests");
  put("bytes", bytes(rate(a, b, "bytes_in")) + " / s");
  put("bytes-more", bytes(rate(a, b, "bytes_out")) + " / s out");
  showShares(a, b);
  drawAll(seconds);
}

function showTotals(s) {
  const kinds = Object.entries(s.tls).map(([v, n]) => `${v === "other" ? "other" : "TLS " + v}: ${number(n.full + n.resumed)}`);
  put("tls-more", kinds.length ? kinds.join(" · ") : "none yet");
  if (!mark) return;
  const b = readings[readings.length - 1], n = grown(mark, b, "requests"), seconds = b.t - mark.t, [p50, p95, p99] = times(mark, b);
  put("measured", seconds > 0 ? `${number(n)} requests in ${seconds.toFixed(1)} s: ${number(rate(mark, b, "requests"))} a second, ${number(grown(mark, b, "server_errors"))} server errors, ` +
    `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}` : "counting");
}

function showShares(a, b) {
  const reused = grown(a, b, "reused"), opened = grown(a, b, "opened"), asked = grown(a, b, "cache_all");
  put("reuse", percent(share(reused, reused + opened)));
  put("reuse-more", `to servers; ${number(rate(a, b, "opened"))} / s new`);
  put("hits", percent(share(grown(a, b, "cache_hits"), asked)));
  put("hits-more", asked ? `of ${number(rate(a, b, "cache_all"))} / s` : "nothing is looked up");
  put("tls", number(rate(a, b, "handshakes")) + " / s");
  const made = grown(a, b, "handshakes");
  $("tls").title = made ? `${percent(share(grown(a, b, "resumed"), made))} resumed` : "";
}

function drawAll(seconds) {
  const shown = points.slice(-seconds - 1);
  rateChart.set(shown, seconds);
  latencyChart.set(shown, seconds);
  for (const key of ["errors", "connections", "in-flight", "queue", "reuse", "hits", "tls", "bytes"])
    sparkline($("line-" + key), points.slice(-120).map((p) => p[key]), 120);
}

$("measure").addEventListener("click", () => {
  mark = readings[readings.length - 1] || null;
  put("measured", "counting");
});
$("window").addEventListener("change", () => drawAll(Number($("window").value)));
