"""The process itself: stops, reloads and upgrades that come at a bad moment, and what must not be lost by them."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from harness import RawClient, RawServer, SCALE, free_port, run_cli, wait_until
from harness.ports import listening_ports
from harness.raw_client import trusting
from harness.weir import BINARY, become_subreaper

OK = [{"respond": {"status": 200, "body": "ok"}}]
TCP = {"protocol": "tcp", "upstream": "db"}


def _is_refused(port, host="127.0.0.1"):
    try:
        RawClient((host, port)).close()
        return False
    except ConnectionRefusedError:
        return True


def _threads(*functions):
    threads = [threading.Thread(target=f, daemon=True) for f in functions]
    for t in threads:
        t.start()
    return threads


# -- the end ------------------------------------------------------------------------------------------------------------------------

def _queues(local, remote):
    """(bytes not yet acknowledged, bytes not yet read) of the socket with these two ports."""
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            columns = line.split()
            if [int(columns[i].rsplit(":", 1)[1], 16) for i in (1, 2)] == [local, remote]:
                return tuple(int(n, 16) for n in columns[4].split(":"))
    return None


def test_what_waits_for_a_slow_server_after_both_ends_is_sent_before_a_stop(site):
    """Client and server have both ended their side; weir still holds bytes that the server has not taken."""
    with RawServer(receive_buffer=65536) as server:
        weir = site(None, {"db": server.address}, {"db": TCP}, timeouts={"drain": "30s"})
        with weir.client("db") as client:
            up = server.accept()
            mine, theirs = client.sock.getsockname()[1], up.sock.getpeername()[1]
            piece, sent = 131072, 0

            def held():
                return sent - _queues(theirs, server.port)[0] - _queues(server.port, theirs)[1]
            while held() <= piece:  # more than the last piece: some of that before it waits in weir, or weir lets it wait unread
                client.sock.sendall(b"x" * piece)
                sent += piece
                wait_until(lambda: _queues(weir.port("db"), mine)[1] == 0 or held() > piece, 5, "weir having read it, or being full")
            client.half_close()
            up.half_close()
            client.read_to_end()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: weir.port("db") not in listening_ports())
        assert len(up.read_to_end(20)) == sent and up.ended == "closed"
        assert weir.wait() == 0


def test_a_second_signal_frees_everything_whatever_is_open(site, server, http_backend, raw_server):
    """Leaks are found by the sanitizer: streams, WebSockets, requests, idle connections, checks and look-ups."""
    silent = raw_server()
    check = {"type": "http", "path": "/", "interval": "100ms", "timeout": "5s"}
    weir = site([{"path": "/app", "upstream": "app"}, {"path": "/ws", "upstream": "ws"}, {"path": "/named", "upstream": "named"}],
                {"app": server.address, "ws": raw_server(_upgraded).address,
                 "db": {"servers": [http_backend().address]},
                 "checked": {"servers": [silent.address], "health_check": check},
                 "named": {"servers": [{"address": f"n{n}.example:80"} for n in range(3)]}},
                {"web": {}, "db": TCP}, timeouts={"drain": "60s"}, environment={"WEIR_DNS_SERVERS": _black_hole()})
    weir.any_status = True
    with weir.client() as busy, weir.client() as idle, weir.client() as socket_, weir.client("db") as stream:
        assert idle.get("/none").status == 404
        busy.send_request("POST", "/app", [("Content-Length", "100000")])
        busy.send(b"x" * 50_000)
        server.accept().read_request_head()
        stream.send(b"GET / HTTP/1.1\r\n")
        socket_.send_request("GET", "/ws", [("Connection", "upgrade"), ("Upgrade", "websocket")])
        assert socket_.read_head()[0] == 101
        silent.accept()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(weir.port()))
        weir.signal(signal.SIGTERM)
        weir.wait(5)


def _upgraded(connection):
    connection.read_request_head()
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    connection.read_to_end(30)


def _black_hole():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    _black_hole.kept.append(sock)
    return f"127.0.0.1:{sock.getsockname()[1]}"


_black_hole.kept = []


def test_a_request_that_was_sent_before_a_stop_is_answered(site):
    """It may wait in the listening socket's queue, or in the connection's, when the stop comes."""
    for _ in range(4):
        weir = site(OK, timeouts={"drain": "10s"})
        with weir.client() as old:
            assert old.get().status == 200
            weir.signal(signal.SIGSTOP)
            clients = [weir.client() for _ in range(16)] + [old]
            for client in clients:
                client.send_request()
            weir.signal(signal.SIGTERM)
            weir.signal(signal.SIGCONT)
            for client in clients:
                assert client.read_response().status == 200
                client.expect_end()
                client.close()
            assert weir.wait() == 0


def test_a_client_that_connected_before_a_stop_gets_its_first_answer(site):
    """It has no reason to expect a close, as one has that waited idle after an answer."""
    for _ in range(3):
        weir = site(OK, timeouts={"drain": "20s"})
        failures, stopped = [], threading.Event()

        def fresh():
            while not stopped.is_set():
                try:
                    client = weir.client(seconds=2)
                except (ConnectionRefusedError, TimeoutError):
                    return
                try:
                    time.sleep(0.01)
                    assert client.get().status == 200
                except Exception as error:
                    failures.append(repr(error))
                finally:
                    client.close()

        threads = _threads(*[fresh] * 6)
        time.sleep(0.2)
        weir.signal(signal.SIGTERM)
        assert weir.wait() == 0
        stopped.set()
        [t.join() for t in threads]
        assert not failures, failures


def test_clients_that_never_spoke_do_not_hold_up_a_stop(site):
    weir = site(OK, timeouts={"drain": "60s"})
    with weir.client() as silent:
        wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 1)
        weir.signal(signal.SIGTERM)
        silent.expect_end()
        assert weir.wait(5) == 0


# -- listeners that come and go ------------------------------------------------------------------------------------------------------

def test_clients_that_end_at_once_while_their_listener_is_removed_do_no_harm(site):
    """A listener without a server closes what it accepts; the rest of its queue is accepted while it is removed."""
    weir = site(OK, {"db": "name.example:80"}, {"web": {}, "db": TCP}, environment={"WEIR_DNS_SERVERS": _black_hole()})
    done = threading.Event()

    def storm(port):
        while not done.is_set():
            sockets = []
            for _ in range(40):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(("127.0.0.1", port))
                sockets.append(s)
            for s in sockets:
                s.close()

    threads = _threads(*[lambda: storm(weir.port("db"))] * 3)
    full, less = dict(weir.config["listeners"]), {"web": weir.config["listeners"]["web"]}
    for n in range(40):
        weir.change(listeners=less if n % 2 == 0 else full)
        weir.admin.reload()
        time.sleep(0.02)
    done.set()
    [t.join() for t in threads]
    assert weir.get().text == "ok"


def test_an_address_that_is_taken_away_and_given_back_at_once_is_never_in_use(site, tmp_path):
    """The workers may still hold the old sockets when the next reload wants the address again."""
    path = f"unix:{tmp_path}/again.sock"
    weir = site(OK, None, {"web": {}, "extra": {}, "file": {"bind": [path]}})
    full = dict(weir.config["listeners"])
    less = {"web": full["web"]}
    failed, done = [], threading.Event()

    def load():
        while not done.is_set():
            try:
                weir.get()
            except OSError:
                pass

    def flip():
        n = 0
        while not done.is_set():
            weir.change(listeners=less if n % 2 else full)
            n += 1

    def reload():
        for _ in range(60):
            answer = weir.admin.reload()
            if answer.status != 200:
                failed.append(answer.text)

    threads = _threads(load, load, flip)
    reloaders = _threads(reload, reload, reload)
    [t.join() for t in reloaders]
    done.set()
    [t.join() for t in threads]
    assert not failed, failed[0]
    weir.reload(listeners=full)
    wait_until(lambda: weir.get(listener="extra").text == "ok")


def test_a_listener_may_go_from_one_address_to_all_and_back(site):
    weir = site(OK)
    one, every = f"127.0.0.1:{weir.port()}", f":{weir.port()}"
    for bind in (every, one, f"0.0.0.0:{weir.port()}", one):
        weir.reload(listeners={"web": {"bind": [bind]}})
        wait_until(lambda: _is_refused(weir.port(), "127.0.0.2") == (bind == one))
        assert weir.get().text == "ok"


def test_an_address_that_another_process_has_refuses_the_file_even_if_ours_is_beside(site):
    weir = site(OK)
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", weir.port()))
        taken.listen()
        weir.change(listeners={"web": {"bind": [f"0.0.0.0:{weir.port()}"]}})
        assert weir.admin.reload().status == 422
        assert weir.get().text == "ok"


def test_overlapping_addresses_in_one_file_are_refused(site):
    weir = site(OK)
    weir.change(listeners={"web": {"bind": [f"127.0.0.1:{weir.port()}", f":{weir.port()}"]}})
    assert weir.admin.reload().status == 422
    assert weir.get().text == "ok"


def test_port_0_is_one_listener_s_alone(tmp_path):
    (tmp_path / "weir.yaml").write_text("listeners: {a: {bind: '127.0.0.1:0'}, b: {bind: '127.0.0.1:0'}}\nroutes: [{respond: {body: x}}]\n")
    done = run_cli("check", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 1 and "listener a" in done.stderr


def test_addresses_move_between_listeners_and_protocols_without_a_refused_connection(site, tcp_backend):
    weir = site(OK, {"db": tcp_backend(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").address}, {"web": {}, "more": {}})
    a, b = (weir.config["listeners"][n]["bind"] for n in ("web", "more"))
    failures, done, served = [], threading.Event(), [0]

    def fresh(listener):
        while not done.is_set():
            try:
                assert weir.get(listener=listener).body == b"ok"
                served[0] += 1
            except Exception as error:
                failures.append(repr(error))
                return

    threads = _threads(lambda: fresh("web"), lambda: fresh("more"))
    for n in range(24):
        web, more = ({"bind": a}, {"bind": b}) if n % 2 else ({"bind": b}, {"bind": a})
        if n % 3 == 0:
            web.update(TCP)
        weir.reload(listeners={"web": web, "more": more})
    count = served[0]
    wait_until(lambda: served[0] > count + 5 or failures)
    done.set()
    [t.join() for t in threads]
    assert not failures


# -- Unix sockets ----------------------------------------------------------------------------------------------------------------------

def _unix_get(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * SCALE)
        s.connect(str(path))
        s.sendall(b"GET / HTTP/1.1\r\nHost: t.example\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := s.recv(4096):
            data += piece
        return data


def test_a_unix_socket_s_file_lives_as_long_as_its_listener(site, tmp_path):
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    weir = site(OK, None, {"web": {}, "file": {"bind": [f"unix:{path}"]}})
    both = dict(weir.config["listeners"])
    assert _unix_get(path).endswith(b"ok")
    weir.upgrade()
    assert _unix_get(path).endswith(b"ok")
    weir.reload(listeners={"web": both["web"]})
    wait_until(lambda: not path.exists())
    weir.reload(listeners=both)
    assert _unix_get(path).endswith(b"ok")
    weir.stop()
    assert not path.exists()


def test_an_upgrade_that_fails_takes_no_socket_file_away(site, tmp_path):
    path = tmp_path / "web.sock"
    weir = site(OK, None, {"web": {}, "file": {"bind": [f"unix:{path}"]}})
    config = weir.config
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        weir.change(listeners={**config["listeners"], "zz": {"bind": [f"127.0.0.1:{taken.getsockname()[1]}"]}})
        weir.signal(signal.SIGUSR2)
        wait_until(lambda: "ended before it served" in weir.log(), 10)
    assert _unix_get(path).endswith(b"ok") and weir.get().text == "ok" and weir.cli("status").returncode == 0
    weir.write(config)
    weir.upgrade()
    assert _unix_get(path).endswith(b"ok")


# -- upgrade at a bad moment ---------------------------------------------------------------------------------------------------------------

def _begin_hanging_upgrade(weir):
    """The next process hangs while it reads its file. The way to let it read on."""
    config = weir.config
    fifo = weir.config_file + ".fifo"
    os.mkfifo(fifo)
    os.replace(fifo, weir.config_file)
    weir.signal(signal.SIGUSR2)
    writer = wait_until(lambda: os.open(weir.config_file, os.O_WRONLY | os.O_NONBLOCK), 10, "the next process reading")
    weir.write(config)
    return writer


def test_a_stop_while_an_upgrade_is_under_way_stops_both(site):
    weir = site(OK)
    writer = _begin_hanging_upgrade(weir)
    try:
        assert len(weir.processes()) == 2
        weir.signal(signal.SIGTERM)
        assert weir.wait() == 0
        wait_until(lambda: not weir.processes(), 5, "the end of both")
    finally:
        os.close(writer)


def test_a_reload_while_an_upgrade_is_under_way_is_refused(site):
    """The next process has read the file already, or not yet: nobody could say which one it serves."""
    weir = site(OK)
    writer = _begin_hanging_upgrade(weir)
    try:
        weir.change(routes=[{"respond": {"body": "new"}}])
        answer = weir.admin.reload()
        assert answer.status == 409 and "upgrade" in answer.text
        assert weir.get().text == "ok"
        done = weir.cli("upgrade")
        assert done.returncode != 0 and "under way" in done.stderr
    finally:
        os.close(writer)
    wait_until(lambda: "ended before it served" in weir.log() or "draining" in weir.log())


def test_the_next_process_is_reaped_when_it_fails(site):
    weir = site(OK)
    config = weir.config
    weir.write("listeners: [")
    for n in range(3):
        weir.signal(signal.SIGUSR2)
        wait_until(lambda: weir.log().count("ended before it served") == n + 1, 10)
    children = subprocess.run(["ps", "--ppid", str(weir.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    assert not children
    weir.write(config)


def test_the_next_process_gets_the_listening_sockets_and_nothing_else(site, tcp_backend):
    """Apart from standard streams and its own: no connection, log file or event queue of the one before."""
    weir = site(OK, {"db": tcp_backend().address}, {"web": {}, "db": TCP}, timeouts={"drain": "1s"},
                log={"access": {"output": "access.log"}})

    def inodes(pid):
        found = set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
        return {t for t in found if t.startswith("socket:")}

    with weir.client("db") as stream, weir.client() as client:
        stream.send(b"a")
        assert stream.read_exact(1) == b"a"
        assert client.get().status == 200
        before = inodes(weir.pid)
        weir.upgrade()
    inherited = {name[8:-1] for name in before & inodes(weir.pid)}
    states = {}
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as f:
            for line in f.readlines()[1:]:
                columns = line.split()
                states[columns[9]] = columns[3]
    with open("/proc/net/unix") as f:
        for line in f.readlines()[1:]:
            columns = line.split()
            states[columns[6]] = "0A" if int(columns[3], 16) & 0x10000 else "unix"
    assert inherited and {states.get(i) for i in inherited} == {"0A"}
    with open(f"/proc/{weir.pid}/environ", "rb") as f:
        names = {e.split(b"=")[0] for e in f.read().split(b"\0")}
    assert weir.get().text == "ok" and b"WEIR_LISTEN_FDS" in names


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_by_an_upgrade(site, workers):
    weir = site(OK, None, {"web": {}, "any": {"bind": ["127.0.0.1:0"]}}, workers=2, start=False)
    weir.expected_ports = lambda: {weir.port("web"), weir.port("admin")}
    weir.start()
    weir.change(workers=workers)
    weir.upgrade()
    for _ in range(30):
        assert weir.get().text == "ok"
    ports = {}
    for fd in os.listdir(f"/proc/{weir.pid}/fd"):
        try:
            name = os.readlink(f"/proc/{weir.pid}/fd/{fd}")
        except OSError:
            continue
        if name.startswith("socket:"):
            ports[name[8:-1]] = None
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            columns = line.split()
            if columns[9] in ports and columns[3] == "0A":
                ports[columns[9]] = int(columns[1].rsplit(":", 1)[1], 16)
    listening = [p for p in ports.values() if p]
    assert len(set(listening)) == 3  # web, admin, and the one that the system chose
    chosen = ({*listening} - {weir.port("web"), weir.port("admin")}).pop()
    assert listening.count(chosen) == max(2, workers)
    for _ in range(30):
        with RawClient(chosen) as client:
            assert client.get().text == "ok"


def test_an_upgrade_with_a_relative_path_reads_the_same_file(site):
    weir = site(OK, start=False)
    config_file, weir.config_file = weir.config_file, os.path.basename(weir.config_file)
    try:
        weir.start()
        weir.processes = lambda: _processes_in(weir.folder)
        weir.upgrade()
        assert weir.get().text == "ok"
        weir.stop()
    finally:
        weir.config_file = config_file


def _processes_in(folder):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/cwd") == os.path.realpath(folder) and b"weir.yaml" in open(f"/proc/{name}/cmdline", "rb").read():
                    with open(f"/proc/{name}/stat") as f:
                        if f.read().rsplit(")", 1)[1].split()[0] != "Z":
                            found.append(int(name))
            except OSError:
                pass
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_low_ports_stay_bindable_after_the_user_changed_and_after_an_upgrade(site):
    folder = tempfile.mkdtemp(prefix="weir-user-")
    os.chmod(folder, 0o777)
    try:
        binary = os.path.join(folder, "weir")
        shutil.copy(BINARY, binary)
        low = next(p for p in range(700, 1000) if _is_refused(p))
        text = ("user: nobody\nworkers: 1\nadmin: {{socket: {0}/weir.sock}}\ntimeouts: {{drain: 1s}}\n"
                "listeners: {{web: {{bind: '127.0.0.1:{1}'}}{2}}}\nroutes: [{{respond: {{body: ok}}}}]\n")
        path = os.path.join(folder, "weir.yaml")
        port = free_port()

        def write(more):
            with open(path, "w") as f:
                f.write(text.format(folder, port, more))
        write("")
        log = open(os.path.join(folder, "log"), "w+")
        process = subprocess.Popen([binary, "run", "-c", path], stderr=log, cwd=folder)
        try:
            wait_until(lambda: not _is_refused(port) and os.path.exists(f"{folder}/weir.sock"))
            wait_until(lambda: "serving" in open(f"{folder}/log").read())
            status = open(f"/proc/{process.pid}/status").read()
            assert re.search(r"Uid:\s+65534\s+65534", status)
            assert int(re.search(r"CapEff:\s+(\w+)", status)[1], 16) == 1 << 10
            process.send_signal(signal.SIGUSR2)
            process.wait(20 * SCALE)
            [pid] = wait_until(lambda: [p for p in _processes_in(folder)], 10)
            status = open(f"/proc/{pid}/status").read()
            assert int(re.search(r"CapEff:\s+(\w+)", status)[1], 16) == 1 << 10
            write(f", low: {{bind: '127.0.0.1:{low}'}}")
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: not _is_refused(low), 10, "the low port")
        finally:
            for pid in _processes_in(folder):
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _processes_in(folder), 10)
            process.wait()
            log.seek(0)
            said = log.read()
        assert "Sanitizer" not in said, said
    finally:
        shutil.rmtree(folder)


# -- signals at the start ---------------------------------------------------------------------------------------------------------------

def test_a_stop_during_the_start_ends_it(site):
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.04):
        weir = site(OK, start=False)
        process = subprocess.Popen([BINARY, "run", "-c", weir.config_file], stderr=subprocess.PIPE, cwd=weir.folder)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10 * SCALE)
        assert process.returncode in (0, -signal.SIGTERM) and b"Sanitizer" not in said, said.decode()


# -- limits of the system ------------------------------------------------------------------------------------------------------------------

def _cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        columns = f.read().rsplit(")", 1)[1].split()
    return int(columns[11]) + int(columns[12])


def test_without_descriptors_accepting_pauses_and_goes_on(site):
    weir = site(OK)
    assert weir.get().text == "ok"
    used = len(os.listdir(f"/proc/{weir.pid}/fd"))
    before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (used + 8, before[1]))
    clients = [weir.client() for _ in range(40)]
    try:
        wait_until(lambda: "cannot be accepted" in weir.log())
        ticks = _cpu_ticks(weir.pid)
        time.sleep(1)
        assert _cpu_ticks(weir.pid) - ticks < 40
        for client in clients[20:]:
            client.send_request()
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)
        for client in clients[20:]:
            assert client.read_response().status == 200
    finally:
        [c.close() for c in clients]


def test_connection_counts_do_not_drift(site, tcp_backend):
    """Whatever way connections end, and across reloads that set and unset the limit."""
    weir = site([{"upstream": "db"}], {"db": tcp_backend().address, "none": f"127.0.0.1:{free_port()}"},
                {"web": {"limits": {"connections": 8, "connections_per_ip": 6}}, "db": {**TCP, "limits": {"connections_per_ip": 6}},
                 "none": {"protocol": "tcp", "upstream": "none", "limits": {"connections_per_ip": 6}}})
    listeners = weir.config["listeners"]
    loose = {name: {k: v for k, v in l.items() if k != "limits"} for name, l in listeners.items()}
    for n in range(6):
        clients = [weir.client(name) for name in ("web", "db", "none") for _ in range(8)]
        weir.reload(listeners=loose if n % 2 == 0 else listeners)
        for i, client in enumerate(clients):
            if i % 3 == 0:
                client.send_quietly(b"GET / HT")
            if i % 3 == 1:
                client.reset()
            client.close()
        wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 0)
    with weir.client("db") as a:
        a.send(b"x")
        assert a.read_exact(1) == b"x"
    clients = []
    try:
        wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 0)
        for _ in range(6):
            client = weir.client("db")
            client.send(b"x")
            assert client.read_exact(1) == b"x"
            clients.append(client)
        with weir.client("db") as seventh:
            seventh.expect_end()
    finally:
        [c.close() for c in clients]


# -- streams ---------------------------------------------------------------------------------------------------------------------------------

def test_an_idle_stream_ends_after_idle_and_not_twice_that(site, server):
    weir = site(None, {"db": server.address}, {"db": TCP}, timeouts={"idle": "2s"})
    with weir.client("db") as client:
        up = server.accept()
        time.sleep(0.3)
        client.send(b"x")
        up.read_exact(1)
        begin = time.monotonic()
        client.read_to_end(5)
        assert 1.9 < time.monotonic() - begin < 3


def test_tls_clients_that_vanish_while_the_server_is_sought_harm_nothing(site, localhost_cert):
    """During the handshake, during the connect, and with bytes that nobody has read yet."""
    with socket.socket() as stuck:
        # Its queue is full: connects hang.
        stuck.bind(("127.0.0.1", 0))
        stuck.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for s in fillers:
            s.setblocking(False)
            s.connect_ex(stuck.getsockname())
        tls = {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}
        weir = site(None, {"db": f"127.0.0.1:{stuck.getsockname()[1]}"}, {"db": {**TCP, "tls": tls}}, timeouts={"connect": "3s"})
        for n in range(40):
            if n % 4 == 0:
                client = weir.client("db")
                client.send(b"\x16\x03\x01")
            else:
                client = weir.client("db", tls=trusting(None, verify=False))
                if n % 4 > 1:
                    client.sock.sendall(b"x" * 5000)
            if n % 2:
                client.reset()
            else:
                client.close()
        wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 0, 10)
        [s.close() for s in fillers]


def test_a_client_that_resets_while_nobody_reads_from_it_is_let_go(site):
    """The server takes nothing: the client's bytes wait, and its reset behind them, until the stream is idle."""
    with RawServer(receive_buffer=4096) as server:
        weir = site(None, {"db": server.address}, {"db": TCP}, timeouts={"idle": "2s"})
        client = weir.client("db")
        server.accept()
        client.sock.setblocking(False)
        try:
            while True:
                client.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 1)
        client.reset()
        wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 0, 10)


