"""What the protocol tests are written with: the real binary, scripted peers, and strict readers of what they get."""

from .admin import Admin
from .cache_origin import Answer, CacheOrigin, Gate, fresh, http_date, validated
from .cache_status import CacheStatus, cache_status
from .cached import Cached, outlive
from .certs import Authority
from .deadline import SCALE, Deadline, after, wait_until
from .dns_server import DnsServer
from .http_backend import HttpBackend, Reply
from .message import Fields, ProtocolError
from .metrics import Metrics
from .ports import free_port, release_ports
from .raw_client import RawClient, get
from .raw_server import RawServer
from .tcp_backend import TcpBackend
from .udp import UdpBackend, UdpClient
from .weir import Weir, WeirFailed, run_cli

__all__ = [
    "Admin", "Answer", "Authority", "CacheOrigin", "CacheStatus", "Cached", "Deadline", "DnsServer", "Fields", "Gate",
    "HttpBackend", "Metrics", "ProtocolError", "RawClient", "RawServer", "Reply", "SCALE", "TcpBackend", "UdpBackend", "UdpClient",
    "Weir", "WeirFailed", "after", "cache_status", "free_port", "fresh", "get", "http_date", "outlive", "release_ports", "run_cli",
    "validated", "wait_until",
]
