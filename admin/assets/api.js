"use strict";
// What the server is asked. The token is in a header, never in an address, and is forgotten with the tab.

let token = sessionStorage.getItem("weir-token") || "";

async function ask(method, path, body) {
  const headers = token ? { authorization: "Bearer " + token } : {};
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, cache: "no-store", credentials: "omit", body: body && JSON.stringify(body) });
  if (answer.status === 401) throw Object.assign(new Error("the token is asked for"), { isToken: true });
  return answer;
}

async function get(path) {
  const answer = await ask("GET", path);
  if (!answer.ok) throw Object.assign(new Error((await problem(answer)).text), { status: answer.status });
  return answer.json();
}

async function problem(answer) {
  let said = {};
  try { said = await answer.json(); } catch (e) { /* a body that is none */ }
  const lines = [said.detail || "status " + answer.status, ...(said.errors || [])];
  return { text: lines.map((l) => typeof l === "string" ? l : JSON.stringify(l)).join("\n") };
}

// Does something and says what came of it; `told` makes the words out of the answer. The answer, or null.
async function change(method, path, body, told) {
  try {
    const answer = await ask(method, path, body);
    if (!answer.ok) {
      say((await problem(answer)).text, true);
      return null;
    }
    const said = await answer.json();
    say(told(said));
    return said;
  } catch (e) {
    if (e.isToken) askForToken(token !== "");
    else say("It could not be asked for: " + e.message, true);
    return null;
  }
}

// Live: the event stream is read by fetch, which - unlike EventSource - can show the token.
function takeEvent(text) {
  let name = "message", data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (name === "status") takeReading(JSON.parse(data));
  if (name === "notice") showNotice(JSON.parse(data));
}

async function listen() {
  const answer = await ask("GET", "/api/v1/events");
  if (!answer.ok) throw new Error("status " + answer.status);
  $("login").hidden = true;
  $("all").hidden = false;
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
  $("all").hidden = true;
  $("login").hidden = false;
  put("login-error", wasWrong ? "That is not the token." : "");
  $("token").focus();
}

async function live() {
  for (; ;) {
    try {
      await listen();
      lost("The connection to weir ended: these are the last figures; trying again every second");
    } catch (e) {
      if (e.isToken) { askForToken(token !== ""); return; }
      lost("weir cannot be reached: these are the last figures; trying again every second");
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
