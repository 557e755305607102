"use strict";
// What happens with each reading, and what the page's own buttons do.

let generation = 0, turns = 0, isPaused = false, newest = null;

function takeReading(s) {
  note(s);
  addPoint();
  newest = s;
  if (!isPaused && !document.hidden) paint(s);
}

function paint(s) {
  state(s.state, s.state === "serving" ? "good" : "warn");
  put("about", `${s.version} · generation ${s.generation} · up ${span(s.uptime_seconds)} · ${s.workers === 1 ? "1 worker" : s.workers + " workers"}`);
  $("about").title = s.file;
  showVerdict(s);
  showFigures(s);
  serversFilter.take(s.servers);
  routesFilter.take(s.routes);
  showCache(s.cache);
  showTrial(s.trial);
  if (s.generation !== generation || turns % 30 === 0) showConfig();
  if (s.generation !== generation || turns % 5 === 0) showRest();
  if (turns % 2 === 0) showRequests();
  generation = s.generation;
  turns++;
}

$("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  $("pause").setAttribute("aria-pressed", String(isPaused));
  put("pause", isPaused ? "Go on" : "Pause");
  if (!isPaused && newest) paint(newest);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && newest && !isPaused) paint(newest); });

const THEMES = ["system", "light", "dark"];
function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  put("theme", { system: "◐", light: "☀", dark: "☾" }[name] + " " + name);
  $("theme").setAttribute("aria-label", "Theme: " + name);
  localStorage.setItem("weir-theme", name);
}
$("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(localStorage.getItem("weir-theme")) + 1) % 3] || "light"));
theme(THEMES.includes(localStorage.getItem("weir-theme")) ? localStorage.getItem("weir-theme") : "system");

$("message-close").addEventListener("click", () => say(""));

// Which sections are folded is kept.
for (const d of document.querySelectorAll("#all > details")) {
  const kept = localStorage.getItem("weir-fold-" + d.id);
  if (kept) d.open = kept === "open";
  d.addEventListener("toggle", () => localStorage.setItem("weir-fold-" + d.id, d.open ? "open" : "folded"));
}

// `#/request/ID` is the page of a request; other fragments are sections, which are unfolded.
function go() {
  const story = location.hash.match(/^#\/request\/(.+)$/);
  if (story) {
    let id = story[1];
    try { id = decodeURIComponent(id); } catch (e) { /* as it stands */ }
    showStory(id);
    return;
  }
  $("story").hidden = true;
  $("all").hidden = !$("login").hidden;
  const section = location.hash.length > 1 && $(location.hash.slice(1));
  if (section) {
    if (section.tagName === "DETAILS") section.open = true;
    section.scrollIntoView();
  } else if (!location.hash) scrollTo(0, 0);
}
addEventListener("hashchange", go);
go();
live();
