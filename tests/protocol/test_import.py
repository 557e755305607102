"""weir import: what nginx and HAProxy are told becomes a file of weir's that passes its check and holds its tests, whatever was left
is listed, and where both proxies run side by side they answer alike.

The samples stand in tests/import, each with what must be reported beside it (NAME.report: the exit status, then standard error).
"""

import glob
import os
import re
import shutil
import subprocess

import pytest

from harness import HttpBackend, free_port, get, run_cli, wait_until
from harness.ports import listening_ports
from harness.weir import ROOT, Weir

SAMPLES = sorted(glob.glob(os.path.join(ROOT, "tests/import/*/*.c*f*")))
NGINX, HAPROXY = (shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin") for name in ("nginx", "haproxy"))


def kind_of(sample):
    return os.path.basename(os.path.dirname(sample))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory, authority):
    """A folder with the certificates that the samples name."""
    folder = tmp_path_factory.mktemp("certs")
    for name in ("site", "admin"):
        leaf = authority.leaf(f"{name}.example")
        cert, key = leaf
        shutil.copy(cert, folder / f"{name}.pem")
        shutil.copy(key, folder / f"{name}.key")
    (folder / "site-both.pem").write_text((folder / "site.pem").read_text() + (folder / "site.key").read_text())
    shutil.copy(authority.file, folder / "ca.pem")
    return folder


def converted(sample, tmp_path, certificates):
    """(the run, the file that came out, in a folder where the sample's certificates are)"""
    shutil.copytree(certificates, tmp_path / "certs")
    for name in glob.glob(os.path.join(os.path.dirname(sample), "*.types")):
        shutil.copy(name, tmp_path)
    with open(sample) as f:
        (tmp_path / os.path.basename(sample)).write_text(f.read().replace("@CERTS@", str(certificates)))
    done = run_cli("import", kind_of(sample), os.path.basename(sample), cwd=tmp_path)
    (tmp_path / "weir.yaml").write_text(done.stdout)
    return done, tmp_path / "weir.yaml"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: os.path.relpath(s, os.path.join(ROOT, "tests/import")))
