"use strict";
// Readings of the counters, and what follows from two of them: rates by the true time between, percentiles by the
// differences of histograms.

const KEPT = 601;  // readings: ten minutes
const SHORT = 10;  // seconds that tables and percentiles are over
const SPARK = 60;  // seconds in a row's line

const readings = [];    // the newest last
let bounds = [];        // of the histogram's buckets in ms; the last is 0
let mark = null;        // the reading from which is counted
const tracks = { servers: new Map(), routes: new Map() };

function dense(sparse) {
  const all = new Array(bounds.length).fill(0);
  for (let i = 0; i < sparse.length; i += 2) all[sparse[i]] = sparse[i + 1];
  return all;
}

function percentile(before, now, share) {
  const counts = now.map((n, i) => Math.max(0, n - (before ? before[i] : 0)));
  const all = counts.reduce((a, b) => a + b, 0);
  let left = all * share;
  if (!all) return null;
  for (let i = 0; i < counts.length; i++) {
    const low = i ? bounds[i - 1] : 0, high = bounds[i] || low;
    if (counts[i] && left <= counts[i]) return low + (high - low) * left / counts[i];
    left -= counts[i];
  }
  return bounds[bounds.length - 2];
}

// The newest that is at least so many seconds older than the last, or the oldest.
function before(list, seconds) {
  const until = list[list.length - 1].t - seconds + 0.05;
  for (let i = list.length - 2; i >= 0; i--) if (list[i].t <= until) return list[i];
  return list[0];
}

// By how much `key` grew a second between two readings; null when there is no time between them.
function rate(a, b, key) {
  const seconds = b.t - a.t;
  return seconds > 0 ? Math.max(0, b[key] - a[key]) / seconds : null;
}
const grown = (a, b, key) => Math.max(0, (b[key] || 0) - (a[key] || 0));
const share = (part, all) => all > 0 ? part / all : null;

function times(a, b) {
  return a === b ? [null, null, null] : [0.5, 0.95, 0.99].map((s) => percentile(a.durations, b.durations, s));
}

const handshakes = (tls, kind) => Object.values(tls).reduce((sum, v) => sum + (kind ? v[kind] : v.full + v.resumed), 0);
const CACHE_HITS = ["hit", "stale"], CACHE_ALL = ["hit", "stale", "miss", "revalidated"];

function note(s) {
  const last = readings[readings.length - 1];
  const cached = (keys) => keys.reduce((sum, k) => sum + (s.cache.requests[k] || 0), 0);
  if (last && (last.pid !== s.pid || s.now_us / 1e6 <= last.t || s.requests < last.requests)) forget();
  bounds = s.bounds;
  const r = {
    pid: s.pid, t: s.now_us / 1e6, requests: s.requests, client_errors: s.client_errors, server_errors: s.server_errors,
    bytes_in: s.bytes_in, bytes_out: s.bytes_out, duration_us: s.duration_us, durations: dense(s.durations), connections: s.connections,
    in_flight: s.upstreams.in_flight, queue: s.upstreams.queue, opened: s.servers.opened, reused: s.servers.reused, retries: s.servers.retries,
    failed: s.servers.failed, handshakes: handshakes(s.tls), resumed: handshakes(s.tls, "resumed"), tls: s.tls, refused: s.connections_refused,
    cache_hits: cached(CACHE_HITS), cache_all: cached(CACHE_ALL), evictions: s.cache.evictions, failures: s.failures, statuses: s.statuses,
  };
  readings.push(r);
  if (readings.length > KEPT) readings.shift();
  noteRows(tracks.servers, s.servers.rows, r.t, serverKey);
  noteRows(tracks.routes, s.routes.rows, r.t, (x) => x.name);
}

function forget() {
  readings.length = 0;
  tracks.servers.clear();
  tracks.routes.clear();
  mark = null;
}

const serverKey = (x) => x.upstream + "\n" + x.address;

// A row's own readings. One that was not told of for a while begins anew.
function noteRows(map, rows, t, keyOf) {
  for (const x of rows) {
    const key = keyOf(x);
    let track = map.get(key);
    if (!track || t - track.list[track.list.length - 1].t > 3 || x.requests < track.list[track.list.length - 1].requests)
      map.set(key, track = { list: [], rates: [] });
    const last = track.list[track.list.length - 1];
    if (last && t <= last.t) continue;
    const r = { t, requests: x.requests, errors: x.errors, client_errors: x.client_errors || 0, opened: x.opened, reused: x.reused,
      duration_us: x.duration_us, durations: dense(x.durations) };
    track.list.push(r);
    if (last) track.rates.push(rate(last, r, "requests"));
    if (track.list.length > SHORT + 3) track.list.shift();
    if (track.rates.length > SPARK) track.rates.shift();
  }
  for (const [key, track] of map) if (t - track.list[track.list.length - 1].t > 120) map.delete(key);
}

// What a row shows, by its track.
function derived(track) {
  if (!track || track.list.length < 2) return { rate: null, errors: null, client_errors: null, times: [null, null, null], reuse: null, rates: [] };
  const b = track.list[track.list.length - 1], a = before(track.list, SHORT);
  const reused = grown(a, b, "reused");
  return {
    rate: rate(a, b, "requests"), errors: rate(a, b, "errors"), client_errors: rate(a, b, "client_errors"), times: times(a, b),
    reuse: share(reused, reused + grown(a, b, "opened")), rates: track.rates,
  };
}
