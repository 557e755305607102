"use strict";
const $ = (id) => document.getElementById(id);
const KEPT = 120; // seconds in a chart
const charts = { rate: [], errors: [], latency: [], connections: [], bytes: [] };
let token = sessionStorage.getItem("weir-token") || "";
let last = null, generation = 0, slow = 0;

// Words and numbers.

function number(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(n >= 1e7 ? 0 : 1) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(n >= 1e5 ? 0 : 1) + " k";
  return n >= 100 || Number.isInteger(n) ? Math.round(n).toString() : n.toFixed(1);
}
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let i = 0;
  while (n >= 1024 && i < 3) { n /= 1024; i++; }
  return (n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}
const ms = (n) => n == null ? "–" : n >= 1000 ? (n / 1000).toFixed(1) + " s" : n >= 10 ? Math.round(n) + " ms" : n.toFixed(1) + " ms";
function span(seconds) {
  const s = Math.floor(Math.abs(seconds));
  const text = s >= 172800 ? Math.floor(s / 86400) + " days" : s >= 7200 ? Math.floor(s / 3600) + " h" : s >= 120 ? Math.floor(s / 60) + " min" : s + " s";
  return seconds < 0 ? text + " ago" : text;
}

// The page. Text is only ever set as text: what stands in it may come from anybody.

function make(tag, text, className) {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (className) e.className = className;
  return e;
}
function cell(row, text, className, small) {
  const td = make("td", text, className);
  if (small) td.append(make("small", small));
  row.append(td);
  return td;
}
function rows(id, list, fill, none) {
  const body = document.createDocumentFragment();
  for (const item of list) {
    const row = make("tr");
    fill(row, item);
    body.append(row);
  }
  if (!list.length) {
    const row = make("tr");
    cell(row, none, "dim").colSpan = 8;
    body.append(row);
  }
  $(id).replaceChildren(body);
}
function badge(state) {
  return make("span", state, "badge " + (state === "up" || state === "serving" ? "good" : state === "down" ? "bad" : "warn"));
}
function two(id, first, second) {
  $(id).replaceChildren(first, make("small", second == null ? "" : " / " + second));
}
function chart(name, value) {
  const points = charts[name];
  points.push(value || 0);
  if (points.length > KEPT) points.shift();
  const top = Math.max(...points) || 1;
  const at = points.map((v, i) => (KEPT - points.length + i) * 120 / (KEPT - 1) + "," + (31 - 29 * v / top).toFixed(1));
  const svg = $(name + "-line");
  if (!svg.firstChild) {
    svg.append(document.createElementNS(svg.namespaceURI, "polygon"), document.createElementNS(svg.namespaceURI, "polyline"));
  }
  svg.firstChild.setAttribute("points", at[0].split(",")[0] + ",32 " + at.join(" ") + " 120,32");
  svg.lastChild.setAttribute("points", at.join(" "));
}
function say(text, isBad) {
  $("message").hidden = !text;
  $("message").textContent = text || "";
  $("message").classList.toggle("bad", !!isBad);
  if (text) $("message").scrollIntoView({ block: "nearest" });
}
function state(text, className) {
  $("state").textContent = text;
  $("state").className = "badge " + (className || "");
}

// What the server is asked.

async function ask(method, path, body) {
  const headers = token ? { authorization: "Bearer " + token } : {};
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, cache: "no-store", body: body && JSON.stringify(body) });
  if (answer.status === 401) throw Object.assign(new Error("token"), { isToken: true });
  return answer;
}

// Percentiles of the requests between two readings of the histogram: the value lies within its bucket, straight between the bounds.
function percentile(before, now, share) {
  const counts = now.map((b, i) => b[1] - before[i][1]);
  const all = counts.reduce((a, b) => a + b, 0);
  if (!all) return null;
  let left = all * share;
  for (let i = 0; i < counts.length; i++) {
    const low = i ? now[i - 1][0] : 0, high = now[i][0] || low;
    if (counts[i] && left <= counts[i]) return low + (high - low) * left / counts[i];
    left -= counts[i];
  }
  return now[now.length - 2][0];
}

