"""A real browser: headless Chromium, driven by chromedriver's WebDriver protocol (W3C)."""

import http.client
import json
import shutil
import subprocess
import urllib.parse

from .deadline import SCALE, wait_until
from .ports import free_port

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
IS_THERE = bool(DRIVER and CHROMIUM)
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-extensions", "--disable-sync", "--no-proxy-server"]


class BrowserError(Exception):
    pass


class Browser:
    """One window, without a memory of earlier ones. Certificates are taken as they come."""

    def __init__(self, folder, logs=()):
        """`logs`: "browser" (the console), "performance" (the network); what log() reads."""
        self.port, self.session = free_port(), None
        self.process = subprocess.Popen([DRIVER, f"--port={self.port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until(self._is_ready, 20, "chromedriver")
            options = {"binary": CHROMIUM, "args": ARGUMENTS + [f"--user-data-dir={folder}"]}
            wanted = {"browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": options,
                      "goog:loggingPrefs": {kind: "ALL" for kind in logs}}
            self.session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            self._command("timeouts", {"script": int(60000 * SCALE), "pageLoad": int(60000 * SCALE)})
        except BaseException:
            self.close()
            raise

    def open(self, url):
        self._command("url", {"url": url})

    def run(self, script, *arguments):
        """Runs JavaScript in the page; what it gives to done()."""
        return self._command("execute/async", {"script": "const done = arguments[arguments.length - 1];" + script, "args": list(arguments)})

    def command(self, name, **arguments):
        """A command of the DevTools protocol."""
        return self._command("goog/cdp/execute", {"cmd": name, "params": arguments})

    def log(self, kind):
        """What was logged since it was asked last."""
        return self._command("se/log", {"type": kind})

    def close(self):
        try:
            if self.session:
                self._call("DELETE", f"/session/{self.session}")
        except (OSError, BrowserError):
            pass
        self.process.terminate()
        self.process.wait(20 * SCALE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _command(self, name, body):
        return self._call("POST", f"/session/{self.session}/{urllib.parse.quote(name)}", body)

    def _is_ready(self):
        try:
            return self._call("GET", "/status")["ready"]
        except (OSError, http.client.HTTPException):
            return False

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90 * SCALE)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise BrowserError(answer["message"])
        return answer
