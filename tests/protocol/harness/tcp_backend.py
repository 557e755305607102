"""A plain TCP backend: greets with its name if asked to, then echoes; a half-close is answered by a half-close."""

import threading

from .raw_server import RawServer


class TcpBackend:
    def __init__(self, greeting=b"", port=0):
        self.greeting = greeting
        self._lock = threading.Lock()
        self._server = RawServer(self._serve, port=port)
        self.port, self.address = self._server.port, self._server.address

    @property
    def connection_count(self):
        return len(self._server.connections)

    def close(self):
        self._server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _serve(self, connection):
        if self.greeting:
            connection.send(self.greeting)
        sock = connection.sock
        sock.settimeout(None)
        while True:
            data = sock.recv(1 << 16)
            if not data:
                sock.shutdown(1)
                return
            sock.sendall(data)
