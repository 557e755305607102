"""What `weir check` warns of: for each rule a file that deserves it and a twin, hardly different, that does not; and the example
of each warning goes where the warning says, in a running weir."""

import copy
import datetime
import json
import os
import re
import shlex
import ssl
import subprocess
import urllib.parse

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from harness import Authority, run_cli
from harness.raw_client import get
from harness.weir import ROOT

LINE = re.compile(r"^(.*?):(\d+):(\d+): warning: (.*) \[([a-z0-9-]+)\]$")
TWO = ["127.0.0.1:9000", "127.0.0.1:9001"]


def whole(listeners=None, routes=None, upstreams=None, **rest):
    """A configuration with nothing to warn of but what is given."""
    config = {
        "listeners": listeners or {"web": {"bind": ["127.0.0.1:8080"]}},
        "routes": routes or [{"upstream": "app"}],
        "upstreams": upstreams if upstreams is not None else {"app": {"servers": TWO}},
        **rest,
    }
    return copy.deepcopy(config)


def app(**options):
    return whole(upstreams={"app": {"servers": TWO, **options}})


def routes(*routes):
    """Routes that answer by themselves, but where they say what they do."""
    actions = {"upstream", "split", "redirect", "respond", "files"}
    return whole(routes=[r if actions & set(r) else {**r, "respond": {"body": r["name"]}} for r in routes], upstreams={})


def write(tmp_path, config):
    path = tmp_path / "weir.yaml"
    path.write_text(config if isinstance(config, str) else yaml.dump(config, sort_keys=False))
    return path


def check(tmp_path, config, *arguments):
    """(exit status, {"errors": …, "warnings": …})"""
    done = run_cli("check", "-c", write(tmp_path, config), "--json", *arguments, cwd=tmp_path)
    said = json.loads(done.stdout)
    assert said["errors"] == [], said["errors"]
    return done.returncode, said


def rules_of(tmp_path, config):
    return [w.get("rule") for w in check(tmp_path, config)[1]["warnings"]]


# -- certificates ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


class Certificates:
    def __init__(self, folder):
        self.folder = folder
        self.ca = Authority(folder)
        self.a = self.pair("a.example")
        self.b = self.pair("b.example")
        self.wild = self.pair("*.example.com")
        self.short = self.pair("a.example", days=10)
        self.long = self.pair("a.example", days=29)
        self.enough = self.pair("a.example", days=40)
        self.expired = self.pair("a.example", days=-3)
        self.open = self.pair("a.example")
        os.chmod(self.open["key"], 0o644)
        self.alone = self.published(chain=False)
        self.chained = self.published(chain=True)
        self.disordered = self.joined(self.a, self.b["cert"], "disordered")
        self.ordered = self.joined(self.a, self.ca.file, "ordered")
        self.old_ca = self.own("old CA", days=-2)
        self.late_ca = self.own("late CA", days=5)

    def pair(self, *names, days=90):
        cert, key = self.ca.leaf(*names, days=days)
        os.chmod(key, 0o600)
        return {"cert": cert, "key": key}

    def joined(self, pair, behind, name):
        path = self.folder / f"{name}.pem"
        path.write_bytes(open(pair["cert"], "rb").read() + open(behind, "rb").read())
        return {"cert": str(path), "key": pair["key"]}

    def published(self, chain):
        """Of an authority that says where its certificate can be fetched, as public ones do."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.utcnow()
        where = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/ca.der"))
        cert = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")]))
                .issuer_name(self.ca.cert.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=90))
                .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
                .add_extension(x509.AuthorityInformationAccess([where]), critical=False)
                .sign(self.ca.key, hashes.SHA256()))
        base = str(self.folder / ("chained" if chain else "alone"))
        with open(base + ".pem", "wb") as f:
            f.write(cert.public_bytes(serialization.Encoding.PEM))
            if chain:
                f.write(open(self.ca.file, "rb").read())
        fd = os.open(base + ".key", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        os.close(fd)
        return {"cert": base + ".pem", "key": base + ".key"}

    def own(self, name, days):
        """A file with the certificate of an authority that ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.utcnow()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=30))
                .not_valid_after(now + datetime.timedelta(days=days))
                .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
        path = self.folder / (name.replace(" ", "-") + ".pem")
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return str(path)


def secure(*pairs, route=None, **tls):
    """One listener with TLS, and a route for a.example."""
    return whole({"web": {"bind": ["127.0.0.1:8443"], "tls": {"certificates": list(pairs), **tls}}},
                 [route or {"host": "a.example", "upstream": "app"}])


def self_signed(names, bind="127.0.0.1:8443", host=None):
    route = {"upstream": "app", **({"host": host} if host else {})}
    return whole({"web": {"bind": [bind], "tls": {"self_signed": names}}}, [route])


