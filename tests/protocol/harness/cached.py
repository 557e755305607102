"""A site with a cache as one test sees it: a path of its own on a weir that the file's tests share."""

import time

from .cache_status import cache_status
from .deadline import wait_until

MiB = 1 << 20


class Cached:
    def __init__(self, weir, origin, path, listener="web", host="t.example"):
        self.weir, self.origin, self.path, self.listener, self.host = weir, origin, path, listener, host

    def on(self, *answers, path=None):
        self.origin.on(path or self.path, *answers)

    @property
    def asked(self):
        """How many requests for this path came to the origin."""
        return self.origin.count(self.path)

    def get(self, headers=(), path=None, method="GET", **options):
        options.setdefault("host", self.host)
        return self.weir.get(path or self.path, self.listener, headers=headers, method=method, **options)

    def is_stored(self, headers=(), path=None):
        """Whether the cache answers without the origin, by its own word."""
        return self.get([("Cache-Control", "only-if-cached"), *headers], path).status != 504

    def await_stored(self, headers=(), path=None):
        wait_until(lambda: self.is_stored(headers, path), 10, f"{path or self.path} in the cache")

    def hit(self, headers=(), path=None, **options):
        """An answer that must come from the store."""
        before = self.asked
        answer = self.get(headers, path, **options)
        assert cache_status(answer).is_hit, answer.fields
        assert self.asked == before, "the origin was asked"
        return answer

    def forwarded(self, headers=(), path=None, **options):
        """An answer that must come from the origin."""
        before = self.origin.count()
        answer = self.get(headers, path, **options)
        assert self.origin.count() > before, f"the origin was not asked: {answer.fields}"
        assert not cache_status(answer).is_hit, answer.fields
        return answer

    def keep(self):
        """Has it stored, however often the store wants to be asked before it lets a large object in."""
        def stored():
            self.get(seconds=30)
            return self.is_stored()
        wait_until(stored, 20, f"{self.path} in the cache")

    def store(self, *answers, headers=()):
        """Has the path's answer stored, and gives it."""
        if answers:
            self.on(*answers)
        answer = self.forwarded(headers)
        self.await_stored(headers)
        return answer


def outlive(seconds):
    """Freshness is counted in seconds of the real clock: this is the one way to make an answer grow old."""
    end = time.monotonic() + seconds + 1.05
    wait_until(lambda: time.monotonic() > end, seconds + 30, "time passing", every=0.05)
