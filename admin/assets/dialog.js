"use strict";
// Questions before something is changed. A native dialog: it holds the focus, Escape closes it, and the focus goes back.

// {title, text, yes, fields: node or null} -> true when it is to be done.
function confirmed(question) {
  const d = $("dialog");
  put("dialog-title", question.title);
  put("dialog-text", question.text || "");
  $("dialog-fields").replaceChildren(...(question.fields ? [question.fields] : []));
  put("dialog-yes", question.yes);
  d.returnValue = "";
  d.showModal();
  (question.focus || $("dialog-no")).focus();
  return new Promise((done) => d.addEventListener("close", () => done(d.returnValue === "yes"), { once: true }));
}
$("dialog-no").addEventListener("click", () => $("dialog").close("no"));
$("dialog-form").addEventListener("submit", (e) => {
  e.preventDefault();
  $("dialog").close("yes");
});

function choice(name, value, label, isChosen) {
  const l = make("label"), input = make("input");
  Object.assign(input, { type: "radio", name, value, checked: isChosen });
  l.append(input, " " + label);
  return l;
}
function amount(label, value, id) {
  const l = make("label", label + " "), input = make("input");
  Object.assign(input, { type: "number", min: 0, max: 1000000, value, id, required: true });
  l.append(input);
  return l;
}
function fieldset(legend, ...nodes) {
  const f = make("fieldset");
  f.append(make("legend", legend), ...nodes);
  return f;
}

async function steerServer(x) {
  const box = make("div"), present = x.state === "drain" || x.reason === "down by hand" ? x.state : "up";
  const states = fieldset("State", choice("state", "up", "Up: gets requests as its checks allow", present === "up"),
    choice("state", "drain", "Drain: what is open goes on, nothing new", present === "drain"),
    choice("state", "down", "Down: nothing new, and streams are closed", present === "down"));
  const weight = fieldset("Weight", amount(`of the file: ${x.file_weight}`, x.weight, "steer-weight"));
  box.append(states, weight);
  const go = await confirmed({ title: `${x.upstream} ${x.address}`, text: `It is ${x.state}${x.reason ? ": " + x.reason : ""}. A change counts at once, without a reload.`,
    fields: box, yes: "Change", focus: states.querySelector(":checked") });
  if (!go) return;
  const body = {}, wanted = states.querySelector(":checked"), heavy = Number($("steer-weight").value);
  if (wanted && (wanted.value !== present || x.state !== "up")) body.state = wanted.value;
  if (heavy !== x.weight) body.weight = heavy === x.file_weight ? null : heavy;
  if (!Object.keys(body).length) return say("Nothing was changed.");
  const path = `/api/v1/upstreams/${encodeURIComponent(x.upstream)}/servers/${encodeURIComponent(x.address)}`;
  await change("PATCH", path, body, (said) => `${x.upstream} ${x.address} is now ${said.state}${said.reason ? " (" + said.reason + ")" : ""}, weight ${said.weight}; this lasts ${said.lasts}.`);
}

async function steerSplit(route) {
  const box = fieldset("Weights", ...Object.entries(route.split).map(([name, weight]) => amount(name, weight, "split-" + name)));
  if (!await confirmed({ title: `Route ${route.name}`, text: "Requests are split among upstreams by these weights. A change counts at once.", fields: box, yes: "Change", focus: box.querySelector("input") })) return;
  const split = Object.fromEntries([...box.querySelectorAll("input")].map((i) => [i.id.slice(6), Number(i.value)]));
  await change("PATCH", "/api/v1/routes/" + encodeURIComponent(route.name), { split }, (said) => `Route ${route.name} now splits ${Object.entries(said.split).map(([k, v]) => k + " " + v).join(", ")}.`);
}

$("purge-what").addEventListener("change", () => {
  const what = $("purge-what").value, shown = { url: "https://example.com/a", prefix: "https://example.com/img/", tag: "news", all: "" };
  $("purge-text").hidden = !($("purge-text").required = what !== "all");
  $("purge-text").placeholder = shown[what];
});
$("purge").addEventListener("submit", async (e) => {
  e.preventDefault();
  const what = $("purge-what").value, text = $("purge-text").value.trim(), soft = $("purge-soft").checked;
  const named = what === "all" ? "everything that is stored" : `${what} ${text}`;
  if (!await confirmed({ title: soft ? "Make it stale?" : "Purge?", text: `${named}: ${soft ? "it is asked for anew before it is used again" : "the next request for it goes to a server"}.`, yes: soft ? "Make stale" : "Purge" })) return;
  await change("POST", "/api/v1/cache/purge", { [what]: what === "all" || text, soft },
    (said) => (said.soft ? "Made stale: " : "Purged: ") + (what === "all" ? "everything" : what + " " + said.purged[what]));
});