# -- each rule: what deserves it, and what does not ---------------------------------------------------------------------------------

def retried(**retries):
    timeout = retries.pop("whole", "10s")
    return whole(routes=[{"upstream": "app", "timeout": timeout, "retries": retries}])


def timed(timeouts, timeout="10s", **route):
    return whole(routes=[{"upstream": "app", "timeout": timeout, "timeouts": timeouts, **route}])


# rule, words of the warning, the file that deserves it, the twin that does not; files are functions of the certificates
CASES = {
    # routes
    "covered by methods and conditions": (
        "unreachable-route", "already goes to route",
        lambda c: routes({"name": "a", "path": "/x", "methods": ["GET"]},
                         {"name": "with", "path": "/x", "methods": ["GET"], "headers": {"x-a": {"present": True}}},
                         {"name": "without", "path": "/x", "methods": ["GET"], "headers": {"x-a": {"present": False}}}),
        lambda c: routes({"name": "a", "path": "/x", "methods": ["GET", "POST"]},
                         {"name": "with", "path": "/x", "methods": ["GET"], "headers": {"x-a": {"present": True}}},
                         {"name": "without", "path": "/x", "methods": ["GET"], "headers": {"x-a": {"present": False}}})),
    "covered by a cookie and its absence": (
        "unreachable-route", "already goes to route",
        lambda c: routes({"name": "a"}, {"name": "in", "cookies": {"s": {"present": True}}},
                         {"name": "out", "cookies": {"s": {"present": False}}}),
        lambda c: routes({"name": "a"}, {"name": "in", "cookies": {"s": {"present": True}}},
                         {"name": "out", "cookies": {"s": {"present": False}}, "path": "/x"})),
    "behind a regex for everything": (
        "unreachable-route", 'already goes to route "all"',
        lambda c: routes({"name": "all", "path": {"regex": "^/"}}, {"name": "a", "path": "/a"}),
        lambda c: routes({"name": "all", "path": {"regex": "^/"}}, {"name": "a", "path": {"exact": "/a"}})),
    "a regex behind one for everything": (
        "unreachable-route", 'already goes to route "all"',
        lambda c: routes({"name": "all", "path": {"regex": ".*"}}, {"name": "a", "path": {"regex": "^/a$"}}),
        lambda c: routes({"name": "a", "path": {"regex": "^/a$"}}, {"name": "all", "path": {"regex": ".*"}})),
    "a regex for everything of another host": (
        "unreachable-route", 'already goes to route "all"',
        lambda c: routes({"name": "all", "host": "*.example", "path": {"regex": "^/"}}, {"name": "a", "host": "*.example", "path": "/a"}),
        lambda c: routes({"name": "all", "host": "b.example", "path": {"regex": "^/"}}, {"name": "a", "host": "*.example", "path": "/a"})),
    "a regex without the first slash": (
        "unreachable-route", "no path matches",
        lambda c: routes({"name": "a", "path": {"regex": "^api/"}}),
        lambda c: routes({"name": "a", "path": {"regex": "^/api/"}})),
    "a regex with a query": (
        "unreachable-route", "ends ahead of the",
        lambda c: routes({"name": "a", "path": {"regex": r"^/x\?a=1"}}),
        lambda c: routes({"name": "a", "path": {"regex": r"^/x(\?a=1)?"}})),
    "a host that is passed on": (
        "unreachable-route", "passes that name on undecrypted",
        lambda c: whole({"web": {"bind": ["127.0.0.1:8443"], "tls": {"self_signed": ["a.example"]}, "passthrough": {"b.example": "app"}}},
                        [{"host": "a.example", "upstream": "app"}, {"host": "b.example", "upstream": "app"}]),
        lambda c: whole({"web": {"bind": ["127.0.0.1:8443"], "tls": {"self_signed": ["a.example", "c.example"]}, "passthrough": {"b.example": "app"}}},
                        [{"host": "a.example", "upstream": "app"}, {"host": "c.example", "upstream": "app"}])),
    "an earlier regex takes what a later one is for": (
        "shadowed-route", "hides behind another",
        lambda c: routes({"name": "wide", "path": {"regex": "^/item/"}}, {"name": "narrow", "path": {"regex": "^/item/[0-9]+$"}}),
        lambda c: routes({"name": "narrow", "path": {"regex": "^/item/[0-9]+$"}}, {"name": "wide", "path": {"regex": "^/item/"}})),
    "a regex takes all below a prefix": (
        "shadowed-route", "nothing below",
        lambda c: routes({"name": "all", "path": {"regex": "^/api/"}}, {"name": "a", "path": "/api"}),
        lambda c: routes({"name": "some", "path": {"regex": "^/api/v[0-9]+/"}}, {"name": "a", "path": "/api"})),
    # redirects
    "a redirect to itself": (
        "redirect-loop", "leads back to itself",
        lambda c: routes({"name": "a", "path": "/a", "redirect": "/a/b"}),
        lambda c: routes({"name": "a", "path": {"exact": "/a"}, "redirect": "/a/b"}, {"name": "b", "path": "/a/b"})),
    "to https from https": (
        "redirect-loop", "leads back to itself",
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"]}, "web-tls": {"bind": ["127.0.0.1:8443"], "tls": {"self_signed": ["localhost"]}}},
                        [{"redirect": "https://${host}${target}"}], {}),
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"]}, "web-tls": {"bind": ["127.0.0.1:8443"], "tls": {"self_signed": ["localhost"]}}},
                        [{"listener": "web", "redirect": "https://${host}${target}"}, {"listener": "web-tls", "upstream": "app"}])),
    "two redirects in a ring": (
        "redirect-loop", "leads back to itself",
        lambda c: routes({"name": "a", "path": {"exact": "/a"}, "redirect": "/b"}, {"name": "b", "path": {"exact": "/b"}, "redirect": "/a"}),
        lambda c: routes({"name": "a", "path": {"exact": "/a"}, "redirect": "/b"}, {"name": "b", "path": {"exact": "/b"}, "redirect": "/c"})),
    "a redirect to a host elsewhere": (
        "redirect-loop", "leads back to itself",
        lambda c: routes({"name": "a", "host": ["a.example", "www.a.example"], "redirect": "http://www.a.example:8080${target}"}),
        lambda c: routes({"name": "a", "redirect": "http://www.a.example${target}"})),
    # timeouts
    "a response that may take longer than the route": (
        "timeout-without-effect", "the route's timeout of 10s",
        lambda c: timed({"response": "30s"}), lambda c: timed({"response": "5s"})),
    "a body that may take longer than the route": (
        "timeout-without-effect", "the route's timeout of 10s",
        lambda c: timed({"body": "10s"}), lambda c: timed({"body": "9s"})),
    "a default that a route narrows": (
        "timeout-without-effect", "the route's timeout of 10s",
        lambda c: whole(routes=[{"upstream": "app", "timeouts": {"response": "1m"}}], defaults={"timeout": "10s"}),
        lambda c: whole(routes=[{"upstream": "app", "timeout": "10s"}], defaults={"timeouts": {"response": "1m"}})),
    "a limit that every route is done before": (
        "timeout-without-effect", "each route that it is for has a timeout of at most 10s",
        lambda c: whole(routes=[{"upstream": "app", "timeout": "5s"}, {"path": "/x", "upstream": "app", "timeout": "10s"}], timeouts={"connect": "10s"}),
        lambda c: whole(routes=[{"upstream": "app", "timeout": "5s"}, {"path": "/x", "upstream": "app"}], timeouts={"connect": "10s"})),
    "a listener's limit that every route is done before": (
        "timeout-without-effect", "each route that it is for has a timeout of at most 5s",
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"], "timeouts": {"response": "30s"}}, "more": {"bind": ["127.0.0.1:8081"]}},
                        [{"listener": "web", "upstream": "app", "timeout": "5s"}, {"listener": "more", "upstream": "app"}]),
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"], "timeouts": {"response": "3s"}}, "more": {"bind": ["127.0.0.1:8081"]}},
                        [{"listener": "web", "upstream": "app", "timeout": "5s"}, {"listener": "more", "upstream": "app"}])),
    "an attempt that may take longer than the route": (
        "timeout-without-effect", "no attempt ends by it",
        lambda c: retried(timeout="20s"), lambda c: retried(timeout="2s")),
    "a queue that waits longer than its routes": (
        "timeout-without-effect", "no request waits that long",
        lambda c: whole(routes=[{"upstream": "app", "timeout": "3s"}], upstreams={"app": {
            "servers": [{"address": s, "max_connections": 9} for s in TWO], "queue": {"timeout": "5s"}}}),
        lambda c: whole(routes=[{"upstream": "app", "timeout": "3s"}, {"upstream": "app", "path": "/slow"}], upstreams={"app": {
            "servers": [{"address": s, "max_connections": 9} for s in TWO], "queue": {"timeout": "5s"}}})),
    "a hedge that comes too late": (
        "timeout-without-effect", "no second attempt is ever made",
        lambda c: whole(routes=[{"upstream": "app", "timeout": "3s"}], upstreams={"app": {"servers": TWO, "hedge": {"after": "3s"}}}),
        lambda c: whole(routes=[{"upstream": "app", "timeout": "3s"}], upstreams={"app": {"servers": TWO, "hedge": {"after": "1s"}}})),
    "retries that the route's time is too short for": (
        "retries-do-not-fit", "the last retry never begins",
        lambda c: retried(attempts=3, timeout="5s", on=["timeout"]), lambda c: retried(attempts=1, timeout="5s", on=["timeout"])),
    "retries after timeouts that never come": (
        "retries-do-not-fit", "never leads to a retry",
        lambda c: retried(on=["connect", "timeout"]), lambda c: retried(on=["connect", "timeout"], whole="2m")),
    "a drain that cuts": (
        "drain-too-short", "a stop cuts requests after 5s",
        lambda c: whole(routes=[{"upstream": "app", "timeout": "1m"}], timeouts={"drain": "5s"}),
        lambda c: whole(routes=[{"upstream": "app", "timeout": "1m"}], timeouts={"drain": "90s"})),
    # TLS to servers
    "not verified": (
        "tls-not-verified", "can pretend to be one of them",
        lambda c: app(tls={"verify": False}), lambda c: app(tls={"ca": c.ca.file})),
    "an address without a name": (
        "tls-cannot-be-verified", "public authorities hardly issue",
        lambda c: app(tls=True), lambda c: app(tls={"server_name": "a.example"})),
    "plain to 443": (
        "plain-to-tls-port", "plain HTTP",
        lambda c: whole(upstreams={"app": {"servers": ["a.example:443"]}}),
        lambda c: whole(upstreams={"app": {"servers": ["a.example:443"], "tls": True}})),
    "client certificates that nobody looks at": (
        "client-certificate-unused", "nothing looks at who had one",
        lambda c: secure(c.a, client_ca=c.ca.file, client_verify="optional"),
        lambda c: secure(c.a, client_ca=c.ca.file, client_verify="optional", route={
            "host": "a.example", "upstream": "app", "request_headers": {"set": {"x-client": "${tls_client_cn}"}}})),
    # certificates
    "another host's": (
        "certificate-not-for-host", 'no certificate of listener "web" is for a.example; there are: b.example',
        lambda c: secure(c.b), lambda c: secure(c.a)),
    "a wildcard is one label": (
        "certificate-not-for-host", "is for x.y.example.com",
        lambda c: secure(c.wild, route={"host": ["a.example.com", "x.y.example.com"], "upstream": "app"}),
        lambda c: secure(c.wild, route={"host": ["a.example.com", "*.example.com"], "upstream": "app"})),
    "one of two listeners has it": (
        "certificate-not-for-host", "is for a.example",
        lambda c: whole({"one": {"bind": ["127.0.0.1:1443"], "tls": {"certificates": c.b}}, "two": {"bind": ["127.0.0.1:2443"], "tls": {"certificates": c.a}}},
                        [{"listener": "one", "host": ["a.example", "b.example"], "upstream": "app"}, {"listener": "two", "upstream": "app"}]),
        lambda c: whole({"one": {"bind": ["127.0.0.1:1443"], "tls": {"certificates": c.b}}, "two": {"bind": ["127.0.0.1:2443"], "tls": {"certificates": c.a}}},
                        [{"host": ["a.example", "b.example"], "upstream": "app"}])),
    "a made-up one for another name": (
        "certificate-not-for-host", "is for a.example",
        lambda c: self_signed(["localhost"], host="a.example"), lambda c: self_signed(["localhost", "a.example"], host="a.example")),
    "one that is for nobody": (
        "certificate-unused", "b.example",
        lambda c: secure(c.a, c.b), lambda c: secure(c.a, c.b, route={"host": ["a.example", "*.example"], "upstream": "app"})),
    "expired": ("certificate-ends", "expired on", lambda c: secure(c.expired), lambda c: secure(c.a)),
    "ends in ten days": ("certificate-ends", "the certificate ends in ", lambda c: secure(c.short), lambda c: secure(c.enough)),
    "ends in a month": ("certificate-ends", "the certificate ends in ", lambda c: secure(c.long), lambda c: secure(c.enough)),
    "an authority that has ended": (
        "certificate-ends", "an authority of clients has expired: CN=old CA",
        lambda c: secure(c.a, client_ca=c.old_ca), lambda c: secure(c.a, client_ca=c.ca.file)),
    "an authority of servers that ends": (
        "certificate-ends", "an authority of servers ends in ",
        lambda c: app(tls={"ca": c.late_ca}), lambda c: app(tls={"ca": c.ca.file})),
    "without its intermediate": (
        "certificate-chain", "holds the certificate alone", lambda c: secure(c.alone), lambda c: secure(c.chained)),
    "in no order": (
        "certificate-chain", "certificate 1 of the file is not issued by the one behind it", lambda c: secure(c.disordered), lambda c: secure(c.ordered)),
    "a key for all to read": (
        "key-readable", "(mode 644)", lambda c: secure(c.open), lambda c: secure(c.a)),
    "made up, towards the world": (
        "self-signed", "clients from elsewhere", lambda c: self_signed(["www.site.org"], ":8443"), lambda c: self_signed(["localhost"], ":8443")),
    "nothing to staple": (
        "ocsp-without-effect", "it names no OCSP responder", lambda c: secure(c.a, ocsp_stapling=True), lambda c: secure(c.a, ocsp_stapling=False)),
    # health
    "panic at the first": (
        "check-without-effect", "with one server of 2 down",
        lambda c: app(health_check=True, panic_threshold="60%"), lambda c: app(health_check=True, panic_threshold="50%")),
    "the only server": (
        "check-without-effect", "with one server of 1 down",
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "health_check": True, "panic_threshold": "10%"}}),
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "health_check": True}})),
    "every status is good": (
        "check-without-effect", "every status is good",
        lambda c: app(health_check={"expect": ["100-599"]}), lambda c: app(health_check={"expect": ["200-499"]})),
    "a check longer than its interval": (
        "check-interval", "may take 5s, and the next is due after 2s",
        lambda c: app(health_check={"timeout": "5s"}), lambda c: app(health_check={"timeout": "5s", "interval": "10s"})),
    "a check as long as its interval": (
        "check-interval", "may take 3s, and the next is due after 3s",
        lambda c: app(health_check={"timeout": "3s", "interval": "3s"}), lambda c: app(health_check={"interval": "1s"})),
    "none may be out": (
        "outlier-without-effect", "no server is ever taken out", lambda c: app(outlier={"max_ejected": "0%"}), lambda c: app(outlier={"max_ejected": "10%"})),
    "nothing counts": (
        "outlier-without-effect", "neither errors nor latency", lambda c: app(outlier={"errors": 0}), lambda c: app(outlier={"errors": 0, "latency": "3x"})),
    "the only one stays in": (
        "outlier-without-effect", "the only server is never taken out",
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "outlier": True}}),
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "outlier": {"max_ejected": "100%"}}})),
    # settings without effect
    "an upstream that nothing sends to": (
        "upstream-unused", "no route and no listener",
        lambda c: whole(upstreams={"app": {"servers": TWO}, "other": {"servers": TWO}}),
        lambda c: whole(routes=[{"split": {"app": 1, "other": 0}}], upstreams={"app": {"servers": TWO}, "other": {"servers": TWO}})),
    "no weight": (
        "upstream-without-server", "each request is a 503",
        lambda c: whole(upstreams={"app": {"servers": [{"address": TWO[0], "weight": 0}]}}),
        lambda c: whole(upstreams={"app": {"servers": [{"address": TWO[0], "weight": 0}, TWO[1]]}})),
    "backups alone": (
        "option-without-effect", "every server is a backup",
        lambda c: whole(upstreams={"app": {"servers": [{"address": s, "backup": True} for s in TWO]}}),
        lambda c: whole(upstreams={"app": {"servers": [TWO[0], {"address": TWO[1], "backup": True}]}})),
    "a zone that no server has": (
        "option-without-effect", "no server has that zone",
        lambda c: app(prefer_zone="a"),
        lambda c: whole(upstreams={"app": {"prefer_zone": "a", "servers": [TWO[0], {"address": TWO[1], "zone": "a"}]}})),
    "a queue that nobody waits in": (
        "option-without-effect", "nothing ever waits", lambda c: app(queue=True),
        lambda c: whole(upstreams={"app": {"queue": True, "servers": [TWO[0], {"address": TWO[1], "max_connections": 5}]}})),
    "sticky to one": (
        "option-without-effect", "one server to stay on",
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "sticky": {"cookie": "s"}}}), lambda c: app(sticky={"cookie": "s"})),
    "a hedge with one": (
        "option-without-effect", "no second server",
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "hedge": True}}), lambda c: app(hedge=True)),
    "a slow start of one": (
        "option-without-effect", "none to share with",
        lambda c: whole(upstreams={"app": {"servers": TWO[:1], "slow_start": "10s"}}), lambda c: app(slow_start="10s")),
    "panic without a check": (
        "option-without-effect", "no server ever counts as ill", lambda c: app(panic_threshold="20%"),
        lambda c: app(panic_threshold="20%", health_check=True)),
    "connections that are not used again": (
        "option-without-effect", "each is one client's alone", lambda c: app(proxy_protocol="v2", keepalive={"idle": 9}),
        lambda c: app(keepalive={"idle": 9})),
    "nothing to negotiate by": (
        "option-without-effect", "it is http1", lambda c: app(protocol="auto"), lambda c: app(protocol="auto", tls={"ca": c.ca.file})),
    "retries where nobody is asked": (
        "option-without-effect", 'answered by "respond"',
        lambda c: routes({"name": "a", "retries": {"attempts": 2}}),
        lambda c: {**routes({"name": "a"}), "defaults": {"retries": {"attempts": 2}}}),
    "a backoff of one retry": (
        "option-without-effect", "only the second retry", lambda c: whole(routes=[{"upstream": "app", "retries": {"backoff": "1s"}}]),
        lambda c: whole(routes=[{"upstream": "app", "retries": {"backoff": "1s", "attempts": 2}}])),
    "a priority without a queue": (
        "option-without-effect", "no \"queue\"", lambda c: whole(routes=[{"upstream": "app", "priority": "high"}]),
        lambda c: whole(routes=[{"upstream": "app", "priority": "high"}],
                        upstreams={"app": {"queue": True, "servers": [{"address": s, "max_connections": 5} for s in TWO]}})),
    "a POST twice": (
        "retries-all-methods", "may be done again", lambda c: whole(routes=[{"upstream": "app", "retries": {"methods": "all"}}]),
        lambda c: whole(routes=[{"upstream": "app", "methods": ["GET"], "retries": {"methods": "all"}}])),
    "a cache of POSTs": (
        "cache-without-effect", "nothing is stored", lambda c: whole(routes=[{"upstream": "app", "methods": ["POST"], "cache": True}]),
        lambda c: whole(routes=[{"upstream": "app", "methods": ["POST", "GET"], "cache": True}])),
    # edges
    "a listener that no route is for": (
        "listener-without-route", "is a 404",
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"]}, "more": {"bind": ["127.0.0.1:8081"]}}, [{"listener": "web", "upstream": "app"}]),
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"]}, "more": {"bind": ["127.0.0.1:8081"]}}, [{"upstream": "app"}])),
    "everybody is a proxy": (
        "clients-behind-proxy", "everybody is believed", lambda c: whole({"web": {"bind": [":8080"], "trusted_proxies": ["0.0.0.0/0"]}}),
        lambda c: whole({"web": {"bind": [":8080"], "trusted_proxies": ["10.0.0.0/8"]}})),
    "the proxy is judged": (
        "clients-behind-proxy", "lets nobody in", lambda c: whole(routes=[{"upstream": "app", "allow": ["10.0.0.0/8"]}]),
        lambda c: whole({"web": {"bind": ["127.0.0.1:8080"], "trusted_proxies": ["127.0.0.1"]}}, [{"upstream": "app", "allow": ["10.0.0.0/8"]}])),
    "admin for all": (
        "admin-open", "stop weir", lambda c: whole(admin={"bind": "0.0.0.0:9900"}), lambda c: whole(admin={"bind": "127.0.0.1:9900"})),
    "a token that can be guessed": (
        "admin-token-weak", "has 6 characters", lambda c: whole(admin={"bind": "0.0.0.0:9900", "token": "secret"}),
        lambda c: whole(admin={"bind": "0.0.0.0:9900", "token": "0123456789abcdef"})),
}
# By a test of its own: OpenSSL, as Debian sets it up, takes no such certificate.
APART = {"certificate-weak"}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_deserves_it_is_warned_of(tmp_path, certs, name):
    rule, words, bad, _ = CASES[name]
    status, said = check(tmp_path, bad(certs))
    assert status == 0 and said["good"] is True
    found = [w for w in said["warnings"] if w["rule"] == rule]
    assert found and len(said["warnings"]) == len(found), said["warnings"]
    assert any(words in w["message"] for w in found), found
    for w in found:
        assert w["file"].endswith("weir.yaml") and w["line"] >= 1 and w["column"] >= 1 and w["path"] and w["mend"]


