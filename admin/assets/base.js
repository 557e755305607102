"use strict";
// Words, numbers and nodes. Text is only ever set as text: what stands in it may come from anybody.

const $ = (id) => document.getElementById(id);

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function number(n) {
  if (n == null || Number.isNaN(n)) return "–";
  if (n >= 1e9) return (n / 1e9).toFixed(2) + " G";
  if (n >= 100 || Number.isInteger(n)) return WHOLE.format(n);
  return n.toFixed(n >= 10 ? 1 : 2);
}
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < 4) { n /= 1024; i++; }
  return (n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}
function ms(n) {
  if (n == null) return "–";
  if (n >= 10000) return (n / 1000).toFixed(1) + " s";
  return (n >= 100 ? WHOLE.format(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2)) + " ms";
}
const percent = (share) => share == null ? "–" : (share * 100).toFixed(share > 0 && share < 0.0995 ? 2 : 1) + " %";
function span(seconds) {
  const s = Math.floor(Math.abs(seconds));
  const text = s >= 172800 ? Math.floor(s / 86400) + " days" : s >= 7200 ? Math.floor(s / 3600) + " h" : s >= 120 ? Math.floor(s / 60) + " min" : s + " s";
  return seconds < 0 ? text + " ago" : text;
}
const clock = (time) => time ? new Date(time).toLocaleTimeString("en-GB") : "";
const moment = (time) => time ? new Date(time).toLocaleString("en-GB") : "–";

function make(tag, text, className) {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (className) e.className = className;
  return e;
}
function put(node, text) {
  const e = typeof node === "string" ? $(node) : node;
  if (e.textContent !== text) e.textContent = text;
}
function drawn(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text != null) e.textContent = text;
  return e;
}
function badge(word, kind) {
  const sign = { good: "✓ ", warn: "! ", bad: "✕ " }[kind] || "";
  return make("span", sign + word, "badge " + (kind || ""));
}
const serverKind = (state) => state === "up" ? "good" : state === "drain" ? "warn" : "bad";

function facts(list, pairs) {
  list.replaceChildren(...pairs.filter((p) => p[1] != null && p[1] !== "").map(([name, value]) => {
    const div = make("div"), dd = make("dd");
    dd.append(value);
    div.append(make("dt", name), dd);
    return div;
  }));
}

// What just came of what the reader did.
function say(text, isBad) {
  $("message").hidden = !text;
  put("message-text", text || "");
  $("message").classList.toggle("bad", !!isBad);
  if (text) $("message").scrollIntoView({ block: "nearest" });
}
function state(text, kind) {
  put("state", text);
  $("state").className = "badge " + (kind || "");
}
