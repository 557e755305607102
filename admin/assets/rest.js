"use strict";
// Listeners, certificates, the cache, what happened, and explain.

function tlsWords(l) {
  const kinds = Object.entries(l.handshakes).map(([v, n]) => `${v === "other" ? "other" : "TLS " + v}: ${number(n.full)} full, ${number(n.resumed)} resumed`);
  if (l.handshake_failures) kinds.push(number(l.handshake_failures) + " failed");
  return l.tls ? kinds.join("; ") || "none yet" : "–";
}
const listenersTable = new Table("listeners-table", "Where clients come in", [
  { title: "Listener", sort: (l) => l.name, fill: (td, l) => twoLines(td, l.name, l.protocol + (l.tls ? " over TLS" : "")) },
  { title: "Address", className: "min", fill: (td, l) => put(td, l.addresses.join(", ")) },
  { title: "Connections", number: true, sort: (l) => l.connections, fill: (td, l) => put(td, number(l.connections)) },
  { title: "In all", number: true, sort: (l) => l.connections_total, fill: (td, l) => put(td, number(l.connections_total)) },
  { title: "Refused", number: true, sort: (l) => l.connections_refused, fill: (td, l) => hot(td, number(l.connections_refused), l.connections_refused > 0) },
  { title: "Requests", number: true, sort: (l) => l.requests, fill: (td, l) => put(td, l.protocol === "http" ? number(l.requests) : "–") },
  { title: "TLS handshakes", className: "min", fill: (td, l) => put(td, tlsWords(l)) },
], (l) => l.name, "no listeners");

const certificatesTable = new Table("certificates-table", "Certificates that are shown to clients", [
  { title: "Names", className: "min", fill: (td, c) => twoLines(td, c.names.join(", ") || c.subject, c.file || "made at the start") },
  { title: "Listener", fill: (td, c) => put(td, c.listener) },
  { title: "Issuer", fill: (td, c) => put(td, c.issuer) },
  { title: "Key", fill: (td, c) => put(td, c.key + " " + c.key_bits) },
  { title: "Days left", number: true, sort: (c) => c.expires_seconds, fill: (td, c) => {
    const days = Math.floor(c.expires_seconds / 86400);
    once(td, days + c.not_after, () => [badge(days < 0 ? "expired" : number(days), days < 7 ? "bad" : days < 21 ? "warn" : "good"), make("small", moment(c.not_after))]);
  } },
], (c) => c.listener + c.fingerprint, "none");

async function showRest() {
  try {
    const [l, c] = await Promise.all(["listeners", "certificates"].map((x) => get("/api/v1/" + x)));
    listenersTable.show(l.listeners);
    $("certificate-card").hidden = !c.certificates.length;
    certificatesTable.show([...c.certificates].sort((x, y) => x.expires_seconds - y.expires_seconds));
    soon = c.certificates.filter((x) => x.expires_seconds < 14 * 86400 && x.file).slice(0, 4).map((x) => ({ names: x.names[0] || x.subject, days: x.expires_seconds / 86400 }));
  } catch (e) { /* the stream tells of what is wrong */ }
}

function showCache(c) {
  $("cache-card").hidden = !c.routes;
  if (!c.routes) return;
  const b = readings[readings.length - 1], a = before(readings, SHORT);
  put("cache-hits", c.hit_ratio == null ? "–" : percent(c.hit_ratio));
  put("cache-memory", `${bytes(c.bytes)} of ${bytes(c.memory)}, ${c.policy}`);
  put("cache-objects", number(c.objects));
  put("cache-evictions", number(rate(a, b, "evictions") || 0));
  put("cache-fills", number(c.fills));
  put("cache-results", Object.entries(c.requests).filter((r) => r[1]).map(([k, n]) => `${k} ${number(n)}`).join(" · ") || "–");
  $("cache-redis-row").hidden = !c.redis;
  if (c.redis) put("cache-redis", `${c.redis.address}: ${c.redis.state}${c.redis.reason ? ": " + c.redis.reason : ""}`);
  put("cache-advice", c.advice || (c.shadow ? "The shadow has seen too little to advise yet: it tries what another policy and twice the memory would bring." : ""));
}

let configTimer = 0;
function showNotice(n) {
  const item = make("li"), time = make("time", clock(n.time));
  time.dateTime = n.time || "";
  item.append(time, make("span", n.kind + (n.text ? ": " + n.text.trim() : "")));
  $("notices").prepend(item);
  while ($("notices").children.length > 100) $("notices").lastChild.remove();
  clearTimeout(configTimer);
  configTimer = setTimeout(showConfig, 300);
}

$("explain-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  const body = { method: $("explain-method").value.trim(), url: $("explain-url").value.trim(), headers: {} }, client = $("explain-client").value.trim();
  for (const line of $("explain-headers").value.split("\n").filter((l) => l.trim())) {
    const colon = line.indexOf(":"), name = line.slice(0, colon).trim(), value = line.slice(colon + 1).trim();
    body.headers[name] = name in body.headers ? [body.headers[name], value].flat() : value;
  }
  if (client) body.client = client;
  const out = $("explain-text");
  try {
    const answer = await ask("POST", "/api/v1/explain", body);
    put(out, answer.ok ? (await answer.json()).text : (await problem(answer)).text);
    out.classList.toggle("bad", !answer.ok);
  } catch (x) {
    if (x.isToken) askForToken(token !== "");
    else put(out, "It could not be asked for: " + x.message);
  }
  out.hidden = false;
});