@pytest.mark.parametrize("name", CASES)
def test_its_near_twin_is_not(tmp_path, certs, name):
    assert rules_of(tmp_path, CASES[name][3](certs)) == []


@pytest.mark.parametrize("bits", [1024, 2048])
def test_a_weak_key_that_the_system_would_take_is_warned_of(tmp_path, bits):
    lax = tmp_path / "openssl.cnf"
    lax.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCipherString = DEFAULT@SECLEVEL=0\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", f"rsa:{bits}", "-nodes", "-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem",
                    "-days", "90", "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example"], check=True, capture_output=True)
    os.chmod(tmp_path / "k.pem", 0o600)
    path = write(tmp_path, secure({"cert": "c.pem", "key": "k.pem"}))
    done = run_cli("check", "-c", path, "--json", cwd=tmp_path, environment={**os.environ, "OPENSSL_CONF": str(lax)})
    said = json.loads(done.stdout)
    assert [w["rule"] for w in said["warnings"]] == (["certificate-weak"] if bits < 2048 else []), said
    assert bits == 2048 or "an RSA key of 1024 bits" in said["warnings"][0]["message"]


def rules(tmp_path):
    listed = run_cli("check", "--rules", cwd=tmp_path).stdout.splitlines()
    return [line.split()[0] for line in listed]