def test_streams_get_a_close_when_no_descriptor_is_left_for_their_server(site, tcp_backend):
    weir = site(None, {"db": tcp_backend().address}, {"db": TCP})
    with weir.client("db") as client:
        client.send(b"a")
        assert client.read_exact(1) == b"a"
        used = len(os.listdir(f"/proc/{weir.pid}/fd"))
        before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (used + 1, before[1]))
        with weir.client("db") as refused:
            refused.expect_end()
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)
        client.send(b"b")
        assert client.read_exact(1) == b"b"

        def served():
            with weir.client("db") as again:
                again.send(b"c")
                return again.read_exact(1) == b"c"
        wait_until(lambda: served())


# -- everything at once ------------------------------------------------------------------------------------------------------------------------

def test_a_storm_of_signals_fails_no_request(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend("ok").address}, {"web": {}, "extra": {}}, timeouts={"drain": "5s"})
    listeners = dict(weir.config["listeners"])
    failures, served, done = [], [0], threading.Event()

    def fresh():
        while not done.is_set():
            try:
                assert weir.get().body == b"ok"
                served[0] += 1
            except Exception as error:
                failures.append(repr(error))

    become_subreaper()
    threads = _threads(fresh, fresh)
    for n in range(4):
        for k in range(12):
            weir.change(listeners=listeners if (n + k) % 2 else {"web": listeners["web"]})
            weir.signal(signal.SIGHUP)
            if k == 6:
                weir.signal(signal.SIGUSR2)
                weir.signal(signal.SIGUSR2)
            time.sleep(0.01)
        old = weir.pid
        wait_until(lambda: [p for p in weir.processes()] not in ([old], []) and old not in weir.processes(), 30, "the next process alone")
        weir._wait_for(old, 5)
        [weir.successor] = weir.processes()
    count = served[0]
    wait_until(lambda: served[0] > count + 5 or failures)
    done.set()
    [t.join() for t in threads]
    assert not failures, failures[:3]
