"""weir as a service: the user that it becomes, the sandbox, readiness and watchdog, sockets from systemd."""

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


# -- sandbox: -------------------------------------------------------------------------------------------------------------------------

def sandboxed(weirs, folder, **more):
    os.makedirs(f"{folder}/inside", exist_ok=True)
    os.makedirs(f"{folder}/outside", exist_ok=True)
    os.makedirs(f"{folder}/home", exist_ok=True)
    return weirs(f"{folder}/home", {**OK, "sandbox": True, **more})


def test_every_thread_is_in_the_sandbox(tmp_path, weirs):
    weir = sandboxed(weirs, tmp_path)
    weir.await_log("in the sandbox")
    for task in os.listdir(f"/proc/{weir.pid}/task"):
        with open(f"/proc/{weir.pid}/task/{task}/status") as f:
            said = f.read()
        assert re.search(r"Seccomp:\s+2", said) and re.search(r"NoNewPrivs:\s+1", said)


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
