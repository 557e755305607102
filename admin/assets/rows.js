"use strict";
// The tables of servers and of routes.

const ofServer = (x) => derived(tracks.servers.get(serverKey(x)));
const ofRoute = (x) => derived(tracks.routes.get(x.name));
const AT_PERCENT = `Over the last ${SHORT} s; read from buckets of ten a decade, at most an eighth off.`;

function timeColumns(of) {
  return ["p50", "p95", "p99"].map((title, i) => ({
    title, number: true, hint: AT_PERCENT, sort: (x) => of(x).times[i], fill: (td, x) => put(td, ms(of(x).times[i])),
  }));
}
const rateColumn = (of) => ({
  title: "Requests / s", number: true, hint: `Over the last ${SHORT} s; the line is the last minute.`, sort: (x) => of(x).rate,
  fill: (td, x) => { const d = of(x); withLine(td, number(d.rate), d.rates); },
});
const errorColumn = (title, of, key, hint) => ({
  title, number: true, hint, sort: (x) => of(x)[key], fill: (td, x) => { const n = of(x)[key]; hot(td, number(n), n > 0 && key === "errors"); },
});

const serversTable = new Table("servers-table", "Servers by upstream: those that get no requests first, then the busiest", [
  { title: "Server", className: "min", sort: (x) => x.address, fill: (td, x) => twoLines(td, x.address, x.upstream + (x.backup ? ", backup" : "")) },
  { title: "State, and why", className: "min", sort: (x) => x.state, fill: (td, x) => once(td, x.state + x.reason + x.changed + x.usable,
    () => [badge(x.state, serverKind(x.state)), x.reason || !x.usable ? make("small", x.reason || "weight 0") : null, x.changed && x.state !== "up" ? make("small", "since " + clock(x.changed)) : null]) },
  rateColumn(ofServer),
  errorColumn("Errors / s", ofServer, "errors", "Answers of 500 and above, and requests that got none."),
  ...timeColumns(ofServer),
  { title: "In flight", number: true, sort: (x) => x.in_flight, fill: (td, x) => put(td, number(x.in_flight) + (x.max_connections ? " / " + number(x.max_connections) : "")) },
  { title: "Reused", number: true, hint: "Share of requests that went over a connection that was open already.", sort: (x) => ofServer(x).reuse,
    fill: (td, x) => put(td, percent(ofServer(x).reuse)) },
  { title: "Weight", number: true, sort: (x) => x.weight, fill: (td, x) => put(td, number(x.weight) + (x.weight !== x.file_weight ? " (by hand)" : "")) },
  { title: "Change", fill: (td, x) => button(td, x, "Change…", `Change ${x.upstream} ${x.address}: state and weight`, steerServer) },
], serverKey, "no servers");

// One button a row, whose row may become another object every second.
function button(td, x, text, label, act) {
  td.of = x;
  if (td.firstChild) return;
  const b = make("button", text);
  b.type = "button";
  b.setAttribute("aria-label", label);
  b.addEventListener("click", () => act(td.of));
  td.append(b);
}

function matches(r) {
  const path = r.path ? Object.entries(r.path).map(([kind, text]) => kind === "prefix" ? text : kind === "exact" ? "= " + text : "~ " + text)[0] : "";
  return [(r.methods || []).join(" "), (r.hosts || []).join(", ") + path, (r.conditions || []).join(", ")].filter(Boolean).join(" · ");
}
function does(r) {
  switch (r.action) {
  case "upstream": return "→ " + r.upstream;
  case "split": return "→ " + Object.entries(r.split).map(([k, v]) => k + " " + v).join(", ");
  case "redirect": return "redirect to " + r.redirect;
  case "respond": return "answers " + r.status;
  case "files": return "files below " + r.files;
  case undefined: return "no route matched";
  default: return r.action;
  }
}

const routesTable = new Table("routes-table", "Routes, the busiest first", [
  { title: "Route", className: "min", sort: (x) => x.name, fill: (td, x) => twoLines(td, x.name, x.file ? x.file.split("/").pop() + ":" + x.line : "") },
  { title: "Takes, and does", className: "min", fill: (td, x) => twoLines(td, matches(x) || "everything else", does(x) + (x.cache ? ", from the cache where it may" : "")) },
  rateColumn(ofRoute),
  errorColumn("4xx / s", ofRoute, "client_errors"),
  errorColumn("5xx / s", ofRoute, "errors"),
  ...timeColumns(ofRoute),
  { title: "In flight", number: true, hint: "Of routes that limit their concurrency.", sort: (x) => x.in_flight, fill: (td, x) => put(td, number(x.in_flight)) },
  { title: "In all", number: true, sort: (x) => x.requests, fill: (td, x) => put(td, number(x.requests)) },
  { title: "Change", fill: (td, x) => { if (x.action === "split") button(td, x, "Split…", `Change the split of route ${x.name}`, steerSplit); else if (td.firstChild) td.replaceChildren(); } },
], (x) => x.name, "no routes");

const sparse = (pairs) => pairs.flatMap((p, i) => p[1] ? [i, p[1]] : []);

const serversFilter = new Filter("servers", serversTable, (x) => [x.upstream, x.address, x.state, x.reason], async (text) => {
  const found = await get(`/api/v1/upstreams?limit=50&match=${encodeURIComponent(text)}`);
  const rows = found.upstreams.flatMap((u) => u.servers.map((x) => ({ ...x, upstream: u.name, opened: x.connections.opened, reused: x.connections.reused,
    errors: x.errors + x.unanswered, durations: sparse(x.durations) })));
  noteRows(tracks.servers, rows, found.now_us / 1e6, serverKey);
  return { rows, matched: found.servers_matched };
});
const routesFilter = new Filter("routes", routesTable, (x) => [x.name, x.upstream, matches(x), does(x)], async (text) => {
  const found = await get(`/api/v1/routes?limit=50&match=${encodeURIComponent(text)}`);
  const rows = found.routes.map((x) => ({ ...x, durations: sparse(x.durations) }));
  noteRows(tracks.routes, rows, found.now_us / 1e6, (x) => x.name);
  return { rows, matched: found.matched };
});
