"use strict";
// What is wrong, in words, the worst first: what somebody who was just woken needs to know. The head is told to screen
// readers when it changes; the list is there to be read.

const KINDS = { bad: "broken", warn: "look at it" };
let soon = [];     // certificates that end soon: {names, days, listener}

function upstreamTrouble(u) {
  const name = `Upstream ${u.name}`, of = `${u.usable} of ${u.servers} servers get requests`;
  const found = [];
  if (u.usable === 0) found.push(["bad", `${name}: no server gets requests`]);
  else if (u.panic) found.push(["bad", `${name}: panic, checks are not looked at because too few servers are well (${of})`]);
  else if (u.usable < u.servers) found.push(["warn", `${name}: ${of}`]);
  if (u.breaker === "open") found.push(["bad", `${name}: its breaker is open, requests are refused`]);
  if (u.breaker === "half_open") found.push(["warn", `${name}: its breaker tries whether servers answer again`]);
  if (u.queue) found.push([u.queue >= u.queue_size ? "bad" : "warn", `${name}: ${number(u.queue)} of at most ${number(u.queue_size)} wait for a server`]);
  return found;
}

function serverTrouble(servers) {
  const out = servers.rows.filter((x) => !x.usable), found = out.slice(0, 8).map((x) => [
    x.state === "drain" || x.admin !== "up" ? "warn" : "bad", `${x.upstream} ${x.address} is ${x.state === "drain" ? "draining" : x.state}${x.reason ? ": " + x.reason : ""}`]);
  if (servers.unusable > found.length) found.push(["bad", `… and ${number(servers.unusable - found.length)} more servers get no requests`]);
  return found;
}

function requestTrouble(s) {
  const b = readings[readings.length - 1], a = before(readings, SHORT), requests = grown(a, b, "requests"), errors = grown(a, b, "server_errors");
  if (!requests || !errors) return [];
  const part = errors / requests, where = worstRoute();
  const why = Object.keys(b.failures).map((w) => [w, grown(a.failures, b.failures, w)]).filter((x) => x[1]).sort((x, y) => y[1] - x[1]).slice(0, 2);
  return [[part >= 0.01 ? "bad" : "warn", `${percent(part)} of requests got a server error in the last ${SHORT} s` + (where ? `, most of them on route ${where}` : "") +
    (why.length ? `; how they ended: ${why.map((w) => w[0] + " " + number(w[1])).join(", ")}` : "")]];
}

function worstRoute() {
  let worst = null, most = 0;
  for (const [name, track] of tracks.routes) {
    const errors = derived(track).errors || 0;
    if (errors > most) [worst, most] = [name, errors];
  }
  return worst;
}

function processTrouble(s) {
  const found = [], redis = s.cache.redis;
  if (s.state !== "serving") found.push(["warn", "weir drains: it takes no new connections and ends when the open ones do"]);
  if (configState.refused) found.push(["warn", `The last reload was refused, the configuration before goes on: ${configState.refused}`]);
  else if (configState.differs) found.push(["warn", "The configuration file is another one than the one that runs: it was not reloaded"]);
  if (s.trial) found.push(["warn", `Generation ${s.trial.generation} is on trial: in ${span(s.trial.remaining_seconds)} generation ${s.trial.falls_back_to} is back, unless it is confirmed`]);
  if (redis && redis.state === "away") found.push(["warn", `The cache's Redis is away: ${redis.reason}`]);
  if (s.log_lines_lost) found.push(["warn", `${number(s.log_lines_lost)} log lines were lost: an output does not take them`]);
  const b = readings[readings.length - 1], a = before(readings, SHORT);
  if (b.refused > a.refused) found.push(["warn", `${number(b.refused - a.refused)} connections were refused by a limit in the last ${SHORT} s`]);
  for (const c of soon) found.push([c.days < 3 ? "bad" : "warn", `The certificate of ${c.names} ${c.days < 0 ? "has expired" : "ends in " + span(c.days * 86400)}`]);
  return found;
}

function showVerdict(s) {
  const found = [...requestTrouble(s), ...s.upstreams.trouble.flatMap(upstreamTrouble), ...serverTrouble(s.servers), ...processTrouble(s)];
  found.sort((x, y) => (x[0] === "warn") - (y[0] === "warn"));
  const bad = found.filter((f) => f[0] === "bad").length, kind = bad ? "bad" : found.length ? "warn" : "good";
  const count = (n, one, many) => n === 1 ? "1 " + one : number(n) + " " + many;
  put("verdict-title", bad ? `✕ ${count(bad, "thing is", "things are")} broken` + (found.length > bad ? `, ${found.length - bad} more to look at` : "")
    : found.length ? `! ${count(found.length, "thing", "things")} to look at` : `✓ All is well: ${count(s.servers.total, "server", "servers")}, ${count(s.routes.total, "route", "routes")}`);
  $("verdict").className = "card " + kind;
  document.title = (bad ? "✕ " : found.length ? "! " : "") + "weir";
  const signature = JSON.stringify(found);
  if ($("verdict-list").signature === signature) return;
  $("verdict-list").signature = signature;
  $("verdict-list").replaceChildren(...found.map(([k, text]) => {
    const li = make("li"), sign = make("div");
    sign.append(badge(KINDS[k], k));
    li.append(sign, make("span", text));
    return li;
  }));
}

// The stream broke: what stands there is old.
function lost(text) {
  state("not reachable", "bad");
  put("verdict-title", "✕ " + text);
  $("verdict").className = "card bad";
  document.title = "✕ weir";
}
