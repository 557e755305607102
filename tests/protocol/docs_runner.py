"""docs_runner.py PAGE BINARY FOLDER [--fill]: does what a page of docs/ shows, and compares what comes with what the page says.

Runs in namespaces of its own (`unshare -n -m -p -f --kill-child --mount-proc`), so ports and addresses are those of the page: each server of an
upstream is played at its address, names of examples are in /etc/hosts, and what is written under /etc, /run and /var/log is gone at the end.
Prints what differs, as PAGE:LINE, and exits 1 then. With --fill, a command that is followed by a line `?` gets what it printed written below it.
"""

import ipaddress
import os
import re
import signal
import subprocess
import sys
import threading
import time

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import docs_pages  # noqa: E402
from docs_servers import Server  # noqa: E402
from harness.certs import Authority  # noqa: E402
from harness.deadline import SCALE  # noqa: E402

NAMES = ["example.com", "www.example.com", "api.example.com", "admin.example.com", "app.example.com", "old.example.com", "grafana.example.com"]
NETWORKS = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]  # whose addresses the machine gets as they are named
MARK = "\x01"
PREPARED = """curl() { command curl -sS --max-time 20 "$@"; }
sudo() { "$@"; }
systemctl() { "$WEIR_SERVICE" "$@"; }
"""


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


def overlay(place):
    """What is written there is seen by this process and its children alone."""
    top = f"/mnt/{place.strip('/').replace('/', '-')}"
    for name in ("up", "work"):
        os.makedirs(f"{top}/{name}")
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={place},upperdir={top}/up,workdir={top}/work", place)


def prepare_machine():
    run("ip", "link", "set", "lo", "up")
    run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("mount", "-t", "tmpfs", "tmpfs", "/srv")
    overlay("/etc")
    overlay("/var/log")
    for folder in ("/etc/weir", "/var/log/weir"):
        os.makedirs(folder, exist_ok=True)
    with open("/etc/hosts", "w") as f:
        f.write("127.0.0.1 localhost " + " ".join(NAMES) + "\n::1 localhost\n")


def without_chance(text):
    """What is another every time becomes `…`."""
    for pattern, shown in [(r"^(Date|Last-Modified|ETag|X-Request-Id|x-request-id): .*$", r"\1: …"), (r"\b[0-9a-f]{32}\b", "…"),
                           (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "…"), (r"\d+\.\d{3} ms", "… ms"), (r"\d+\.\d ms", "… ms"), (r"dur=[\d.]+", "dur=…"),
                           (r'("\w*_ms"): ?[\d.]+', r"\1:…"), (r"process \d+, up \S+", "process …, up …"), (r"^(weir_\w*(?:bytes|fds)\S*) \d+", r"\1 …")]:
        text = re.sub(pattern, shown, text, flags=re.M)
    return text


