"""The load: one process a protocol, each with its connections, until told to stop. Every answer is checked byte by byte; what goes wrong
is kept with its time, so that it can be laid beside the kills, reloads and upgrades."""

import asyncio
import multiprocessing
import time

REQUESTS_A_CONNECTION = 200
ROUNDS_A_STREAM = 100


class Load:
    """start() and stop(); then `result` is {"done": n, "failures": [(time, kind, detail)], "latencies": sorted sample in seconds}."""

    def __init__(self, name, kind, port, connections, tls_ca=None, server_name=None):
        self.name = name
        self._stop = multiprocessing.Event()
        self._queue = multiprocessing.Queue()
        self._progress = multiprocessing.Value("Q", 0)
        self._process = multiprocessing.Process(
            target=_run, args=(kind, port, connections, tls_ca, server_name, self._stop, self._queue, self._progress), daemon=True)
        self.result = None

    @property
    def done(self):
        return self._progress.value

    def start(self):
        self._process.start()

    def stop(self):
        self._stop.set()
        self.result = self._queue.get(timeout=60)
        self._process.join(20)


def _run(kind, port, connections, ca, server_name, stop, queue, progress):
    context = None
    if ca:
        import ssl
        context = ssl.create_default_context(cafile=ca)
    worker = _Worker(port, context, server_name, stop, progress)
    asyncio.run(worker.run(worker.http if kind == "http" else worker.tcp, connections))
    worker.latencies.sort()
    queue.put({"done": progress.value, "failures": worker.failures, "latencies": worker.latencies})


class _Worker:
    def __init__(self, port, context, server_name, stop, progress):
        self.port, self.context, self.server_name, self.stop, self.progress = port, context, server_name, stop, progress
        self.failures, self.latencies = [], []
        self.count = 0

    async def run(self, one, connections):
        await asyncio.gather(*(self._forever(one, n) for n in range(connections)))

    async def _forever(self, one, number):
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                await one(number, turn)
            except _Failed as failed:
                self.failures.append((time.time(), failed.kind, failed.detail))
            except OSError as error:
                self.failures.append((time.time(), "connect", repr(error)))
            except asyncio.TimeoutError:
                self.failures.append((time.time(), "timeout", f"connection {number}"))
            await asyncio.sleep(0)

    async def _open(self):
        options = {"ssl": self.context, "server_hostname": self.server_name} if self.context else {}
        return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20, **options), 10)

    async def http(self, number, turn):
        """One connection: keep-alive requests until the server announces its end."""
        reader, writer = await self._open()
        try:
            for n in range(REQUESTS_A_CONNECTION):
                if self.stop.is_set():
                    return
                size = 100_000 if n % 50 == 49 else 1024
                name = b"%d-%d-%d" % (number, turn, n)
                begin = time.monotonic()
                writer.write(b"GET /%d/%s HTTP/1.1\r\nHost: soak.example\r\n\r\n" % (size, name))
                if await asyncio.wait_for(self._response(reader, size, name, n), 20):
                    return
                self._finished(begin)
        finally:
            writer.close()

    async def _response(self, reader, size, name, nth):
        """Reads and checks one. True when the connection is over."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise _Failed("closed in a head" if error.partial else ("closed without an answer" if nth else "new connection closed without an answer"), name)
        except ConnectionError as error:
            raise _Failed("reset without an answer", repr(error))
        status = head[9:12]
        lower = head.lower()
        if status != b"200":
            raise _Failed("status " + status.decode(), name)
        if b"content-length: %d\r\n" % size not in lower:
            raise _Failed("wrong length", head)
        try:
            body = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _Failed("cut body", name)
        if body != ((name + b"\n") * (size // (len(name) + 1) + 1))[:size]:
            raise _Failed("WRONG BODY", (name, body[:100]))
        return b"\r\nconnection: close\r\n" in lower

    async def tcp(self, number, turn):
        reader, writer = await self._open()
        try:
            for n in range(ROUNDS_A_STREAM):
                if self.stop.is_set():
                    return
                data = b"%08d%08d%08d" % (number, turn, n) * 40
                begin = time.monotonic()
                writer.write(data)
                try:
                    got = await asyncio.wait_for(reader.readexactly(len(data)), 20)
                except (asyncio.IncompleteReadError, ConnectionError):
                    raise _Failed("stream lost" if n else "new stream lost", f"{number}-{turn}-{n}")
                if got != data:
                    raise _Failed("WRONG BYTES", got[:100])
                self._finished(begin)
        finally:
            writer.close()

    def _finished(self, begin):
        self.count += 1
        self.progress.value = self.count
        if self.count % 16 == 0 and len(self.latencies) < 200_000:
            self.latencies.append(time.monotonic() - begin)


class _Failed(Exception):
    def __init__(self, kind, detail):
        super().__init__(kind)
        self.kind, self.detail = kind, detail
