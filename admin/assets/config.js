"use strict";
// The configuration that runs: its generation, what the last changes did, and its text without secrets.

const historyTable = new Table("history-table", "Generations, the newest first", [
  { title: "Generation", fill: (td, g) => put(td, g.generation ? String(g.generation) : "–") },
  { title: "When", className: "nowrap", fill: (td, g) => put(td, moment(g.at)) },
  { title: "By", fill: (td, g) => put(td, g.by || "–") },
  { title: "Result", fill: (td, g) => twoLines(td, g.result, g.reason || "") },
  { title: "What changed", className: "min", fill: (td, g) => put(td, (g.diff || []).join("\n") || "–") },
], (g) => g.generation + g.at, "only the one at the start");

async function showConfig() {
  let c;
  try {
    c = await get("/api/v1/config");
  } catch (e) {
    $("config").hidden = e.status === 404 || !!e.isToken;
    return;
  }
  const newest = [...(c.history || [])].sort((a, b) => a.at < b.at ? 1 : -1), present = newest.find((g) => g.generation === c.generation), onTrial = present && /trial/.test(present.result);
  $("config").hidden = false;
  put("config-about", `${c.file}, generation ${c.generation}, read ${moment(c.loaded)}${onTrial ? ": on trial, it falls back by itself unless it is confirmed" : ""}`);
  const diff = present && present.diff && present.diff.length ? present.diff : ["Nothing: it is as it was at the start."];
  $("config-diff").replaceChildren(...diff.map((line) => make("li", line)));
  historyTable.show(newest);
  put("config-yaml", c.yaml || "");
  const back = newest.find((g) => g.generation && g.generation < c.generation);
  $("config-tools").replaceChildren(...[
    onTrial && tool("Confirm", confirmConfig), back && tool("Roll back…", () => rollBack(back)),
  ].filter(Boolean));
}

function tool(text, act) {
  const b = make("button", text);
  b.type = "button";
  b.addEventListener("click", act);
  return b;
}

async function confirmConfig() {
  await change("POST", "/api/v1/confirm", null, () => "Confirmed: the configuration stays.");
  showConfig();
}
async function rollBack(g) {
  if (!await confirmed({ title: "Roll back?", text: `The configuration of generation ${g.generation} is taken up again, at once; the file on disk stays as it is.`, yes: "Roll back" })) return;
  await change("POST", "/api/v1/rollback", null, (said) => "Rolled back:\n" + ((said.changes || []).join("\n") || "nothing differs."));
  showConfig();
}