def test_a_sample_passes_the_check_with_its_tests_and_reports_what_was_left(sample, tmp_path, certificates):
    done, file = converted(sample, tmp_path, certificates)
    with open(os.path.splitext(sample)[0] + ".report") as f:
        expected = f.read()
    said = f"exit status {done.returncode}\n" + done.stderr.replace(str(certificates), "@CERTS@")
    assert said == expected
    checked = run_cli("check", "-c", file, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr + done.stdout
    routes = int(re.search(r"(\d+) routes", checked.stdout)[1])
    passed = int(re.search(r"(\d+) tests passed", checked.stdout)[1])
    assert routes == 0 or passed >= routes / 2, (routes, passed, done.stdout)


def test_each_sample_is_one_that_its_own_proxy_accepts(tmp_path, certificates):
    if not HAPROXY:
        pytest.skip("no haproxy here")
    for sample in SAMPLES:
        if kind_of(sample) != "haproxy":
            continue
        file = tmp_path / os.path.basename(sample)
        with open(sample) as f:
            file.write_text(f.read().replace("@CERTS@", str(certificates)))
        done = subprocess.run([HAPROXY, "-c", "-f", file], capture_output=True, text=True, timeout=60)
        faults = [l for l in done.stderr.splitlines() if "[ALERT]" in l and "could not resolve" not in l and "initialize" not in l]
        assert done.returncode == 0 or not faults, done.stderr


SHIPPED = [("nginx", "/etc/nginx/nginx.conf"), ("nginx", "/etc/nginx/sites-available/default"), ("haproxy", "/etc/haproxy/haproxy.cfg"),
           *(("haproxy", path) for path in sorted(glob.glob("/usr/share/doc/haproxy/examples/*.cfg")))]


@pytest.mark.parametrize("kind,path", SHIPPED)
def test_what_the_packages_ship_is_read_and_passes_the_check_where_it_has_a_listener(kind, path, tmp_path):
    if not os.path.exists(path):
        pytest.skip("not installed")
    done = run_cli("import", kind, path, cwd=tmp_path)
    assert done.returncode in (0, 2), done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert (done.returncode == 2) == bool(told)
    (tmp_path / "weir.yaml").write_text(done.stdout)
    if "\nlisteners:" in done.stdout:
        checked = run_cli("check", "-c", tmp_path / "weir.yaml", cwd=tmp_path)
        faults = [line for line in checked.stderr.splitlines() if "cannot read" not in line]
        assert checked.returncode == 0 or not faults, checked.stderr  # a certificate that the package has not


def test_a_file_that_is_missing_or_malformed_is_status_1_and_a_wrong_call_status_2(tmp_path):
    (tmp_path / "open.conf").write_text("http {\n  server { listen 80; \n")
    (tmp_path / "quote.conf").write_text('http {\n  log_format x "abc;\n}\n')
    (tmp_path / "lost.cfg").write_text("bind :80\n")
    for arguments, said in ((["nginx", "none.conf"], "none.conf: No such file"), (["nginx", "open.conf"], "open.conf:3: the file ends in a block"),
                            (["nginx", "quote.conf"], "a quote is not closed"), (["haproxy", "lost.cfg"], 'lost.cfg:1: "bind" stands in no section')):
        done = run_cli("import", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "") and said in done.stderr, done.stderr
    assert run_cli("import", "apache", "x", cwd=tmp_path).returncode == 2
    assert run_cli("import", "nginx", cwd=tmp_path).returncode == 2


def test_a_certificate_that_is_not_there_is_converted_and_told(tmp_path):
    (tmp_path / "n.conf").write_text("http { server { listen 443 ssl; ssl_certificate x.pem; ssl_certificate_key x.key; return 204; } }")
    done = run_cli("import", "nginx", "n.conf", cwd=tmp_path)
    assert done.returncode == 0 and f"cert: {tmp_path}/x.pem" in done.stdout
    assert "note: n.conf:1: ssl_certificate x.pem: there is no such file now" in done.stderr


GUARDED_BY_NGINX = """server {
    listen 80; auth_basic x;
    location / { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1; }
    location /any/ { satisfy any; allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1; }
    location /open/ { auth_basic off; proxy_pass http://127.0.0.1:1; }
}"""
GUARDED_BY_HAPROXY = """frontend web
    mode http
    bind :80
    http-request deny if !{ src 10.0.0.0/8 }
    http-request auth if { path_beg /secret }
    default_backend b
backend b
    mode http
    server s 127.0.0.1:1
"""


@pytest.mark.parametrize("kind,text,closed,open_to_ten", [
    ("nginx", GUARDED_BY_NGINX, ["/", "/x"], ["/any/x", "/open/x"]),
    ("haproxy", GUARDED_BY_HAPROXY, ["/secret", "/secret/x"], ["/x"])])
def test_what_was_behind_a_password_is_closed_to_every_address(kind, text, closed, open_to_ten, tmp_path):
    (tmp_path / "conf").write_text(text)
    done = run_cli("import", kind, "conf", cwd=tmp_path)
    assert done.returncode == 2 and "closed by `deny` until you open it" in done.stderr
    tests = [f'  - {{ request: "GET http://a.example{path}", client: 10.1.2.3, expect: {{ status: 403 }} }}' for path in closed]
    tests += [f'  - {{ request: "GET http://a.example{path}", client: 10.1.2.3, expect: {{ status: 200 }} }}' for path in open_to_ten]
    (tmp_path / "weir.yaml").write_text(done.stdout.replace("\ntests:\n", "\ntests:\n" + "\n".join(tests) + "\n"))
    checked = run_cli("check", "-c", tmp_path / "weir.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr + done.stdout
    assert int(re.search(r"(\d+) tests passed", checked.stdout)[1]) >= len(tests)


# -- side by side -------------------------------------------------------------------------------------------------------------

class Peer:
    """A real nginx or HAProxy with this configuration."""

    def __init__(self, arguments, folder, port):
        self.process = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=open(folder / "peer.log", "wb"))
        wait_until(lambda: self.process.poll() is not None or port in listening_ports(), 15, "the peer listening")
        assert self.process.poll() is None, (folder / "peer.log").read_text()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def beside(tmp_path):
    """beside(kind, text, port) starts the peer, and weir with what the import made of the text; weir's own port comes back."""
    running = []

    def start(kind, text, port):
        name = "nginx.conf" if kind == "nginx" else "haproxy.cfg"
        (tmp_path / name).write_text(text)
        done = run_cli("import", kind, name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        weir = Weir(tmp_path / "weir", {}, start=False)
        mine = weir.port("web")
        listening = {"listeners": {"web": {"bind": f"127.0.0.1:{mine}"}}}
        out = re.sub(rf"\b{port}\b", str(mine), done.stdout)
        weir.write(f"admin: {{ bind: 127.0.0.1:{weir.port('admin')}, socket: {weir.socket_file} }}\n" + out)
        weir.config = {**listening, "admin": {"bind": f"127.0.0.1:{weir.port('admin')}"}}
        running.append(weir)
        weir.start()
        arguments = [NGINX, "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / name)] if kind == "nginx" else \
            [HAPROXY, "-db", "-f", str(tmp_path / name)]
        running.append(Peer(arguments, tmp_path, port))
        return mine
    yield start
    for each in reversed(running):
        each.stop()


def answer(port, method, host, target, headers):
    response = get(port, target, headers, host=host, method=method)
    location = response["location"]
    if location:
        location = location.replace(f":{port}", "").removeprefix(f"http://{host}")  # nginx makes them absolute
    shown = {name: response[name] for name in ("x-served", "x-hide") if response[name] and response.status == 200}
    body = response.text if response.status == 200 else ""
    return response.status, location, shown, body


def assert_alike(peer, weir, requests):
    for method, host, target, headers in requests:
        theirs, ours = answer(peer, method, host, target, headers), answer(weir, method, host, target, headers)
        assert theirs == ours, f"{method} {host}{target} {headers}: the peer says {theirs}, weir {ours}"


def telling(name):
    """A backend that answers with its name and what it was asked."""
    from harness import Reply

    def handler(request):
        lines = [name, request.target, request.fields.get("host"), request.fields.get("x-real-ip") or "", request.fields.get("x-set") or ""]
        return Reply(body=" ".join(lines).encode(), headers=[("X-Hide", "1")])
    return HttpBackend(name, handler)


def nginx_file(port, http):
    return f"""daemon off; master_process off; pid nginx.pid; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path tmp_body; proxy_temp_path tmp_proxy; fastcgi_temp_path tmp_f; uwsgi_temp_path tmp_u; scgi_temp_path tmp_s;
    {http.replace('@PORT@', f'127.0.0.1:{port}')}
}}
"""


@pytest.mark.skipif(not NGINX, reason="no nginx here")
def test_nginx_and_weir_route_alike(beside, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("the index")
    (tmp_path / "www" / "app.css").write_text("a style")
    with telling("one") as one, telling("two") as two, telling("three") as three:
        port = free_port()
        weir = beside("nginx", nginx_file(port, f"""
    upstream one {{ server 127.0.0.1:{one.port}; }}
    server {{
        listen @PORT@; server_name a.example;
        location / {{ proxy_pass http://one; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; }}
        location /two/ {{ proxy_pass http://127.0.0.1:{two.port}/under/; proxy_set_header Host $host; proxy_set_header X-Set "b c"; }}
        location /two/deep/ {{ proxy_pass http://127.0.0.1:{three.port}; }}
        location = /exact {{ return 204; }}
        location ~ \\.gif$ {{ proxy_pass http://127.0.0.1:{three.port}; proxy_set_header Host gifs; }}
        location ^~ /raw/ {{ proxy_pass http://127.0.0.1:{two.port}; proxy_set_header Host $host; }}
        location /old/ {{ rewrite ^/old/(.*)$ /new/$1 break; proxy_pass http://one; proxy_set_header Host $host; }}
        location /gone/ {{ return 410; }}
        location /secret/ {{ deny all; }}
        location /some/ {{ deny 127.0.0.0/8; allow all; proxy_pass http://one; }}
        location /moved/ {{ return 301 https://b.example$request_uri; }}
        location /h/ {{ add_header X-Served yes always; proxy_pass http://one; proxy_set_header Host $host; }}
    }}
    server {{ listen @PORT@; server_name *.b.example; root {tmp_path}/www; location / {{ try_files $uri /index.html; }} }}
    server {{ listen @PORT@ default_server; server_name _; return 302 http://a.example/; }}
"""), port)
        requests = [("GET", "a.example", target, ()) for target in (
            "/", "/x?y=1", "/two/", "/two/x/y?z=1", "/two/deep/x", "/two/x.gif", "/two/deep/a.gif", "/exact", "/exactly", "/a.gif", "/raw/a.gif",
            "/raw/x", "/old/x/y?q", "/gone/x", "/secret/x", "/some/x", "/moved/x?a=b", "/h/x", "/two/%7Ex")]
        requests += [("POST", "a.example", "/two/x", ()), ("GET", "x.b.example", "/app.css", ()), ("GET", "y.x.b.example", "/none/at/all", ()),
                     ("GET", "unknown.example", "/x", ()), ("GET", "b.example", "/x", ())]
        assert_alike(port, weir, requests)


@pytest.mark.skipif(not NGINX, reason="no nginx here")
def test_nginx_and_weir_take_the_same_one_of_nested_locations_and_redirects(beside, tmp_path):
    with telling("one") as one, telling("two") as two:
        port = free_port()
        weir = beside("nginx", nginx_file(port, f"""
    server {{
        listen @PORT@;
        server_name a.example;
        location /a/ {{
            proxy_pass http://127.0.0.1:{one.port};
            location /a/b/ {{ proxy_pass http://127.0.0.1:{two.port}/; }}
            location ~ \\.txt$ {{ return 403; }}
        }}
        location ~* \\.(TXT|md)$ {{ return 410; }}
        location /hdr/ {{ if ($http_x_beta = "1") {{ return 307 /beta; }} proxy_pass http://127.0.0.1:{one.port}; }}
        location /only/ {{ limit_except GET {{ deny all; }} proxy_pass http://127.0.0.1:{one.port}; }}
        location /go/ {{ rewrite ^ https://c.example$request_uri? permanent; }}
        location / {{ return 404; }}
    }}
    server {{
        if ($host = www.d.example) {{ return 301 https://$host$request_uri; }}
        listen @PORT@; server_name www.d.example d.example; return 404;
    }}
"""), port)
        requests = [("GET", "a.example", target, ()) for target in (
            "/a/x", "/a/b/x", "/a/x.txt", "/a/b/x.txt", "/x.txt", "/x.md", "/x.MD", "/a/x.md", "/hdr/x", "/only/x", "/go/x?y", "/none")]
        requests += [("GET", "a.example", "/hdr/x", [("X-Beta", "1")]), ("POST", "a.example", "/only/x", ()),
                     ("GET", "www.d.example", "/x?y", ()), ("GET", "d.example", "/x", ())]
        assert_alike(port, weir, requests)


@pytest.mark.skipif(not HAPROXY, reason="no haproxy here")
def test_haproxy_and_weir_route_alike(beside):
    with telling("api") as api, telling("beta") as beta, telling("static") as static, telling("blog") as blog, telling("app") as app:
        port = free_port()
        weir = beside("haproxy", f"""
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    bind 127.0.0.1:{port}
    acl is_api path_beg /api/
    acl is_static path_end .png .css
    acl is_blog hdr(host) -i blog.example
    acl beta req.hdr(x-beta) 1
    acl writes method POST
    acl far src 192.0.2.0/24
    http-request set-header X-Real-IP %[src]
    http-request deny if {{ path_beg /admin/ }} !far
    http-request return status 200 content-type text/plain string "pong" if {{ path /ping }}
    http-response set-header X-Served yes
    redirect prefix https://new.example code 301 if {{ hdr(host) -i old.example }}
    redirect location /welcome code 302 if {{ path / }}
    use_backend static if is_static
    use_backend beta if is_api beta
    use_backend app if is_api writes
    use_backend api if is_api
    use_backend blog if is_blog or {{ path_beg /blog/ }}
    default_backend app
backend api
    http-request replace-path /api/(.*) /\\1
    server s 127.0.0.1:{api.port}
backend beta
    server s 127.0.0.1:{beta.port}
backend static
    http-request set-header X-Set c
    server s 127.0.0.1:{static.port}
backend blog
    server s 127.0.0.1:{blog.port}
backend app
    server s 127.0.0.1:{app.port}
""", port)
        beta_header = [("X-Beta", "1")]
        hosts = ("a.example", "blog.example", "old.example", "BLOG.example")
        targets = ("/", "/x?y", "/api/x?y=1", "/api/a.png", "/a.css", "/ping", "/admin/x", "/admin/a.png", "/blog/x", "/blog/a.css", "/other")
        requests = [(method, host, target, headers) for host in hosts for target in targets for method, headers in (
            ("GET", ()), ("POST", ()), ("GET", beta_header), ("POST", beta_header))]
        assert_alike(port, weir, requests)