function showStatus(s) {
  const old = last && last.pid === s.pid && s.now_us > last.now_us ? last : null;
  const seconds = old ? (s.now_us - old.now_us) / 1e6 : 1;
  const rate = (key) => old ? Math.max(0, s[key] - old[key]) / seconds : 0;
  const half = old && percentile(old.durations, s.durations, 0.5), most = old && percentile(old.durations, s.durations, 0.99);
  state(s.state, s.state === "serving" ? "good" : "warn");
  $("about").textContent = `${s.version} · ${s.file}, generation ${s.generation} · up ${span(s.uptime_seconds)} · ${s.workers} workers`;
  if (old) {
    $("rate").textContent = number(rate("requests"));
    $("errors").textContent = number(rate("server_errors"));
    two("latency", ms(half), half == null ? null : ms(most));
    two("bytes", bytes(rate("bytes_in")), bytes(rate("bytes_out")));
    chart("rate", rate("requests"));
    chart("errors", rate("server_errors"));
    chart("latency", half);
    chart("bytes", rate("bytes_in") + rate("bytes_out"));
  }
  $("connections").textContent = number(s.connections);
  chart("connections", s.connections);
  showServers(s, old, seconds);
  showCache(s.cache, old && old.cache, seconds);
  last = s;
  if (s.generation !== generation || ++slow >= 5) {
    generation = s.generation;
    slow = 0;
    showRest();
  }
}

function showServers(s, old, seconds) {
  const key = (x) => x.upstream + "\n" + x.address;
  const before = new Map(old ? old.servers.map((x) => [key(x), x]) : []);
  const list = [...s.servers].sort((a, b) => (a.state === "up") - (b.state === "up") || (key(a) < key(b) ? -1 : 1));
  rows("servers", list, (row, x) => {
    const b = before.get(key(x)) || x, requests = Math.max(0, x.requests - b.requests);
    cell(row, x.upstream);
    cell(row, x.address, null, x.backup ? "backup" : null);
    const where = cell(row);
    where.append(badge(x.state));
    if (x.reason) where.append(make("small", x.reason));
    cell(row, x.weight, "n");
    cell(row, x.in_flight, "n");
    cell(row, number(requests / seconds), "n");
    cell(row, number(Math.max(0, x.errors - b.errors) / seconds), "n");
    cell(row, requests ? ((x.duration_us - b.duration_us) / requests / 1000).toFixed(1) : "–", "n");
  }, "no upstreams");
}

// Hits of the last second while there are requests, and of all behind them.
function showCache(c, old, seconds) {
  $("cache-card").hidden = !c.routes && !c.objects;
  const share = (r) => {
    const hits = r.hit + r.stale, all = hits + r.miss + r.revalidated;
    return all ? (100 * hits / all).toFixed(1) + " %" : null;
  };
  const change = {};
  for (const name in c.requests) change[name] = old ? Math.max(0, c.requests[name] - old.requests[name]) : 0;
  two("cache-hits", share(change) || "–", share(c.requests) && share(c.requests) + " in all");
  two("cache-memory", bytes(c.bytes), bytes(c.memory) + ", " + c.policy);
  $("cache-objects").textContent = number(c.objects);
  $("cache-evictions").textContent = number(old ? Math.max(0, c.evictions - old.evictions) / seconds : 0);
  $("cache-fills").textContent = number(c.fills);
  $("cache-results").textContent = Object.entries(c.requests).map(([name, n]) => name + " " + number(n)).join(", ");
  $("cache-redis-row").hidden = !c.redis;
  if (c.redis) two("cache-redis", `${c.redis.address} ${c.redis.reason || c.redis.state}`, `${number(c.redis.hits)} hits, ${number(c.redis.misses)} misses`);
  $("cache-advice").textContent = c.advice || "";
}

function matches(r) {
  const path = r.path.exact != null ? "= " + r.path.exact : r.path.regex != null ? "~ " + r.path.regex : r.path.prefix;
  const host = r.hosts.filter((h) => h !== "*").join(", ");
  return [r.methods.join(" "), host + path, r.conditions.join(", ")].filter(Boolean).join(" · ");
}
function does(r) {
  switch (r.action) {
  case "upstream": return "upstream " + r.upstream;
  case "split": return "split " + Object.entries(r.split).map(([k, v]) => k + " " + v).join(", ");
  case "redirect": return "redirect to " + r.redirect;
  case "respond": return "answers " + r.status;
  case "files": return "files below " + r.files;
  default: return r.action;
  }
}

const SHOWN = 200; // of routes: those with the most requests

