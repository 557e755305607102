"""The dashboard as its reader has it: a real browser with a page open, by what is written on it."""

import base64
import json
import time

from .browser import Browser
from .deadline import SCALE

TEXT = "done((document.getElementById(arguments[0]) || {}).textContent ?? null);"
ROWS = """
    done([...document.querySelectorAll("#" + arguments[0] + " tbody tr")].map(tr => [...tr.cells].map(td => td.innerText.trim())));
"""
CLICK = """
    const found = document.querySelector(arguments[0]);
    if (!found) { done("nothing there: " + arguments[0]); return; }
    found.click(); done(null);
"""
FILL = """
    const field = document.getElementById(arguments[0]);
    field.value = arguments[1];
    field.dispatchEvent(new Event("input", {bubbles: true})); field.dispatchEvent(new Event("change", {bubbles: true}));
    done(null);
"""
KEYS = {"Tab": ("Tab", 9, None), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, None), " ": ("Space", 32, " "),
        "ArrowLeft": ("ArrowLeft", 37, None), "ArrowRight": ("ArrowRight", 39, None), "ArrowDown": ("ArrowDown", 40, None)}


class Dashboard(Browser):
    def __init__(self, folder):
        super().__init__(folder, logs=("browser", "performance"))

    def show(self, weir, fragment="", token=None):
        """Opens the page of a weir, anew; waits for its first figures."""
        self.open("about:blank")
        for kind in ("browser", "performance"):
            self.log(kind)
        self.open(f"http://127.0.0.1:{weir.admin.port}/{fragment}")
        if token is None and not weir.admin.token:
            self.await_text("state", lambda t: t == "serving")
        return self

    def text(self, element):
        return self.run(TEXT, element)

    def await_text(self, element, wanted, seconds=15):
        """Until the element's text is so; the text. `wanted`: a text, or a function of it."""
        judge = wanted if callable(wanted) else lambda t: t == wanted
        return self.await_value(lambda: self.text(element), lambda t: t is not None and judge(t), seconds, element)

    def await_value(self, look, judge, seconds=15, what="it"):
        end = time.monotonic() + seconds * SCALE
        while True:
            value = look()
            if judge(value):
                return value
            assert time.monotonic() < end, f"{what} is {value!r}"
            time.sleep(0.05)

    def rows(self, table):
        """The texts of a table's cells."""
        return self.run(ROWS, table)

    def row(self, table, first):
        """The row whose head has this text, as {column's title: text}; None when there is none."""
        titles = self.run("done([...document.querySelectorAll('#' + arguments[0] + ' thead th')].map(th => th.textContent.replace(/ [▾▴]$/, '')));", table)
        for cells in self.rows(table):
            if first in cells[0].split("\n"):
                return dict(zip(titles, cells))
        return None

    def click(self, selector):
        wrong = self.run(CLICK, selector)
        assert wrong is None, wrong

    def fill(self, element, text):
        self.run(FILL, element, text)

    def confirm(self):
        """Says yes to the question that is open."""
        self.await_value(lambda: self.run("done(document.getElementById('dialog').open);"), bool, what="a question")
        self.click("#dialog-yes")

    def said(self):
        """What the page says came of it, and whether it is a fault."""
        self.await_text("message-text", lambda t: t != "")
        return self.run("const m = document.getElementById('message'); done([m.querySelector('p').textContent, m.classList.contains('bad')]);")

    def forget_said(self):
        self.run("say(''); done(null);")

    def press(self, key, shift=False):
        code, number, text = KEYS[key]
        same = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.command("Input.dispatchKeyEvent", type="keyDown", **same, **({"text": text} if text else {}))
        self.command("Input.dispatchKeyEvent", type="keyUp", **same)

    def write(self, text):
        self.command("Input.insertText", text=text)

    def focused(self):
        """The focused element: its id, else its tag and text."""
        return self.run("const e = document.activeElement; done(e.id || e.tagName.toLowerCase() + ' ' + (e.getAttribute('aria-label') || e.textContent));")

    def viewport(self, width, height, phone=False):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name):
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, file, whole=False):
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(file, "wb") as f:
            f.write(base64.b64decode(taken["data"]))

    def requests(self):
        """The addresses that were asked for since the page was opened."""
        events = [json.loads(e["message"])["message"] for e in self.log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def faults(self):
        """What the console has to complain of; a 401 or 422 of the API is told there too, and is none."""
        return [e["message"] for e in self.log("browser") if e["level"] in ("SEVERE", "WARNING") and "Failed to load resource" not in e["message"]]
