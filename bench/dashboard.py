#!/usr/bin/python3
"""The dashboard under load: what it says beside what the load generator says, and the pictures of docs/dashboard.md.

    bench/dashboard.py [--weir BINARY] [--rate 20000] [--seconds 20] [--pictures FOLDER]

A weir in front of four servers (another weir that answers by itself; one more is dead) gets requests from h2load over several
routes at a steady rate, while headless Chromium has the page open. The page counts from a moment on (its button "Count from
now"), as h2load does, and at the end both are compared: the requests in all, and a second over 10 s amid the load. The exit
status is 1 when they differ by more than 2 %.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "protocol"))

PATHS = ["/shop/", "/shop/cart", "/api/v1/orders", "/docs/start", "/nothing/here",
         *[f"/images/{name}" for name in ("logo.svg", "hero.jpg", "site.css", "site.js", "body.woff2", "map.png", "one.jpg", "two.jpg")]]


def number(text):
    return float(re.sub(r"[^0-9.]", "", text))


def backends(Weir, folder):
    listeners = {f"b{i}": {} for i in range(4)}
    routes = [{"path": "/images/", "respond": {"status": 200, "body": "x" * 2000, "headers": {"Cache-Control": "max-age=60"}}},
              {"path": "/nothing/", "respond": {"status": 404, "body": "nothing\n"}}, {"respond": {"status": 200, "body": "hello\n" * 20}}]
    return Weir(os.path.join(folder, "backends"), {"workers": 1, "listeners": listeners, "routes": routes})


def front(Weir, Authority, folder, servers, dead):
    cert, key = Authority(folder).leaf("www.example.com", "localhost")
    check = {"type": "http", "path": "/health", "interval": "1s", "fall": 2}
    upstreams = {"shop": {"servers": servers[:2]}, "api": {"servers": [servers[2], dead], "health_check": check, "queue": {"size": 100, "timeout": "1s"}},
                 "static": {"servers": servers[3:]}, "slow": {"servers": [dead]}}
    routes = [{"name": "shop", "path": "/shop/", "upstream": "shop"}, {"name": "api", "path": "/api/", "upstream": "api"},
              {"name": "images", "path": "/images/", "upstream": "static", "cache": True}, {"name": "docs", "path": "/docs/", "upstream": "static"},
              {"name": "reports", "path": "/reports/", "upstream": "slow"}, {"name": "old", "path": "/old", "redirect": {"to": "/shop/"}},
              {"name": "rest", "upstream": "shop"}]
    tls = {"certificates": [{"cert": cert, "key": key}]}
    return Weir(os.path.join(folder, "front"), {"workers": 1, "listeners": {"web": {}, "secure": {"tls": tls}}, "upstreams": upstreams, "routes": routes,
                                                "admin": {"token": "a-long-secret"}, "log": {"level": "error"}})


def few(weir):
    """Some of what is rare: requests that fail, handshakes, a slow one."""
    from harness.raw_client import get, RawClient
    for i in range(4):
        get(weir.port(), f"/reports/{i}?from=2026-01-01", [("X-Request-Id", f"report-{i}")])
    get(weir.port(), "/old")
    for _ in range(3):
        subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{weir.port('secure')}", "-servername", "www.example.com"], input=b"", capture_output=True)


def pictures(page, folder, weir):
    page.viewport(1280, 1180)
    for name, scheme in (("dashboard.png", "light"), ("dashboard-dark.png", "dark")):
        page.scheme(scheme)
        page.run("scrollTo(0, 0); setTimeout(() => done(null), 300);")
        page.picture(os.path.join(folder, name))
    page.scheme("light")
    page.viewport(390, 844, phone=True)
    page.run("setTimeout(() => done(null), 1200);")
    page.picture(os.path.join(folder, "dashboard-phone.png"))
    page.viewport(1280, 640)
    page.run("location.hash = '#/request/report-2'; setTimeout(() => done(null), 800);")
    page.await_text("story-sum", lambda t: "attempt" in t)
    page.picture(os.path.join(folder, "dashboard-request.png"))
    page.run("location.hash = ''; done(null);")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--weir", default=os.path.join(ROOT, "build", "weir"))
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--rate", type=int, default=20000)
    arguments.add_argument("--connections", type=int, default=100)
    arguments.add_argument("--pictures", help="a folder to write the pictures to")
    given = arguments.parse_args()
    os.environ["WEIR_BINARY"] = os.path.abspath(given.weir)
    from harness import Authority, Weir, free_port
    from harness.dashboard import Dashboard

    with tempfile.TemporaryDirectory() as folder:
        behind = backends(Weir, folder)
        weir = front(Weir, Authority, folder, [f"127.0.0.1:{behind.port(f'b{i}')}" for i in range(4)], f"127.0.0.1:{free_port()}")
        try:
            with Dashboard(os.path.join(folder, "browser")) as page:
                page.viewport(1280, 1180)
                page.show(weir)
                page.fill("token", "a-long-secret")
                page.click("#login button")
                page.await_text("state", "serving")
                few(weir)
                page.await_text("requests-total", lambda t: number(t or "0") >= 5)
                page.run("setTimeout(() => done(null), 1500);")
                page.click("#measure")
                page.await_text("measured", lambda t: "requests in" in t)
                start = number(re.match(r"([\d,]+) requests", page.text("measured"))[1])
                began = time.monotonic()
                load = subprocess.Popen(["h2load", "--h1", "-t1", f"-c{given.connections}", f"--rps={given.rate / given.connections}", f"-D{given.seconds}",
                                         *[f"http://127.0.0.1:{weir.port()}{path}" for path in PATHS]], stdout=subprocess.PIPE, text=True)
                time.sleep(max(3, given.seconds - 6))
                if given.pictures:
                    pictures(page, given.pictures, weir)
                shown = number(page.text("rate-10")) if time.monotonic() - began > 11 else None
                said = load.communicate()[0]
                page.run("setTimeout(() => done(null), 2500);")
                counted = number(re.match(r"([\d,]+) requests", page.text("measured"))[1]) - start
        finally:
            weir.signal(signal.SIGKILL)
            behind.signal(signal.SIGKILL)
    total, rate = int(re.search(r"(\d+) done", said)[1]), float(re.search(r"([\d.]+) req/s", said)[1])
    print(said)
    print(f"h2load:    {total} requests, {rate:.0f} a second")
    print(f"dashboard: {counted:.0f} requests, {counted / total - 1:+.2%}" + (f"; {shown:.0f} a second over 10 s amid the load, {shown / rate - 1:+.2%}" if shown else ""))
    return 0 if abs(counted / total - 1) <= 0.02 and (not shown or abs(shown / rate - 1) <= 0.02) else 1


if __name__ == "__main__":
    sys.exit(main())