async function showRest() {
  try {
    const [routes, listeners, certificates] = await Promise.all(
      ["routes", "listeners", "certificates"].map((x) => ask("GET", "/api/v1/" + x).then((a) => a.json())));
    const list = routes.routes.length > SHOWN ? [...routes.routes].sort((a, b) => b.requests - a.requests).slice(0, SHOWN) : routes.routes;
    rows("routes", list, (row, r) => {
      cell(row, r.name, null, r.file + ":" + r.line);
      cell(row, matches(r));
      cell(row, does(r), null, r.cache ? "from the cache where it may" : null);
      cell(row, number(r.requests), "n");
      cell(row, number(r.errors), "n");
      cell(row, r.requests ? r.mean_ms.toFixed(1) : "–", "n");
    }, "no routes");
    rows("listeners", listeners.listeners, (row, l) => {
      cell(row, l.name);
      cell(row, l.addresses.join(", "));
      cell(row, l.protocol + (l.tls ? " over TLS" : ""));
      cell(row, number(l.connections), "n");
      cell(row, number(l.connections_total), "n");
      cell(row, number(l.connections_refused), "n");
    }, "no listeners");
    $("certificate-card").hidden = !certificates.certificates.length;
    rows("certificates", certificates.certificates, (row, c) => {
      cell(row, c.names.join(", ") || c.subject, null, c.file || "made at the start");
      cell(row, c.listener);
      cell(row, c.issuer);
      cell(row, c.key + " " + c.key_bits);
      const days = c.expires_seconds / 86400;
      cell(row, null, "n").append(make("span", days < 0 ? "expired" : span(c.expires_seconds), "badge " + (days < 7 ? "bad" : days < 21 ? "warn" : "good")));
    }, "none");
  } catch (e) { /* the event stream tells of what is wrong */ }
}

function showNotice(n) {
  const item = make("li"), time = make("time", n.time ? new Date(n.time).toLocaleTimeString() : "");
  time.dateTime = n.time || "";
  item.append(time, make("span", n.kind + (n.text ? ": " + n.text.trim() : "")));
  $("notices").prepend(item);
  while ($("notices").children.length > 100) $("notices").lastChild.remove();
}

// Live: the event stream is read by fetch, which - unlike EventSource - can show the token.

function takeEvent(text) {
  let name = "message", data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (name === "status") showStatus(JSON.parse(data));
  if (name === "notice") showNotice(JSON.parse(data));
}

async function listen() {
  const answer = await ask("GET", "/api/v1/events");
  if (!answer.ok) throw new Error("status " + answer.status);
  $("login").hidden = true;
  $("notices").replaceChildren();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(takeEvent);
  }
}

function askForToken(wasWrong) {
  state("token asked for", "warn");
  $("login").hidden = false;
  $("login-error").textContent = wasWrong ? "That is not the token." : "";
  $("token").focus();
}

async function live() {
  for (; ;) {
    try {
      await listen();
      state("reconnecting", "warn");
    } catch (e) {
      if (e.isToken) { askForToken(token !== ""); return; }
      state("not reachable", "bad");
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

$("login").addEventListener("submit", (e) => {
  e.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("weir-token", token);
  $("token").value = "";
  live();
});

$("reload").addEventListener("click", async () => {
  $("reload").disabled = true;
  try {
    const answer = await ask("POST", "/api/v1/reload"), body = await answer.json();
    if (answer.ok) say(body.changes.length ? "Reloaded:\n" + body.changes.join("\n") : "Reloaded; nothing changed.");
    else say(body.detail + "\n" + (body.errors || []).join("\n"), true);
  } catch (e) {
    if (e.isToken) askForToken(token !== "");
    else say("The reload could not be asked for: " + e.message, true);
  }
  $("reload").disabled = false;
});

$("purge-what").addEventListener("change", () => {
  const what = $("purge-what").value, shown = { url: "https://example.com/a", prefix: "https://example.com/img/", tag: "news", all: "" };
  $("purge-text").hidden = !($("purge-text").required = what !== "all");
  $("purge-text").placeholder = shown[what];
});

$("purge").addEventListener("submit", async (e) => {
  e.preventDefault();
  const what = $("purge-what").value;
  try {
    const body = { [what]: what === "all" || $("purge-text").value.trim(), soft: $("purge-soft").checked };
    const answer = await ask("POST", "/api/v1/cache/purge", body), said = await answer.json();
    if (answer.ok) say((said.soft ? "Made stale: " : "Purged: ") + (what === "all" ? "everything" : what + " " + said.purged[what]));
    else say(said.detail, true);
  } catch (e) {
    if (e.isToken) askForToken(token !== "");
    else say("The purge could not be asked for: " + e.message, true);
  }
});

live();
