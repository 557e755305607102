"""The programs whose cache is compared, each a process of its own beside the one that relays; asked for /cached/..., which the server
behind gives for a day."""

import os
import re

from .processes import SIZES, BenchError, run
from .proxies import Floor, Haproxy, Nginx, Proxy, Weir, output_of

# Everything that a hit would write into the shared log. The log itself cannot be turned off.
UNLOGGED = ("Begin", "End", "Link", "Timestamp", "ReqStart", "ReqMethod", "ReqURL", "ReqProtocol", "ReqHeader", "ReqUnset", "ReqAcct",
            "RespProtocol", "RespStatus", "RespReason", "RespHeader", "RespUnset", "VCL_call", "VCL_return", "VCL_use", "Hit",
            "Filters", "SessOpen", "SessClose")


class Caching:
    """In front of a Proxy: one listener, the files under /cached/, and the second one to ask must get it from the store."""

    variant = "cache"  # of the file's names
    label = property(lambda self: self.name)
    listeners = ("http",)
    prefix = "/cached/"

    def _check(self):
        super()._check()
        before = self.processes.backend_requests()
        super()._check()
        if self.processes.backend_requests() != before:
            raise BenchError("what it has just passed on is not in its cache")


class CachingWeir(Caching, Weir):
    template = "weir/cache.yaml"

    def command(self):
        command = super().command()
        run([self.binary, "check", "-c", command[-1]])  # one that has no cache refuses the file
        return command


class CachingNginx(Caching, Nginx):
    template = "peers/nginx/cache.conf"


class CachingHaproxy(Caching, Haproxy):
    template = "peers/haproxy/cache.cfg"


class Varnish(Caching, Proxy):
    """One pool whose threads are all there from the start, so that none ends during a measurement and takes its CPU time with it.
    Measured: two pools, shorter or no lingering, other sizes of the log and of its buffers win nothing; the masks win 15 % at 1 KiB."""

    name = "varnish"
    parameters = {
        "thread_pools": 1, "thread_pool_min": 200, "thread_pool_max": 200,
        "timeout_idle": 3600,
        "listen_depth": 8192,
        "vsl_mask": ",".join("-" + tag for tag in UNLOGGED),
        "vsl_space": "1M",
        "http_gzip_support": "off", "http_range_support": "off",
    }

    def command(self):
        self.version = re.search(r"varnish-(\S+)", output_of(self.binary, "-V"))[1]
        options = [word for name, value in self.parameters.items() for word in ("-p", f"{name}={value}")]
        return [self.binary, "-F", "-j", "none", "-n", os.path.join(self.processes.folder, "varnish"), "-s", "malloc,256m",
                "-a", f"127.0.0.1:{self.ports['http']}", "-f", self.fill("peers/varnish/cache.vcl"), *options]


class CachingFloor(Caching, Floor):
    def command(self):
        return [self.binary, str(self.ports["http"]), self.processes.values["FILES"], *SIZES]


def find_caches(processes, given):
    return [CachingWeir(processes, given.weir), CachingNginx(processes, given.nginx), CachingHaproxy(processes, given.haproxy),
            Varnish(processes, given.varnish), CachingFloor(processes, processes.tool("answer"))]
