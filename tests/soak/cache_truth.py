"""What each object of cache_chaos.py is: everything follows from its number, the version (a span of time) and, for some, the request's
X-Kind. So the origin needs no memory, several of them agree, and a client can tell a true answer from any other."""

import math
import random
import zlib

LARGEST = 8 << 20
OBJECTS, HOT = 500, 40
PREFIXES, TAGS, KINDS = 10, 7, 3
SLOWEST = 2.0  # seconds that a slow body takes
POOL = random.Random(1).randbytes(2 * LARGEST)


class Truth:
    """Object `number`. Times are seconds of CLOCK_MONOTONIC, which all processes share."""

    def __init__(self, number):
        rng = random.Random(number)
        self.number = number
        self.path = f"/p{number % PREFIXES}/o{number}"
        self.tag = number % TAGS
        self.framing = rng.choices(["length", "chunked", "close"], [70, 20, 10])[0]
        self.period = rng.choice([3, 10, 1000])  # a version lives that long
        self.etag = rng.choice(["", "", "", '"', 'W/"'])
        self.bits = rng.choice([14, 23])  # of the longest: every other one is small, so that there are many requests
        self.ttl = rng.choice([1, 5, 60, 60])
        self.stale = rng.choice([0, 0, 4])  # while revalidated, and on errors
        trouble = rng.random()
        self.is_private = trouble < 0.08
        self.varies = 0.08 <= trouble < 0.2
        self.is_cut = 0.2 <= trouble < 0.24
        self.is_slow = 0.24 <= trouble < 0.28
        self.fails = 0.28 <= trouble < 0.3

    def version(self, now):
        return math.floor(now / self.period)

    def etag_of(self, version):
        return f'{self.etag}{self.number}-{version}"' if self.etag else None

    def body(self, version, kind):
        """A view of the bytes."""
        chance = zlib.crc32(f"{self.number}/{version}/{kind if self.varies else 0}".encode())
        size = int(2 ** (chance % 10007 / 10007 * self.bits))
        begin = zlib.crc32(chance.to_bytes(4, "big")) % LARGEST
        return memoryview(POOL)[begin:begin + size]

    @property
    def stale_limit(self):
        return self.ttl + self.stale


def number_of(path):
    return int(path.rsplit("o", 1)[1])