class Page:
    def __init__(self, name, text, binary, folder):
        self.name, self.text, self.binary, self.folder = name, text, binary, folder
        self.config = None       # the whole file that stands last on the page
        self.started = None      # the one that weir runs with
        self.weir = None
        self.by_hand = False
        self.servers = {}
        self.authority = Authority(os.path.join(folder, "authority"))
        self.failures = []
        self.fill = None         # line of a command -> what it printed
        self.shell = None

    # -- the shell ---------------------------------------------------------------------------------------------------------

    def open_shell(self):
        tools = os.path.join(self.folder, "bin")
        os.makedirs(tools)
        os.symlink(self.binary, os.path.join(tools, "weir"))
        service = os.path.join(os.path.dirname(os.path.abspath(__file__)), "docs_service.sh")
        environment = {**os.environ, "PATH": tools + ":" + os.environ["PATH"], "WEIR_SERVICE": service, "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self.work = os.path.join(self.folder, "work")
        os.makedirs(self.work, exist_ok=True)
        self.environment = environment
        self.shell = subprocess.Popen(["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.work,
                                      stderr=subprocess.STDOUT, text=True, env=environment, errors="replace", start_new_session=True)
        self.do(PREPARED)

    def do(self, command, seconds=30):
        """What the command prints on both outputs."""
        self.shell.stdin.write(f"{command}\nprintf '\\n{MARK}\\n'\n")
        self.shell.stdin.flush()
        timer = threading.Timer(seconds * SCALE, lambda: os.killpg(self.shell.pid, signal.SIGKILL))
        timer.start()
        lines = []
        for line in self.shell.stdout:
            if line == MARK + "\n":
                break
            lines.append(line)
        timer.cancel()
        return "".join(lines)

    # -- files and servers -------------------------------------------------------------------------------------------------

    def path(self, name):
        return name if name.startswith("/") else os.path.join(self.work, name)

    def write_file(self, block):
        from test_docs import make_files
        path = self.path(block.file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(block.text)
        if block.is_whole:
            config = yaml.safe_load(block.text)
            self.listeners = config.get("listeners") or {}
            make_files(os.path.dirname(path), config, self.authority)
            self.play_servers(config)
            self.config = path

    def play_servers(self, config):
        listeners = config.get("listeners") or {}
        raw = {listener.get("upstream"): listener["protocol"] for listener in listeners.values() if listener.get("protocol") in ("tcp", "udp")}
        for listener in listeners.values():
            raw.update(dict.fromkeys((listener.get("sni") or {}).values(), "tcp"))
        for name, upstream in (config.get("upstreams") or {}).items():
            servers = upstream["servers"] if isinstance(upstream, dict) else upstream
            for entry in servers if isinstance(servers, list) else [servers]:
                address = entry.get("address", "") if isinstance(entry, dict) else entry
                self.play_server(address, raw.get(name, "http"))

    def play_server(self, address, kind):
        host, _, port = address.rpartition(":")
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return
        if any(ip in ipaddress.ip_network(n) for n in NETWORKS):
            run("ip", "address", "add", f"{ip}/32", "dev", "lo", check=False)
        if not self.by_hand and address not in self.servers and not self.is_bound(host, port):
            self.servers[address] = Server(host, int(port), kind)

    def is_bound(self, host, port):
        """By weir itself, as a page may forward to a listener of its own."""
        binds = [b for each in self.listeners.values() for b in (each["bind"] if isinstance(each["bind"], list) else [each["bind"]])]
        return any(str(b) in (f":{port}", f"0.0.0.0:{port}", f"{host}:{port}") for b in binds)

    # -- weir --------------------------------------------------------------------------------------------------------------

    def start_weir(self):
        self.stop_weir()
        self.weir = subprocess.Popen([self.binary, "run", "-c", os.path.basename(self.config)], cwd=os.path.dirname(self.config),
                                     env=self.environment, stdin=subprocess.DEVNULL, stdout=open(os.path.join(self.work, "access.log"), "ab"),
                                     stderr=open(os.path.join(self.work, "weir.log"), "ab"))
        self.started = self.config
        until = time.monotonic() + 20 * SCALE
        while time.monotonic() < until and self.weir.poll() is None:
            if run(self.binary, "status", "-c", self.config, check=False).returncode == 0:
                return
            time.sleep(0.02)
        with open(os.path.join(self.work, "weir.log")) as f:
            raise SystemExit(f"{self.name}: weir does not start with the file of the page\n{f.read()}")

    def stop_weir(self):
        if self.weir and self.weir.poll() is None:
            self.weir.send_signal(signal.SIGINT)
            self.weir.send_signal(signal.SIGINT)
            try:
                self.weir.wait(10 * SCALE)
            except subprocess.TimeoutExpired:
                self.weir.kill()
                self.weir.wait()

    # -- the page ----------------------------------------------------------------------------------------------------------

    def note(self, text):
        words = text.split()
        if text == "by hand":
            self.by_hand = True
        elif words[0] == "stop":
            self.servers.pop(words[1]).close()
        elif words[0] == "start":
            host, _, port = words[1].rpartition(":")
            self.servers[words[1]] = Server(host, int(port), "http")

    def try_command(self, command):
        """Until it prints what is expected, as a check may take its time to notice, and a log to be written."""
        until = time.monotonic() + 10 * SCALE
        once = "&" in command.text or "kill" in command.text
        if self.fill is not None and command.expected == ["?"]:
            time.sleep(2)
            self.fill[command.line + command.text.count("\n")] = without_chance(self.do(command.text).strip("\n"))
            return
        first = None
        while True:
            output = self.do(command.text)
            first = output if first is None else first
            if docs_pages.matches(command.expected, output):
                return
            if once or time.monotonic() > until or self.shell.poll() is not None:
                break
            time.sleep(0.1)
        self.failures.append(f"{self.name}:{command.line}: $ {command.text}\n--- the page says\n" + "\n".join(command.expected) +
                             "\n--- it prints\n" + output.rstrip() + ("\n--- at first it printed\n" + first.rstrip() if first != output else ""))

    def go(self):
        self.open_shell()
        changed, has_new = False, False
        for block in docs_pages.blocks(self.text):
            if block.kind == "note":
                changed = block.text == "changed" or changed
                self.note(block.text)
            elif block.file:
                if changed and has_new and not self.by_hand:
                    self.start_weir()
                    has_new = False
                if block.is_whole and not changed:
                    self.stop_weir()
                self.write_file(block)
                has_new = has_new or block.is_whole and not changed
                changed = False
            elif block.kind == "console":
                if has_new and not self.by_hand:
                    self.start_weir()
                has_new = False
                for command in docs_pages.commands(block):
                    self.try_command(command)
        self.end()

    def end(self):
        self.stop_weir()
        self.do("systemctl stop weir; kill $(jobs -p) 2>/dev/null")
        os.killpg(self.shell.pid, signal.SIGKILL)
        for server in self.servers.values():
            server.close()


def main():
    name, binary, folder = sys.argv[1:4]
    with open(name if os.path.isabs(name) else os.path.join(docs_pages.ROOT, name), encoding="utf-8") as f:
        text = f.read()
    prepare_machine()
    page = Page(name, text, binary, folder)
    page.fill = {} if "--fill" in sys.argv else None
    page.go()
    if page.fill:
        lines = text.split("\n")
        for at in sorted(page.fill, reverse=True):
            lines[at:at + 1] = page.fill[at].split("\n") if page.fill[at] else []
        with open(os.path.join(docs_pages.ROOT, name), "w", encoding="utf-8") as f:
            f.write("\n".join(lines))
    print("\n\n".join(page.failures))
    os._exit(1 if page.failures else 0)


if __name__ == "__main__":
    main()
