"""Start, drain, stop, log files, and the upgrade of the binary."""

import os
import signal
import socket
import stat
import subprocess
import threading

import pytest
import yaml

from harness import RawClient, SCALE, run_cli, wait_until
from harness.weir import BINARY

OK = [{"respond": {"status": 200, "body": "ok"}}]


# -- start ------------------------------------------------------------------------------------------------------------------------

def test_weir_dash_c_is_weir_run(site):
    weir = site(OK, start=False)
    process = subprocess.Popen([BINARY, "-c", weir.config_file], stderr=subprocess.PIPE, cwd=weir.folder)
    try:
        wait_until(lambda: weir.get().text == "ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10 * SCALE) == 0
    finally:
        process.kill()
        process.communicate()


def test_an_invalid_file_does_not_start(tmp_path):
    (tmp_path / "weir.yaml").write_text("listeners: {web: {bnd: ':80'}}\n")
    done = run_cli("run", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 1 and "bnd" in done.stderr


def test_a_missing_file_does_not_start(tmp_path):
    done = run_cli("run", "-c", tmp_path / "none.yaml")
    assert done.returncode != 0 and "none.yaml" in done.stderr


def test_a_port_that_is_taken_does_not_start(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "weir.yaml").write_text(
            f"admin: {{socket: {tmp_path}/weir.sock}}\nlisteners: {{web: {{bind: ['{address}']}}}}\nroutes: [{{respond: {{body: x}}}}]\n")
        done = run_cli("run", "-c", tmp_path / "weir.yaml")
    assert done.returncode != 0 and address in done.stderr


def test_the_control_socket_is_for_its_owner_alone(site):
    weir = site(OK)
    assert stat.S_IMODE(os.stat(weir.socket_file).st_mode) == 0o600


def test_a_control_socket_left_behind_does_not_hinder_a_start(site):
    weir = site(OK, start=False)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(weir.socket_file)
    weir.start()
    assert weir.cli("status").returncode == 0


def test_it_starts_without_an_admin_listener(site):
    weir = site(OK, start=False)
    del weir.config["admin"]["bind"]
    weir.write(yaml.safe_dump(weir.config))
    weir.start()
    assert weir.get().text == "ok" and weir.cli("status").returncode == 0


# -- stop -------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_weir_at_once_with_0(site, number):
    weir = site(OK, timeouts={"drain": "60s"})
    with weir.client() as client:
        assert client.get().status == 200
        weir.signal(number)
        assert client.expect_end() == "closed"
        assert weir.wait(5) == 0


def test_what_is_in_flight_is_answered_before_the_end(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "30s"})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(weir.port()))
        assert weir.is_running()
        up.respond(body="last words")
        answer = client.read_response()
        assert answer.body == b"last words" and answer.will_close
        client.expect_end()
        assert weir.wait() == 0


def test_health_says_draining(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "30s"})
    assert (weir.admin.health().status, weir.admin.health().text.strip()) == (200, "ok")
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: weir.admin.health().status == 503)
        assert weir.admin.health().text.strip() == "draining"
        up.respond()
        client.read_response()


def test_what_is_left_after_drain_is_cut(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "500ms"})
    with weir.client() as client:
        client.send_request()
        server.accept().read_request()
        weir.signal(signal.SIGTERM)
        assert weir.wait(8) == 0
        rest = client.read_to_end()
        assert not rest or rest.startswith(b"HTTP/1.1 50")


def test_a_second_signal_ends_it_now(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "60s"})
    weir.any_status = True
    with weir.client() as client:
        client.send_request()
        server.accept().read_request()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(weir.port()))
        assert weir.is_running()
        weir.signal(signal.SIGTERM)
        weir.wait(5)


def test_a_tcp_stream_drains_too(site, tcp_backend):
    weir = site(None, {"db": tcp_backend().address}, {"db": {"protocol": "tcp", "upstream": "db"}}, timeouts={"drain": "30s"})
    with weir.client("db") as client:
        client.send(b"a")
        assert client.read_exact(1) == b"a"
        weir.signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(weir.port("db")))
        client.send(b"b")
        assert client.read_exact(1) == b"b"
    assert weir.wait() == 0


def test_the_command_stop_drains(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "30s"})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        stopping = threading.Thread(target=weir.cli, args=("stop",), kwargs={"seconds": 40})
        stopping.start()
        wait_until(lambda: _is_refused(weir.port()))
        up.respond(body="last")
        assert client.read_response().body == b"last"
        assert weir.wait() == 0
        stopping.join()


def test_a_request_that_was_pipelined_before_the_end_is_answered(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "10s"})
    with weir.client() as client:
        client.send_request(target="/1")
        up = server.accept()
        up.read_request()
        weir.signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(weir.port()))
        up.respond(body="one")
        assert client.read_response().body == b"one"
    assert weir.wait() == 0


