#!/usr/bin/python3
"""A server of large bodies that does as its clients tell it: bodies_backend.py HTTP_PORT TCP_PORT

HTTP: GET /SIZE/AT/HOW answers SIZE bytes of NOISE from AT on; HOW is one of
    whole  with a length      chunked  in chunks      end    until the connection's end (HTTP/1.0's way)
    cut    ends in the middle reset    is reset there pause  stops there for a second, then goes on
PUT /SIZE/AT/whole answers "same" when its body is those bytes, else what was wrong; PUT with `reset` resets when half of it has come.

TCP: a line "get SIZE AT HOW" is answered as above, without heads; "put SIZE AT HOW" takes those bytes until the client's end and says
"same"; "echo" sends back what comes, until the client's end."""

import random
import socket
import struct
import sys
import threading
import time

MAX = 4 << 20
NOISE = random.Random(11).randbytes(2 * MAX)


def noise(size, at):
    return memoryview(NOISE)[at:at + size]


def reset(sock):
    """So that the peer gets a RST, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


def send_body(sock, size, at, how):
    """False when the connection is over with it."""
    body, half = noise(size, at), size // 2
    if how == "chunked":
        for n in range(0, size, 100_000):
            piece = body[n:n + 100_000]
            sock.sendall(b"%x\r\n" % len(piece))
            sock.sendall(piece)
            sock.sendall(b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        return True
    if how in ("whole", "end"):
        sock.sendall(body)
        return how == "whole"
    sock.sendall(body[:half])
    if how == "reset":
        reset(sock)
    if how == "pause":
        time.sleep(1)
        sock.sendall(body[half:])
        return True
    return False


def line_of(reader):
    line = reader.readline()
    if not line.endswith(b"\n"):
        raise ConnectionAbortedError
    return line.strip()


def verdict(body, size, at):
    if len(body) != size:
        return b"%d of %d" % (len(body), size)
    return b"same" if body == noise(size, at) else b"WRONG"


def http(sock):
    reader = sock.makefile("rb", 1 << 16)
    while True:
        method, target, _ = line_of(reader).decode().split(" ")
        length = 0
        while line := line_of(reader).lower():
            length = int(line[15:]) if line.startswith(b"content-length:") else length
        _, size, at, how = target.split("/")
        size, at = int(size), int(at)
        if method == "PUT":
            if how == "reset":
                reader.read(length // 2)
                reset(sock)
            said = verdict(reader.read(length), size, at)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
            continue
        framing = {"chunked": b"Transfer-Encoding: chunked\r\n", "end": b"Connection: close\r\n"}.get(how, b"Content-Length: %d\r\n" % size)
        sock.sendall(b"HTTP/1.1 200 OK\r\n%s\r\n" % framing)
        if not send_body(sock, size, at, how):
            return


def tcp(sock):
    reader = sock.makefile("rb", 1 << 16)
    words = line_of(reader).decode().split()
    if words[0] == "echo":
        while data := reader.read1(1 << 16):
            sock.sendall(data)
        return
    size, at, how = int(words[1]), int(words[2]), words[3]
    if words[0] == "get":
        send_body(sock, size, at, how)
    elif how == "reset":
        reader.read(size // 2)
        reset(sock)
    else:
        sock.sendall(verdict(reader.read(), size, at))


def serve(sock, handle):
    with sock:
        sock.settimeout(60)
        try:
            handle(sock)
        except (OSError, ValueError):
            pass


def accept(port, handle):
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    while True:
        sock, _ = listening.accept()
        threading.Thread(target=serve, args=(sock, handle), daemon=True).start()


def main():
    threading.Thread(target=accept, args=(int(sys.argv[1]), http), daemon=True).start()
    accept(int(sys.argv[2]), tcp)


if __name__ == "__main__":
    main()
