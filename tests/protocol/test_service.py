"""weir as a service: the user that it becomes, the sandbox, readiness and watchdog, sockets from systemd."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from harness.deadline import SCALE, wait_until
from harness.ports import free_port
from harness.weir import BINARY, Weir

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
OK = {"listeners": {"web": {}}, "routes": [{"respond": {"body": "ok\n"}}]}
NOBODY = 65534


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def has_landlock(weir):
    return "no Landlock" not in weir.log()


@pytest.fixture
def open_folder():
    """A folder that every user may enter and write to, as pytest's own are not."""
    folder = tempfile.mkdtemp(prefix="weir-service-")
    os.chmod(folder, 0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def weirs():
    """Makes running weirs, and ends them."""
    all_of_them = []

    def make(folder, config, **options):
        weir = Weir(folder, config, **options)
        all_of_them.append(weir)
        return weir
    yield make
    for weir in all_of_them:
        weir.stop()


# -- user: ----------------------------------------------------------------------------------------------------------------------------

@needs_root
def test_every_thread_is_the_user_with_one_capability_and_can_gain_none(open_folder, weirs):
    weir = weirs(open_folder, {**OK, "user": "nobody"})
    assert weir.get().text == "ok\n"
    tasks = os.listdir(f"/proc/{weir.pid}/task")
    assert len(tasks) >= 4  # control, writer, two workers
    for task in tasks:
        with open(f"/proc/{weir.pid}/task/{task}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(NOBODY)}
        assert status["Groups"].split() == [str(NOBODY)]
        for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[which], 16) == 1 << 10, (which, status[which])
        assert status["NoNewPrivs"] == "1"


@needs_root
def test_a_key_that_only_root_may_read_fails_the_reload_and_says_why(open_folder, weirs, authority):
    cert, key = authority.leaf("a.example")
    shutil.copy(cert, f"{open_folder}/a.pem")
    shutil.copy(key, f"{open_folder}/a.key")
    os.chmod(f"{open_folder}/a.key", 0o600)
    tls = {"certificates": [{"cert": f"{open_folder}/a.pem", "key": f"{open_folder}/a.key"}]}
    weir = weirs(open_folder, {**OK, "user": "nobody", "listeners": {"web": {}, "tls": {"tls": tls}}})
    assert weir.get().text == "ok\n"
    answer = weir.admin.reload()
    assert answer.status == 422
    assert "must be readable to nobody, the user that weir became" in answer.text and "a.key" in answer.text
    os.chmod(f"{open_folder}/a.key", 0o644)
    assert weir.admin.reload().status == 200 and weir.get().text == "ok\n"


@needs_root
def test_log_files_that_root_opened_can_be_opened_anew_by_the_user(open_folder, weirs):
    log = f"{open_folder}/access.log"
    weir = weirs(open_folder, {**OK, "user": "nobody", "log": {"access": {"output": log}}})
    assert os.stat(log).st_uid == NOBODY
    os.rename(log, log + ".1")
    weir.signal(signal.SIGUSR1)
    wait_until(lambda: weir.get("/anew").status == 200 and os.path.exists(log) and "/anew" in open(log).read(), 10, "the new file")


@needs_root
def test_a_log_file_that_cannot_be_opened_anew_is_told_and_the_old_one_goes_on(open_folder, weirs):
    os.mkdir(f"{open_folder}/logs")  # root's
    log = f"{open_folder}/logs/access.log"
    weir = weirs(open_folder, {**OK, "user": "nobody", "log": {"access": {"output": log}}})
    os.rename(log, log + ".1")
    weir.signal(signal.SIGUSR1)
    weir.await_log("a log file cannot be opened anew", "Permission denied", log)
    weir.get("/still")
    wait_until(lambda: "/still" in open(log + ".1").read(), 10, "the line in the old file")


@needs_root
def test_an_address_that_overlaps_one_that_root_bound_can_be_bound_by_a_reload(open_folder, weirs):
    """The system lets sockets of one user share an address, no others."""
    weir = weirs(open_folder, {**OK, "user": "nobody", "listeners": {"web": {}, "more": {}}})
    port = weir.port("more")
    weir.reload(listeners={"web": {}, "more": {"bind": f"0.0.0.0:{port}"}})
    assert weir.get(listener="more").text == "ok\n"


@needs_root
def test_an_upgrade_to_more_workers_opens_their_sockets_beside_those_that_root_bound(open_folder, weirs):
    weir = weirs(open_folder, {**OK, "user": "nobody", "workers": 1})
    weir.change(workers=3)
    weir.upgrade()
    assert all(weir.get().text == "ok\n" for _ in range(12))


@needs_root
def test_root_does_not_follow_another_users_link_to_a_log(open_folder, weirs):
    """Who may write to the folder of logs shall not choose which files root appends to and gives away."""
    log, target = f"{open_folder}/access.log", f"{open_folder}/target"
    with open(target, "w") as f:
        f.write("root's\n")
    os.symlink(target, log)
    os.lchown(log, NOBODY, NOBODY)
    weir = weirs(open_folder, {**OK, "user": "nobody", "log": {"access": {"output": log}}}, start=False)
    done = weir.cli("run", seconds=20)
    assert done.returncode == 1 and "root follows no link of another user's" in done.stderr
    assert os.stat(target).st_uid == 0
    os.lchown(log, 0, 0)  # a link of root's is meant
    weir.start()
    assert weir.get("/followed").status == 200
    wait_until(lambda: "/followed" in open(target).read(), 10, "the line behind the link")


@needs_root
def test_a_file_that_has_another_name_is_not_given_away_as_a_log(open_folder, weirs):
    log, target = f"{open_folder}/access.log", f"{open_folder}/target"
    open(target, "w").close()
    os.link(target, log)
    weir = weirs(open_folder, {**OK, "user": "nobody", "log": {"access": {"output": log}}})
    assert weir.get().text == "ok\n" and os.stat(target).st_uid == 0


# -- sandbox: -------------------------------------------------------------------------------------------------------------------------

def sandboxed(weirs, folder, **more):
    os.makedirs(f"{folder}/inside", exist_ok=True)
    os.makedirs(f"{folder}/outside", exist_ok=True)
    os.makedirs(f"{folder}/home", exist_ok=True)
    return weirs(f"{folder}/home", {**OK, "sandbox": True, **more})


def test_every_thread_is_in_the_sandbox(tmp_path, weirs):
    weir = sandboxed(weirs, tmp_path)
    weir.await_log("in the sandbox")
    names = set()
    for task in os.listdir(f"/proc/{weir.pid}/task"):
        with open(f"/proc/{weir.pid}/task/{task}/status") as f:
            said = f.read()
        assert re.search(r"Seccomp:\s+2", said) and re.search(r"NoNewPrivs:\s+1", said)
        names.add(re.search(r"Name:\s+(\S+)", said)[1])
    assert {"weir-log", "weir-0", "weir-1"} < names


def test_a_reload_inside_the_sandbox_works(tmp_path, weirs, authority):
    cert, key = authority.leaf("a.example")
    for name in ("first", "second"):
        shutil.copy(cert, tmp_path / f"{name}.pem")
        shutil.copy(key, tmp_path / f"{name}.key")
    os.makedirs(tmp_path / "inside")

    def tls(name):
        return {"certificates": [{"cert": str(tmp_path / f"{name}.pem"), "key": str(tmp_path / f"{name}.key")}]}
    weir = sandboxed(weirs, tmp_path, listeners={"web": {}, "tls": {"tls": tls("first")}},
                     routes=[{"files": {"root": str(tmp_path / "inside")}}])
    (tmp_path / "inside" / "page").write_text("page\n")
    assert weir.get("/page").text == "page\n"
    weir.reload(listeners={"web": {}, "tls": {"tls": tls("second")}})
    assert weir.get("/page").text == "page\n"


@pytest.mark.parametrize("parts", ["root", "cert", "log", "include", "socket"])
def test_a_reload_that_names_a_folder_outside_is_refused_and_the_old_configuration_goes_on(tmp_path, weirs, authority, parts):
    cert, key = authority.leaf("a.example")
    outside = tmp_path / "outside"
    weir = sandboxed(weirs, tmp_path)
    if not has_landlock(weir):
        pytest.skip("this kernel has no Landlock")
    shutil.copy(cert, outside / "a.pem")
    shutil.copy(key, outside / "a.key")
    (outside / "more.yaml").write_text("routes:\n  - { path: /more, respond: { body: more } }\n")
    change = {
        "root": {"routes": [{"files": {"root": str(outside)}}]},
        "cert": {"listeners": {"web": {"tls": {"certificates": [{"cert": str(outside / "a.pem"), "key": str(outside / "a.key")}]}}}},
        "log": {"log": {"access": {"output": str(outside / "access.log")}}},
        "include": {"include": str(outside / "*.yaml")},
        "socket": {"listeners": {"web": {}, "unix": {"bind": f"unix:{outside}/sock"}}},
    }[parts]
    weir.change(**change)
    answer = weir.admin.reload()
    assert answer.status == 422 and "lies outside of the sandbox" in answer.text and "restart" in answer.text
    assert str(outside) in answer.text and "weir.yaml:" in answer.text
    assert weir.get().text == "ok\n"
    assert not (outside / "access.log").exists() and not (outside / "sock").exists()


def test_the_kernel_refuses_what_a_symbolic_link_leads_to_outside(tmp_path, weirs):
    """What the check of a reload does not see: the link is turned while weir serves."""
    page = tmp_path / "inside" / "502.html"
    os.makedirs(tmp_path / "inside", exist_ok=True)
    os.makedirs(tmp_path / "outside", exist_ok=True)
    page.write_text("broken\n")
    secret = tmp_path / "outside" / "secret"
    secret.write_text("secret\n")
    weir = sandboxed(weirs, tmp_path, routes=[{"respond": {"body": "ok\n"}, "errors": {"502": str(page)}}])
    if not has_landlock(weir):
        pytest.skip("this kernel has no Landlock")
    page.unlink()
    page.symlink_to(secret)
    answer = weir.admin.reload()
    assert answer.status == 422 and "Permission denied" in answer.text and "lies outside of the sandbox" in answer.text


def test_folders_can_be_opened_for_later_reloads(tmp_path, weirs):
    weir = sandboxed(weirs, tmp_path, sandbox={"read": [str(tmp_path / "outside")], "write": [str(tmp_path / "inside")]})
    (tmp_path / "outside" / "page").write_text("page\n")
    weir.reload(routes=[{"files": {"root": str(tmp_path / "outside")}}], log={"access": {"output": str(tmp_path / "inside" / "access.log")}},
                listeners={"web": {}, "unix": {"bind": f"unix:{tmp_path}/inside/sock"}})
    assert weir.get("/page").text == "page\n"
    wait_until(lambda: "/page" in (tmp_path / "inside" / "access.log").read_text(), 10, "the access log")


def test_a_folder_for_later_that_is_not_there_does_not_open_the_one_above(tmp_path, weirs):
    above = tmp_path / "above"
    os.makedirs(above)
    lists = {"read": [str(above / "later")], "write": [str(above / "later")]}
    weir = sandboxed(weirs, tmp_path, sandbox=lists)
    weir.await_log("not there, so not in the sandbox", "later")
    weir.reload(routes=[{"respond": {"body": "again\n"}}])  # no reason to refuse a reload
    os.makedirs(above / "later")
    weir.reload(routes=OK["routes"])
    if not has_landlock(weir):
        pytest.skip("this kernel has no Landlock")
    for change in ({"routes": [{"files": {"root": str(above)}}]}, {"log": {"access": {"output": str(above / "access.log")}}}):
        weir.change(**change)
        answer = weir.admin.reload()
        assert answer.status == 422 and "lies outside of the sandbox" in answer.text
        weir.change(routes=OK["routes"], log={})


def test_a_reload_in_the_sandbox_may_name_a_link_local_address_by_its_interface(tmp_path, weirs):
    weir = sandboxed(weirs, tmp_path)
    weir.reload(upstreams={"local": {"servers": ["[fe80::1%lo]:80"]}}, routes=[*OK["routes"], {"path": "/local", "upstream": "local"}])
    assert weir.get().text == "ok\n"


def test_log_files_are_opened_anew_in_the_sandbox(tmp_path, weirs):
    log = tmp_path / "inside" / "access.log"
    weir = sandboxed(weirs, tmp_path, log={"access": {"output": str(log)}})
    log.rename(str(log) + ".1")
    weir.signal(signal.SIGUSR1)
    wait_until(lambda: weir.get("/anew").status == 200 and log.exists() and "/anew" in log.read_text(), 10, "the new file")


def test_an_upgrade_stays_in_the_same_sandbox(tmp_path, weirs):
    weir = sandboxed(weirs, tmp_path)
    for _ in range(2):
        weir.upgrade()
        assert weir.get().text == "ok\n"
        status = status_of(weir.pid)
        assert status["Seccomp"] == "2" and status["Seccomp_filters"] == "1"
        weir.change(routes=[{"files": {"root": str(tmp_path / "outside")}}])
        assert not has_landlock(weir) or "lies outside of the sandbox" in weir.admin.reload().text
        weir.change(routes=OK["routes"])


def test_a_wrong_word_for_the_sandbox_is_a_fault(tmp_path):
    weir = Weir(tmp_path, {**OK, "sandbox": "yes"}, start=False)
    done = weir.cli("check")
    assert done.returncode == 1 and "sandbox" in done.stderr


# -- the service manager --------------------------------------------------------------------------------------------------------------

class Manager:
    """Receives what a service says (sd_notify(3))."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(self.path)
        self.said = []  # of (pid, {variable: value})

    def listen(self):
        self.socket.setblocking(False)
        while True:
            try:
                text, control, _, _ = self.socket.recvmsg(4096, 4096)
            except BlockingIOError:
                return self.said
            pid = int.from_bytes(control[0][2][:4], "little")
            self.said.append((pid, dict(line.split("=", 1) for line in text.decode().splitlines())))

    def await_said(self, **wanted):
        def said():
            found = [(pid, v) for pid, v in self.listen() if wanted.items() <= v.items()]
            assert found, f"not among {self.said}"
            return found[-1]
        return wait_until(said, 10, f"{wanted} said")

    def forget(self):
        self.listen()
        self.said = []


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.socket.close()


@pytest.mark.parametrize("sandbox", [False, True])
def test_the_manager_hears_of_start_reload_and_stop(tmp_path, weirs, manager, sandbox):
    weir = weirs(tmp_path / "home", {**OK, "sandbox": sandbox}, environment={"NOTIFY_SOCKET": manager.path})
    pid, said = manager.await_said(READY="1")
    assert pid == weir.pid and "serving" in said["STATUS"] and "generation 1" in said["STATUS"]
    manager.forget()
    weir.reload()
    reloading = manager.await_said(RELOADING="1")[1]
    assert 0 < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert "generation 2" in manager.await_said(READY="1")[1]["STATUS"]
    manager.forget()
    weir.write("nonsense: {")
    assert weir.admin.reload().status == 422
    assert "generation 2" in manager.await_said(READY="1")[1]["STATUS"]  # a reload that failed is over too
    weir.signal(signal.SIGTERM)
    manager.await_said(STOPPING="1")


def test_a_socket_with_an_abstract_name_is_told_too(tmp_path, weirs):
    manager = Manager(f"\0weir-test-{os.getpid()}-{free_port()}")
    weirs(tmp_path, OK, environment={"NOTIFY_SOCKET": "@" + manager.path[1:]})
    manager.await_said(READY="1")
    manager.socket.close()


def test_an_upgrade_names_the_next_main_process_which_goes_on_with_the_watchdog(tmp_path, weirs, manager):
    weir = weirs(tmp_path / "home", OK, environment={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"})
    old = weir.pid
    assert manager.await_said(WATCHDOG="1")[0] == old
    new = weir.upgrade()
    assert manager.await_said(MAINPID=str(new))[0] == old
    manager.forget()
    assert manager.await_said(WATCHDOG="1")[0] == new
    assert not any("STOPPING" in v for _, v in manager.said)


def test_a_watchdog_for_another_process_is_not_answered(tmp_path, weirs, manager):
    weir = weirs(tmp_path / "home", OK, environment={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"})
    manager.await_said(READY="1")
    weir.reload()
    weir.reload()
    manager.await_said(READY="1")
    assert not any("WATCHDOG" in v for _, v in manager.said)


def _ptrace(request, task, data=0):
    return ctypes.CDLL(None, use_errno=True).ptrace(request, task, None, data)


SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17


def test_the_watchdog_is_answered_only_while_every_worker_goes_round(tmp_path, weirs, manager):
    weir = weirs(tmp_path / "home", OK, environment={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1500000"})
    manager.await_said(WATCHDOG="1")
    task = next(int(t) for t in os.listdir(f"/proc/{weir.pid}/task")
                if open(f"/proc/{weir.pid}/task/{t}/comm").read() == "weir-1\n")
    if _ptrace(SEIZE, task) != 0:
        pytest.skip("threads cannot be stopped here")
    try:
        assert _ptrace(INTERRUPT, task) == 0
        os.waitpid(task, 0x40000000)  # __WALL
        weir.await_log("a worker does not answer", "worker=1")
        manager.forget()
        said = weir.log().count("a worker does not answer")
        wait_until(lambda: weir.log().count("a worker does not answer") >= said + 2, 20, "two more looks")
        assert not any("WATCHDOG" in v for _, v in manager.listen())
    finally:
        _ptrace(DETACH, task)
    manager.await_said(WATCHDOG="1")


# -- sockets from the service manager -------------------------------------------------------------------------------------------------

_ACTIVATE = """
import os, sys
fds, names = sys.argv[1].split(","), sys.argv[2]
for i, fd in enumerate(map(int, fds)):
    os.dup2(fd, 100 + i)
    os.close(fd)
for i in range(len(fds)):
    os.dup2(100 + i, 3 + i)
    os.close(100 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(names.count(":") + 1), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Activated(Weir):
    """Started as systemd does: with sockets that are open already, from descriptor 3 on."""

    def __init__(self, folder, config, sockets, names, **options):
        self.sockets, self.names = sockets, names
        super().__init__(folder, config, **options)

    def start(self, seconds=10):
        fds = [s.fileno() for s in self.sockets]
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(["/usr/bin/python3", "-c", _ACTIVATE, ",".join(map(str, fds)), ":".join(self.names), BINARY, "run",
                                             "-c", self.config_file], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                                            cwd=self.folder, pass_fds=fds)
        try:
            wait_until(self._serves, seconds, "weir serving")
        except BaseException:
            self.kill()
            raise
        return self

    def expected_ports(self):
        return {int(self.config["admin"]["bind"].rsplit(":", 1)[1])}


def listening(port=0, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    return s


@pytest.fixture
def activated():
    all_of_them = []

    def make(folder, config, sockets, names, **options):
        weir = Activated(folder, config, sockets, names, **options)
        all_of_them.append((weir, sockets))
        return weir
    yield make
    for weir, sockets in all_of_them:
        weir.stop()
        for s in sockets:
            s.close()


def ask(port, times=1):
    answers = []
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=10 * SCALE) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            text = b""
            while more := s.recv(4096):
                text += more
            answers.append(text.split(b"\r\n\r\n", 1)[1])
    return answers


def inode_of(s):
    return os.readlink(f"/proc/self/fd/{s.fileno()}")


def sockets_of(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def test_a_socket_serves_the_listener_that_binds_its_address(tmp_path, activated):
    s = listening()
    port = s.getsockname()[1]
    weir = activated(tmp_path, {**OK, "listeners": {"web": {"bind": f"127.0.0.1:{port}"}}}, [s], ["anything"])
    assert inode_of(s) in sockets_of(weir.pid)
    assert ask(port, 20) == [b"ok\n"] * 20
    weir.reload(routes=[{"respond": {"body": "two\n"}}])
    wait_until(lambda: ask(port) == [b"two\n"], 10, "the new answer")
    weir.upgrade()
    assert inode_of(s) in sockets_of(weir.pid) and ask(port, 20) == [b"two\n"] * 20


def test_a_socket_serves_the_listener_of_its_name(tmp_path, activated):
    s, other = listening(), free_port()
    port = s.getsockname()[1]
    weir = activated(tmp_path, {**OK, "listeners": {"web": {"bind": f"127.0.0.1:{other}"}}}, [s], ["web"])
    assert ask(port) == [b"ok\n"]
    with pytest.raises(ConnectionRefusedError):
        ask(other)
    assert weir.admin.reload().status == 200 and ask(port) == [b"ok\n"]


def test_a_socket_that_no_listener_has_is_closed_and_told_of(tmp_path, activated):
    s, web = listening(), free_port()
    port = s.getsockname()[1]
    weir = activated(tmp_path, {**OK, "listeners": {"web": {"bind": f"127.0.0.1:{web}"}}}, [s], ["nobody"])
    weir.await_log("no listener has the address or the name of a socket", f"127.0.0.1:{port}", "nobody")
    assert inode_of(s) not in sockets_of(weir.pid) and ask(web) == [b"ok\n"]


def test_a_socket_for_datagrams_is_served(tmp_path, activated):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        s = listening(kind=socket.SOCK_DGRAM)
        weir = activated(tmp_path, {"listeners": {"dns": {"protocol": "udp", "bind": f"127.0.0.1:{s.getsockname()[1]}", "upstream": "dns"}},
                                    "upstreams": {"dns": {"servers": ["127.0.0.1:%d" % server.getsockname()[1]]}}}, [s], ["dns"])
        assert inode_of(s) in sockets_of(weir.pid)
        for end in (server, client):
            end.settimeout(10 * SCALE)
        for text in (b"one", b"two", b"three"):
            client.sendto(text, s.getsockname())
            got, peer = server.recvfrom(100)
            server.sendto(b"answer to " + got, peer)
            assert client.recvfrom(100) == (b"answer to " + text, s.getsockname())


def test_a_unix_socket_of_the_manager_stays_when_weir_ends(tmp_path, activated):
    path = str(tmp_path / "web.sock")
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(16)
    weir = activated(tmp_path / "home", {**OK, "listeners": {"web": {"bind": f"unix:{path}"}}}, [s], ["web"])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in client.recv(4096)
    weir.stop()
    assert os.path.exists(path)
    weir.start()


def test_descriptors_that_are_counted_but_not_there_take_none_of_weirs_own(tmp_path, activated, manager):
    s = listening()
    activated(tmp_path / "home", {**OK, "listeners": {"web": {"bind": f"127.0.0.1:{s.getsockname()[1]}"}}}, [s], ["web", "x", "x", "x", "x"],
              environment={"NOTIFY_SOCKET": manager.path})
    manager.await_said(READY="1")
    assert ask(s.getsockname()[1]) == [b"ok\n"]


def test_variables_for_another_process_are_not_followed(tmp_path, weirs):
    weir = weirs(tmp_path, OK, environment={"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})
    assert weir.get().text == "ok\n"