def _is_refused(port):
    try:
        RawClient(port).close()
        return False
    except ConnectionRefusedError:
        return True


# -- status ---------------------------------------------------------------------------------------------------------------------------

def test_the_command_status_tells_of_the_running_process(site):
    weir = site(OK)
    done = weir.cli("status")
    assert done.returncode == 0 and done.stdout.strip()


@pytest.mark.parametrize("command", ["status", "reload", "stop", "upgrade"])
def test_a_command_without_a_running_process_says_so(site, command):
    weir = site(OK, start=False)
    done = weir.cli(command)
    assert done.returncode != 0 and weir.socket_file in done.stderr


# -- upgrade ----------------------------------------------------------------------------------------------------------------------------

def test_sigusr2_puts_a_new_process_in_place(site):
    weir = site(OK)
    old = weir.pid
    new = weir.upgrade()
    assert new != old and weir.get().text == "ok"
    assert weir.admin.health().status == 200 and weir.cli("status").returncode == 0


def test_the_command_upgrade_does_the_same(site):
    weir = site(OK)
    done = []
    weir.upgrade(trigger=lambda: done.append(weir.cli("upgrade", seconds=20)))
    assert done[0].returncode == 0 and weir.get().text == "ok"


def test_an_upgrade_takes_up_the_file(site):
    weir = site(OK, workers=2)
    weir.change(workers=1, routes=[{"respond": {"body": "new"}}])
    weir.upgrade()
    assert weir.get().text == "new"


def test_the_new_process_reloads_and_upgrades_in_its_turn(site):
    weir = site(OK)
    for n in range(3):
        weir.upgrade()
        weir.reload(routes=[{"respond": {"body": str(n)}}])
        assert weir.get().text == str(n)


def test_an_upgrade_fails_no_request_under_load(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend("ok").address}, timeouts={"drain": "10s"})
    failures, served, done = [], [0], threading.Event()

    def fresh():
        while not done.is_set():
            try:
                assert weir.get().body == b"ok"
                served[0] += 1
            except Exception as error:
                failures.append(repr(error))
                return

    def keep_alive():
        """As a careful client: a connection that was announced to close, or that is closed while idle, is opened anew."""
        client = weir.client()
        while not done.is_set():
            try:
                if client.ended or _is_readable(client):
                    client.close()
                    client = weir.client()
                answer = client.get()
                assert answer.body == b"ok"
                served[0] += 1
                if answer.will_close:
                    client.close()
                    client = weir.client()
            except Exception as error:
                failures.append(repr(error))
                return
        client.close()

    threads = [threading.Thread(target=t) for t in (fresh, fresh, keep_alive, keep_alive)]
    [t.start() for t in threads]
    wait_until(lambda: served[0] > 20)
    for _ in range(2):
        weir.upgrade()
        count = served[0]
        wait_until(lambda: served[0] > count + 20)
    done.set()
    [t.join() for t in threads]
    assert not failures


def _is_readable(client):
    import select
    return bool(select.select([client.sock], [], [], 0)[0])


def test_what_is_open_lives_on_in_the_old_process(site, server, tcp_backend):
    weir = site([{"upstream": "app"}], {"app": server.address, "db": tcp_backend().address},
                {"web": {}, "db": {"protocol": "tcp", "upstream": "db"}}, timeouts={"drain": "60s"})
    with weir.client() as client, weir.client("db") as stream:
        stream.send(b"a")
        assert stream.read_exact(1) == b"a"
        client.send_request()
        up = server.accept()
        up.read_request()

        def trigger():
            weir.signal(signal.SIGUSR2)
            wait_until(lambda: len(weir.processes()) == 2, 10, "the new process")
            wait_until(lambda: "draining" in weir.log(), 10, "the new process serving")
            stream.send(b"b")
            assert stream.read_exact(1) == b"b"
            stream.close()
            up.respond(body="from the old one")
            assert client.read_response().body == b"from the old one"
        weir.upgrade(trigger=trigger)


def test_an_upgrade_to_a_broken_file_leaves_the_old_process_serving(site):
    weir = site(OK)
    config = weir.config
    weir.write("listeners: [")
    weir.signal(signal.SIGUSR2)
    wait_until(lambda: "weir.yaml" in weir.log() and weir.processes() == [weir.pid], 10, "the failed upgrade")
    assert weir.get().text == "ok" and weir.admin.health().status == 200
    weir.write(config)
    weir.upgrade()
    assert weir.get().text == "ok"


def test_a_client_that_connects_during_the_upgrade_is_never_refused(site):
    weir = site(OK, timeouts={"drain": "10s"})
    refused, done = [], threading.Event()

    def connect():
        while not done.is_set():
            try:
                RawClient(weir.port()).close()
            except OSError as error:
                refused.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    weir.upgrade()
    weir.upgrade()
    done.set()
    thread.join()
    assert not refused
