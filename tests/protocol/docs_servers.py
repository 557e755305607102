"""The servers of the pages: each says who it is and what it was asked.

    /healthz 200   /fail 500   /slow after 3 s   /head the head as it came   /cached may be stored for a minute   /close closes without an answer
"""

import http.server
import socket
import socketserver
import threading
import time


class _Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # the head and the body in one piece, whatever the machine does

    def do(self):
        path = self.path.split("?")[0]
        length = int(self.headers.get("content-length") or 0)
        if length:
            self.rfile.read(length)
        if path.endswith("/close"):
            self.close_connection = True
            return
        if path.endswith("/slow"):
            time.sleep(3)
        me = "%s:%d" % self.server.server_address[:2]
        body = f"{me} {self.command} {self.path}\n"
        if path.endswith("/head"):
            body = f"{self.requestline}\n" + "".join(f"{k}: {v}\n" for k, v in self.headers.items())
        self.send_response(500 if path.endswith("/fail") else 200)
        if path.endswith("/cached"):
            self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do

    def log_message(self, *_):
        pass


class _Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%s:%d " % (self.server.server_address[0].encode(), self.server.server_address[1]) + line)


class _Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(b"%s:%d " % (self.server.server_address[0].encode(), self.server.server_address[1]) + data, self.client_address)


class _Stream(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments):
        self.open = set()
        super().__init__(*arguments)

    def process_request(self, request, address):
        self.open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_):
        pass


class Server:
    def __init__(self, host, port, kind):
        kinds = {"http": (_Stream, _Http), "tcp": (_Stream, _Lines), "udp": (socketserver.ThreadingUDPServer, _Datagram)}
        cls, handler = kinds[kind]
        self._server = cls((host, port), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        for connection in list(getattr(self._server, "open", ())):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
