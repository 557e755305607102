"""The programs as they are started anew for one measurement: under reloads, with one worker and with two, with few and many routes."""

import os
import signal
import urllib.request

from .processes import BenchError
from .proxies import Haproxy, Nginx, Weir

PREFIXES = 10  # of each host


class Reloading:
    """As the plain one, but reloaded by signal."""

    label = property(lambda self: self.name)
    listeners = Weir.listeners


class ReloadingWeir(Reloading, Weir):
    pass


class ReloadingNginx(Reloading, Nginx):
    pass


class ReloadingHaproxy(Reloading, Haproxy):
    """Master and worker; the master hands the listening sockets to the worker that follows."""

    mode = "-W"

    def reload(self):
        self.process.send_signal(signal.SIGUSR2)


def with_workers(base, processes, binary, workers):
    proxy = base(processes, binary)
    proxy.workers, proxy.variant = workers, f"{workers} worker{'s' if workers > 1 else ''}"
    return proxy


class ManyRoutes:
    """`routes` of them, PREFIXES on each host; one upstream, as what is measured is the way to it."""

    listeners = ("http",)
    prefixes = PREFIXES
    start_seconds = 120

    def __init__(self, processes, binary, routes):
        super().__init__(processes, binary)
        self.routes, self.variant = routes, f"{routes:,} routes"

    def values(self):
        return {"ROUTES": self.routes_text()}

    def names(self):
        return [(f"h{host}.example.com", [f"/r{n}/" for n in range(self.prefixes)]) for host in range(self.routes // self.prefixes)]

    def _check(self):
        host = f"h{self.routes // self.prefixes - 1}.example.com"
        asked = urllib.request.Request(f"http://127.0.0.1:{self.ports['http']}/r{self.prefixes - 1}/1k", headers={"Host": host})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            if len(answer.read()) != 1024:
                raise BenchError(f"the last route of {host} gives something else")


class RoutesOfWeir(ManyRoutes, Weir):
    template = "weir/routes.yaml"

    def routes_text(self):
        return "\n".join(f"  - {{ host: {host}, path: {prefix}, upstream: backend }}" for host, prefixes in self.names() for prefix in prefixes)


class RoutesOfNginx(ManyRoutes, Nginx):
    template = "peers/nginx/routes.conf"

    def routes_text(self):
        return "\n".join(f"    server {{\n        listen 127.0.0.1:{self.ports['http']};\n        server_name {host};\n"
                         + "".join(f"        location {prefix} {{ proxy_pass http://backend; }}\n" for prefix in prefixes) + "    }"
                         for host, prefixes in self.names())


class RoutesOfHaproxy(ManyRoutes, Haproxy):
    template = "peers/haproxy/routes.cfg"

    def values(self):
        with open(os.path.join(self.processes.folder, self.id + ".map"), "w") as f:
            f.writelines(f"{host}{prefix} servers\n" for host, prefixes in self.names() for prefix in prefixes)
        return {}


def find_reloading(processes, given):
    return [ReloadingWeir(processes, given.weir), ReloadingNginx(processes, given.nginx), ReloadingHaproxy(processes, given.haproxy)]


def find_scaling(processes, given):
    programs = ((Weir, given.weir), (Nginx, given.nginx), (Haproxy, given.haproxy))
    return [with_workers(base, processes, binary, workers) for base, binary in programs for workers in (1, 2)]


def find_routes(processes, given):
    programs = ((RoutesOfWeir, given.weir), (RoutesOfNginx, given.nginx), (RoutesOfHaproxy, given.haproxy))
    return [base(processes, binary, routes) for base, binary in programs for routes in (10, 100000)]
