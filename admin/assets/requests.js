"use strict";
// The flight recorder: what failed and what was slowest, and a page for each request with its whole story.

const storyPath = (r) => "#/request/" + encodeURIComponent(r.request_id || "");
const lastTry = (r) => r.attempts.length ? r.attempts[r.attempts.length - 1].server : null;
const statusKind = (r) => r.status >= 500 || r.reason ? "bad" : r.status >= 400 ? "warn" : "good";

function requestColumns() {
  return [
    { title: "When", className: "nowrap", sort: (r) => r.time, fill: (td, r) => twoLines(td, clock(r.time), r.request_id ? "story" : "", r.request_id && storyPath(r)) },
    { title: "Status", sort: (r) => r.status, fill: (td, r) => once(td, r.status + r.termination, () => [badge(String(r.status), statusKind(r)), make("small", r.termination)]) },
    { title: "Request", className: "min", fill: (td, r) => twoLines(td, `${r.method || "–"} ${r.host || ""}${r.target || ""}`, r.client || "") },
    { title: "Route, server", className: "min", fill: (td, r) => twoLines(td, r.route || "–", lastTry(r) || r.upstream || "") },
    { title: "Why", className: "min", fill: (td, r) => put(td, r.reason || (r.attempts.find((a) => a.reason) || {}).reason || "–") },
    { title: "Tries", number: true, sort: (r) => r.attempts_made, fill: (td, r) => put(td, number(r.attempts_made)) },
    { title: "Took", number: true, sort: (r) => r.duration_ms, fill: (td, r) => put(td, ms(r.duration_ms)) },
  ];
}
const requestKey = (r) => r.time + r.request_id + r.duration_ms;
const failedTable = new Table("failed-table", "Failed, the newest first", requestColumns(), requestKey, "none failed of late");
const slowestTable = new Table("slowest-table", "Slowest of the last minutes", requestColumns(), requestKey, "none yet");

async function showRequests() {
  if (!$("requests").open) return;
  try {
    const all = await get("/api/v1/requests?limit=20");
    failedTable.show(all.failed);
    slowestTable.show(all.slowest);
  } catch (e) { /* the stream tells of what is wrong */ }
}

// The story.

const PHASES = [["connect", "c3", "connecting"], ["send", "c5", "sending the request"], ["wait", "c1", "waiting for the answer's head"], ["body", "c2", "the answer's body"]];

// [[phase, from, to], …] in ms of the request's time.
function phases(a) {
  const marks = [a.started_ms, a.connected_ms, a.sent_ms, a.head_ms], end = a.ended_ms == null ? marks.filter((m) => m != null).pop() : a.ended_ms;
  const found = [];
  for (let i = 0; i < 4; i++) {
    const from = marks[i];
    if (from == null) continue;
    const next = marks.slice(i + 1).find((m) => m != null);
    found.push([i, from, next == null ? end : next]);
  }
  return found.filter((p) => p[2] > p[1]);
}

function timeline(r) {
  const whole = Math.max(r.duration_ms, ...r.attempts.map((a) => a.ended_ms || 0), 0.001), x = (t) => 1000 * t / whole;
  const line = (label, draw) => {
    const div = make("div", null, "try"), svg = drawn("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", "aria-hidden": "true" });
    draw(svg);
    div.append(make("span", label), svg);
    return div;
  };
  const bar = (svg, className, from, to) => svg.append(drawn("rect", { class: "fill " + className, x: x(from), y: 3, width: Math.max(2, x(to) - x(from)), height: 14 }));
  const lines = [line("the whole request", (svg) => bar(svg, "c5", 0, r.duration_ms))];
  r.attempts.forEach((a, i) => lines.push(line(`${i + 1}. ${a.server}`, (svg) => phases(a).forEach(([p, from, to]) => bar(svg, PHASES[p][1], from, to)))));
  const legend = make("ul", null, "legend");
  legend.append(...PHASES.map(([, c, words]) => { const li = make("li", null, c); li.append(make("span", words)); return li; }), make("li", `0 to ${ms(whole)}`, "dim"));
  $("story-line").replaceChildren(...lines, legend);
}

const since = (to, from) => to == null || from == null ? "–" : ms(to - from);
const storyTable = new Table("story-table", "Every attempt: when it came to what, from the request's start", [
  { title: "Server", className: "min", fill: (td, a) => put(td, `${a.index}. ${a.server || "–"}`) },
  { title: "Outcome", className: "min", fill: (td, a) => twoLines(td, a.outcome, a.reason || "") },
  { title: "Status", number: true, fill: (td, a) => put(td, a.status ? String(a.status) : "–") },
  { title: "Connection", fill: (td, a) => put(td, a.reused ? "used again" : "new") },
  { title: "Began at", number: true, fill: (td, a) => put(td, ms(a.started_ms)) },
  { title: "Connect", number: true, fill: (td, a) => put(td, a.reused ? "–" : since(a.connected_ms, a.started_ms)) },
  { title: "Head after", number: true, hint: "From the request's end to the answer's head.", fill: (td, a) => put(td, since(a.head_ms, a.sent_ms)) },
  { title: "Ended at", number: true, fill: (td, a) => put(td, ms(a.ended_ms)) },
], (a) => String(a.index), "No server was tried: weir answered by itself.");

let told = null; // the request whose story is shown

async function showStory(id) {
  $("all").hidden = true;
  $("story").hidden = false;
  put("story-title", "Request " + id);
  put("story-sum", "Asking…");
  try {
    told = await get("/api/v1/requests/" + encodeURIComponent(id));
  } catch (e) {
    told = null;
    if (e.isToken) return askForToken(token !== "");
    put("story-sum", e.message);
    [$("story-facts"), $("story-line")].forEach((n) => n.replaceChildren());
    storyTable.show([]);
    return;
  }
  const r = told, why = r.reason || (r.attempts.find((a) => a.reason) || {}).reason;
  put("story-title", `${r.method || "–"} ${r.host || ""}${r.target || ""}`);
  $("story-sum").replaceChildren(badge(String(r.status), statusKind(r)), ` ${r.termination}${why ? ": " + why : ""}, after ${ms(r.duration_ms)} and ${r.attempts_made === 1 ? "1 attempt" : r.attempts_made + " attempts"}`);
  facts($("story-facts"), [["Id", r.request_id], ["Ended", moment(r.time)], ["Client", r.client], ["Protocol", r.protocol], ["Listener", r.listener], ["Route", r.route || "none matched"],
    ["Upstream", r.upstream], ["Body in", bytes(r.bytes_in)], ["Body out", bytes(r.bytes_out)], ["Worker", String(r.worker)], ["Trace", r.trace_id]]);
  timeline(r);
  storyTable.show(r.attempts.map((a, i) => ({ ...a, index: i + 1 })));
  $("story").focus();
}

$("story-explain").addEventListener("click", () => {
  if (!told) return;
  $("explain-method").value = told.method || "GET";
  $("explain-url").value = "http://" + (told.host || "localhost") + (told.target || "/");
  $("explain-client").value = (told.client || "").replace(/:\d+$/, "");
  location.hash = "#explain";
  $("explain").open = true;
  $("explain-form").requestSubmit();
});
