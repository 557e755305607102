"use strict";
// The configuration that runs: its generation, what the last changes did, and its text without secrets.

let configState = { refused: "", differs: false }; // what the verdict wants to know

const historyTable = new Table("history-table", "Generations, the newest first", [
  { title: "Generation", fill: (td, g) => put(td, g.generation ? String(g.generation) : "–") },
  { title: "When", className: "nowrap", fill: (td, g) => put(td, moment(g.at)) },
  { title: "By", fill: (td, g) => put(td, g.by || "–") },
  { title: "Result", className: "min", fill: (td, g) => twoLines(td, g.result, g.reason || "") },
  { title: "What changed", className: "min lines", fill: (td, g) => put(td, (g.diff || []).join("\n") || "–") },
  { title: "Change", fill: (td, g) => {
    if (g.isOld && g.kept) button(td, g, "Roll back…", `Roll back to generation ${g.generation}`, rollBack);
    else if (td.firstChild) td.replaceChildren();
  } },
], (g) => g.generation + " " + g.at, "only the one at the start");

async function showConfig() {
  let c;
  try {
    c = await get("/api/v1/config");
  } catch (e) {
    $("config").hidden = e.status === 404;
    return;
  }
  const history = [...(c.history || [])].reverse(), present = history.find((g) => g.generation === c.generation), last = history[0];
  $("config").hidden = false;
  configState = { refused: last && last.result === "refused" ? last.reason || "see below" : "", differs: !!c.file_differs };
  put("config-about", `${c.file}, generation ${c.generation}, read ${moment(c.loaded)}`);
  const isFirst = !history.some((g) => g.generation && g.generation < c.generation);
  const diff = present && present.diff && present.diff.length ? present.diff : [isFirst ? "Nothing yet: it is as it was at the start." : "Nothing that counts."];
  $("config-diff").replaceChildren(...diff.map((line) => make("li", line)));
  historyTable.show(history.map((g) => ({ ...g, isOld: g.generation && g.generation !== c.generation })));
  put("config-yaml", c.yaml || "It is too long to be shown, or is kept no more.");
}

// A configuration on trial, with what ends the trial.
function showTrial(trial) {
  const box = $("config-tools");
  box.hidden = !trial;
  if (!trial) return;
  if (!box.firstChild) {
    const confirm = make("button", "Confirm it", "first");
    confirm.type = "button";
    confirm.addEventListener("click", confirmConfig);
    box.append(make("span"), confirm);
  }
  put(box.firstChild, `Generation ${trial.generation} is on trial: in ${span(trial.remaining_seconds)} generation ${trial.falls_back_to} is back, unless it is confirmed.`);
}

async function confirmConfig() {
  await change("POST", "/api/v1/confirm", null, () => "Confirmed: the configuration stays.");
  showConfig();
}
async function rollBack(g) {
  if (!await confirmed({ title: "Roll back?", text: `The configuration of generation ${g.generation} is taken up again, at once; the file on disk stays as it is.`, yes: "Roll back" })) return;
  await change("POST", "/api/v1/rollback", { generation: g.generation },
    (said) => `Rolled back, generation ${said.generation} has the text of generation ${g.generation}:\n` + (said.changes.join("\n") || "nothing differs."));
  showConfig();
}

$("reload").addEventListener("click", async () => {
  const box = make("label"), trial = make("input");
  Object.assign(trial, { type: "checkbox", id: "reload-trial" });
  box.append(trial, " on trial for 60 s: what was before comes back by itself, unless this is confirmed or if it does worse");
  if (!await confirmed({ title: "Reload the configuration?", text: "The file is read anew. What changed counts at once, requests go on; a file with a fault changes nothing.", yes: "Reload", fields: box })) return;
  $("reload").disabled = true;
  await change("POST", "/api/v1/reload", trial.checked ? { confirm: "60s" } : null,
    (said) => said.changes.length ? `Reloaded, generation ${said.generation}${said.trial ? ", on trial" : ""}:\n` + said.changes.join("\n") : "Reloaded; nothing changed.");
  $("reload").disabled = false;
  showConfig();
});
