"""A server of HTTP/2 for the tests, by python's h2: `handler(request)` answers in a thread for each request when given;
otherwise the test takes requests by next_request() and plays the server. What h2 would not send goes out by raw()."""

import queue
import socket
import ssl
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from .deadline import SCALE, Deadline

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Gone(Exception):
    """The stream or its connection is no more."""


class H2Request:
    def __init__(self, peer, stream, headers):
        self.peer, self.stream, self.fields = peer, stream, headers
        self.body, self.trailers, self.ended, self.reset = b"", None, False, None

    def __getitem__(self, name):
        return dict(self.fields).get(name)

    @property
    def path(self):
        return self[":path"]

    def read(self, count=None, seconds=10):
        """Waits for `count` bytes of the body, or its end."""
        self.peer.wait(lambda: self.reset is not None or self.ended or count is not None and len(self.body) >= count, seconds)
        return self.body

    def head(self, status=200, headers=(), end=False):
        with self.peer.lock:
            self.peer.h2.send_headers(self.stream, [(":status", str(status)), *headers], end_stream=end)
            self.peer.flush()

    def inform(self, status, headers=()):
        self.head(status, headers)

    def data(self, body=b"", end=False, seconds=20):
        """Sends within the windows."""
        peer, at = self.peer, 0
        while True:
            with peer.lock:
                if self.reset is not None or peer.gone:
                    raise Gone()
                room = min(peer.h2.local_flow_control_window(self.stream), peer.h2.max_outbound_frame_size, len(body) - at)
                if room > 0 or at == len(body):
                    last = at + room == len(body)
                    peer.h2.send_data(self.stream, body[at:at + room], end_stream=end and last)
                    peer.flush()
                    at += room
                    if last:
                        return
                    continue
            before = peer.events
            peer.wait(lambda: peer.events != before, seconds)

    def end_with(self, trailers):
        with self.peer.lock:
            self.peer.h2.send_headers(self.stream, trailers, end_stream=True)
            self.peer.flush()

    def respond(self, status=200, headers=(), body=b"", trailers=None):
        body = body.encode() if isinstance(body, str) else body
        self.head(status, headers, end=not body and not trailers)
        if body:
            self.data(body, end=not trailers)
        if trailers:
            self.end_with(trailers)

    def refuse(self, code=7):
        with self.peer.lock:
            self.peer.h2.reset_stream(self.stream, code)
            self.peer.flush()


class H2Peer:
    """One connection that weir made."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.requests, self.order, self.pings, self.goaway = {}, [], 0, None
        self.gone, self.reading, self.events, self.window = False, threading.Event(), 0, True
        self.reading.set()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=server.settings)

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.raw(data)

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            self.gone = True

    def wait(self, condition, seconds=10):
        deadline = Deadline(seconds)
        with self.changed:
            while not condition():
                if self.gone:
                    raise Gone()
                if not self.changed.wait(deadline.left()):
                    raise TimeoutError("the condition did not come true")

    def say_goaway(self, last=None, code=0):
        with self.lock:
            last = max(self.requests, default=0) if last is None else last
            self.raw(frame(GOAWAY, 0, 0, struct.pack(">II", last, code)))

    def close(self):
        self.gone = True
        for step in (lambda: self.sock.shutdown(socket.SHUT_RDWR), self.sock.close):
            try:
                step()
            except OSError:
                pass

    def kill(self):
        """A reset instead of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.gone = True
        fd = self.sock.detach() if isinstance(self.sock, ssl.SSLSocket) else None
        if fd is None:
            self.sock.shutdown(socket.SHUT_RD)
            self.sock.close()
        else:
            socket.close(fd)

    def serve(self):
        with self.lock:
            if self.server.greets:
                self.h2.initiate_connection()
                self.flush()
        while not self.gone:
            try:
                data = self.sock.recv(1 << 16)
            except OSError:
                break
            self.reading.wait()
            if not data:
                break
            with self.lock:
                self.server.received += data
                try:
                    for event in self.h2.receive_data(data):
                        self.take(event)
                except h2.exceptions.ProtocolError as error:
                    self.server.failures.append(error)
                    self.flush()
                    break
                self.events += 1
                self.flush()
                self.changed.notify_all()
        with self.lock:
            self.gone = True
            self.changed.notify_all()
        self.close()

    def take(self, event):
        request = self.requests.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            request = H2Request(self, event.stream_id, event.headers)
            self.requests[event.stream_id] = request
            self.order.append(request)
            self.server.arrived(request)
        elif isinstance(event, h2.events.DataReceived):
            request.body += event.data
            if self.window:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            request.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            request.ended = True
        elif isinstance(event, h2.events.StreamReset):
            request.reset = event.error_code
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code


class H2Server:
    def __init__(self, handler=None, settings=None, tls=None, greets=True, port=0):
        self.handler, self.tls, self.greets = handler, tls, greets
        self.settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100, **(settings or {})}
        self.peers, self.failures, self.received = [], [], b""
        self._requests, self._closing = queue.Queue(), False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port))
        self.sock.listen(512)
        self.port = self.sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept_all, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._closing = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for peer in list(self.peers):
            peer.close()

    def arrived(self, request):
        if self.handler:
            threading.Thread(target=self._handle, args=(request,), daemon=True).start()
        else:
            self._requests.put(request)

    def _handle(self, request):
        try:
            self.handler(request)
        except (Gone, OSError, TimeoutError, h2.exceptions.ProtocolError) as error:
            self.failures.append(error)

    def next_request(self, seconds=10):
        try:
            return self._requests.get(timeout=seconds * SCALE)
        except queue.Empty:
            raise TimeoutError(f"no request came; {self.failures}") from None

    def next_requests(self, count, seconds=10):
        return [self.next_request(seconds) for _ in range(count)]

    @property
    def requests(self):
        return [r for p in self.peers for r in p.order]

    def _accept_all(self):
        while not self._closing:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        if self.tls:
            try:
                sock.settimeout(10 * SCALE)
                sock = self.tls.wrap_socket(sock, server_side=True)
                sock.settimeout(None)
            except (OSError, ssl.SSLError) as error:
                self.failures.append(error)
                sock.close()
                return
        peer = H2Peer(self, sock)
        self.peers.append(peer)
        peer.serve()