def test_every_rule_is_tried(tmp_path):
    assert {case[0] for case in CASES.values()} | APART == set(rules(tmp_path))


def test_every_rule_has_its_section_in_the_documentation(tmp_path):
    with open(os.path.join(ROOT, "docs", "check.md"), encoding="utf-8") as f:
        sections = re.findall(r"^### `([a-z0-9-]+)`$", f.read(), re.M)
    assert sections == rules(tmp_path)


# -- how it is told -----------------------------------------------------------------------------------------------------------------

LOST = """\
listeners:
  web: { bind: ["127.0.0.1:80"] }
routes:
  - name: all
    host: a.example
    path: { regex: "^/" }
    respond: true
  - host: a.example
    path: /x
    respond: true
"""


def test_a_warning_is_one_line_as_compilers_print_it(tmp_path):
    done = run_cli("check", "-c", write(tmp_path, LOST).name, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ('weir.yaml:8:5: warning: routes[1]: no request can reach it: "GET http://a.example/x" already goes to route "all" '
                           "(weir.yaml:4:5); take it out, or narrow that route's regex [unreachable-route]\n")
    assert done.stdout == "weir.yaml: good (1 listeners, 2 routes, 0 upstreams, 0 tests passed, 1 warning)\n"


def test_strict_takes_warnings_for_errors(tmp_path):
    path = write(tmp_path, LOST)
    done = run_cli("check", "-c", path, "--strict", cwd=tmp_path)
    assert done.returncode == 1 and "unreachable-route" in done.stderr and "good" not in done.stdout
    assert run_cli("check", "-c", path, "--strict", "--allow", "unreachable-route", cwd=tmp_path).returncode == 0
    assert run_cli("check", "-c", write(tmp_path, yaml.dump(whole())), "--strict", cwd=tmp_path).returncode == 0


def test_a_rule_that_there_is_not_is_a_wrong_call(tmp_path):
    done = run_cli("check", "-c", write(tmp_path, LOST), "--allow", "unreachable-rout", cwd=tmp_path)
    assert done.returncode == 2 and 'did you mean "unreachable-route"?' in done.stderr


def test_json_has_errors_and_warnings_with_their_places(tmp_path):
    done = run_cli("check", "-c", write(tmp_path, LOST).name, "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["good"] and said["errors"] == [] and said["routes"] == 2
    assert said["warnings"] == [{
        "file": "weir.yaml", "line": 8, "column": 5, "path": "routes[1]", "rule": "unreachable-route",
        "message": 'no request can reach it: "GET http://a.example/x" already goes to route "all" (weir.yaml:4:5)',
        "mend": "take it out, or narrow that route's regex", "example": "GET http://a.example/x"}]
    done = run_cli("check", "-c", write(tmp_path, LOST.replace("regex", "regx").replace("web:", "wob:")).name, "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and not said["good"] and said["warnings"] == []
    assert said["errors"] == [{"file": "weir.yaml", "line": 6, "column": 13, "path": "routes[0].path.regx",
                               "message": "unknown key (one of: prefix, exact, regex)", "mend": 'did you mean "regex"?'}]


def test_warnings_stand_in_the_order_of_the_file(tmp_path):
    config = whole(upstreams={"app": {"servers": TWO, "tls": {"verify": False}}, "b": {"servers": TWO}}, admin={"bind": ":9900"})
    lines = [w["line"] for w in check(tmp_path, config)[1]["warnings"]]
    assert len(lines) == 3 and lines == sorted(lines)


# -- examples go where the warning says -----------------------------------------------------------------------------------------------

WITH_EXAMPLE = [name for name, case in CASES.items() if case[0] in ("unreachable-route", "shadowed-route", "redirect-loop")]


def ask(method, url, headers):
    parts = urllib.parse.urlsplit(url)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    return get(parts.port, target, headers, host=parts.netloc, method=method, tls=tls)


def parse_example(example):
    words = shlex.split(example)
    headers = [tuple(part.strip() for part in words[i + 1].split(":", 1)) for i, word in enumerate(words) if word == "-H"]
    return words[0], words[1], headers


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_example_goes_where_the_warning_says(tmp_path, certs, site, name):
    config = CASES[name][2](certs)
    for listener in config["listeners"].values():
        del listener["bind"]
    weir = site(config["routes"], config["upstreams"], config["listeners"])
    done = run_cli("check", "-c", weir.config_file, "--json")
    told = [w for w in json.loads(done.stdout)["warnings"] if w.get("rule") == CASES[name][0]]
    for w in told:
        if "example" not in w:
            assert "passes that name on" in w["message"] or "the path" in w["message"] or "no path" in w["message"]
            continue
        method, url, headers = parse_example(w["example"])
        answer = ask(method, url, headers)
        if w["rule"] == "redirect-loop":
            location = re.search(r'is sent to "([^"]*)"', w["message"])[1]
            assert answer.status == 308 and answer["location"] == location
        else:
            taker = re.search(r'goes to route "([^"]*)"', w["message"])[1]
            assert (answer.status, answer.text) == (200, taker)
            explained = run_cli("explain", "-c", weir.config_file, *shlex.split(w["example"]))
            assert f'"{taker}"' in explained.stdout or taker in explained.stdout


# -- a running weir tells them too ------------------------------------------------------------------------------------------------------

def test_a_start_and_a_reload_tell_the_warnings_once(site):
    weir = site([{"name": "all", "path": {"regex": "^/"}, "respond": True}, {"name": "lost", "path": "/x", "respond": True}])
    assert weir.log().count("unreachable-route") == 1
    answer = weir.admin.reload()
    assert answer.status == 200
    [warning] = json.loads(answer.body)["warnings"]
    assert warning["rule"] == "unreachable-route" and warning["path"] == "routes[1]" and warning["line"] > 1
    assert warning["example"].startswith("GET http://") and warning["mend"] and warning["text"] in weir.log()
    assert weir.log().count("unreachable-route") == 2
    done = run_cli("reload", "-s", weir.socket_file)
    assert done.returncode == 0 and warning["text"] in done.stderr
    weir.change(routes=[{"name": "all", "respond": True}])
    assert json.loads(weir.admin.reload().body)["warnings"] == []


def test_a_log_of_json_has_them_as_json(site):
    weir = site([{"name": "all", "path": {"regex": "^/"}, "respond": True}, {"name": "lost", "path": "/x", "respond": True}], log={"format": "json"})
    told = [line for line in map(json.loads, weir.log().splitlines()) if "warning" in line]
    assert len(told) == 1 and "unreachable-route" in told[0]["warning"]


# -- nothing else is warned of ---------------------------------------------------------------------------------------------------------

def test_the_example_of_every_feature_deserves_no_warning():
    done = run_cli("check", "-c", os.path.join(ROOT, "config.yaml.example"), "--strict", cwd=ROOT)
    assert done.returncode == 0, done.stderr


ORDINARY = {
    "a prefix in another": routes({"name": "all"}, {"name": "api", "path": "/api"}, {"name": "v1", "path": "/api/v1"}),
    "an exact path in a prefix": routes({"name": "all", "path": "/a"}, {"name": "one", "path": {"exact": "/a"}}),
    "a regex among prefixes": routes({"name": "all"}, {"name": "images", "path": {"regex": r"\.(png|jpe?g)$"}}, {"name": "api", "path": "/api"}),
    "regexes side by side": routes({"name": "year", "path": {"regex": "^/[0-9]{4}$"}}, {"name": "number", "path": {"regex": "^/[0-9]{4,8}$"}},
                                   {"name": "word", "path": {"regex": "^/[^/]+$"}}, {"name": "rest", "path": {"regex": "^/.+/"}}),
    "hosts in one another": routes({"name": "any"}, {"name": "wild", "host": "*.example.com"}, {"name": "exact", "host": "a.example.com"},
                                   {"name": "deeper", "host": "*.a.example.com"}),
    "a canary": routes({"name": "all"}, {"name": "canary", "headers": {"x-canary": "1"}}, {"name": "beta", "cookies": {"beta": {"present": True}}, "path": "/b"},
                       {"name": "both", "headers": {"x-canary": "1"}, "cookies": {"beta": {"present": True}}}),
    "methods apart": routes({"name": "read", "methods": ["GET"]}, {"name": "write", "methods": ["POST", "PUT"]}, {"name": "rest"}),
    "regexes of one header": routes({"name": "low", "headers": {"x-n": {"regex": "^[a-m]"}}}, {"name": "high", "headers": {"x-n": {"regex": "^[n-z]"}}}, {"name": "rest"}),
    "a redirect to the other host": routes({"name": "bare", "host": "a.example", "redirect": "http://www.a.example:8080${target}"},
                                           {"name": "www", "host": "www.a.example"}),
    "the slash behind": routes({"name": "bare", "path": {"exact": "/a"}, "redirect": "/a/"}, {"name": "a", "path": "/a"}),
    "a redirect after a rewrite": routes({"name": "blog", "path": "/blog/", "rewrite": {"prefix": "/articles/"}, "redirect": "${path}"}, {"name": "rest"}),
    "a regex that takes its own": routes({"name": "old", "path": {"regex": "^/old/(.*)"}, "redirect": "/new"}, {"name": "all"}),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_ordinary_is_not_warned_of(tmp_path, name):
    assert check(tmp_path, ORDINARY[name])[1]["warnings"] == []
