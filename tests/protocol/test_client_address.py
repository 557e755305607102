"""Who the client is: the peer, or whom trusted proxies name, by X-Forwarded-For or Forwarded; and what servers are told."""

import pytest

from harness import RawClient

TELL = {"respond": {"body": "${client}"}}
TRUSTED = {"web": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]}}


@pytest.fixture(scope="module")
def behind(module_site):
    return module_site([TELL], listeners=TRUSTED)


@pytest.fixture(scope="module")
def forwarding(module_site, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address}, TRUSTED)


@pytest.fixture(scope="module")
def open_to_all(module_site, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address})


def seen(weir, backend, headers, **options):
    backend.forget()
    assert weir.get(headers=headers, **options).status == 200
    return backend.requests[-1]


@pytest.mark.parametrize("fields,client", [
    ([], "127.0.0.1"),
    (["for=192.0.2.1"], "192.0.2.1"),
    (['for="192.0.2.1:4711"'], "192.0.2.1"),
    (['For="[2001:db8::17]:4711";proto=https'], "2001:db8::17"),
    (['for="[2001:db8::17]"'], "2001:db8::17"),
    (["for=192.0.2.9, for=192.0.2.1"], "192.0.2.1"),
    (["for=192.0.2.1, for=10.1.2.3, for=10.1.2.4"], "192.0.2.1"),
    (['for=192.0.2.1, for="[fd00::1]"'], "192.0.2.1"),
    (["for=192.0.2.1", "for=10.1.2.3"], "192.0.2.1"),
    (["for=10.1.2.3"], "10.1.2.3"),
    (["for=192.0.2.1, for=unknown"], "127.0.0.1"),
    (["for=192.0.2.1, for=_hidden, for=10.1.2.3"], "10.1.2.3"),
    (["for=192.0.2.1, proto=https"], "127.0.0.1"),
    (["for=192.0.2.1, for"], "127.0.0.1"),
    (["for=192.0.2.1;for=192.0.2.2"], "127.0.0.1"),
    (['for=192.0.2.1, for="'], "127.0.0.1"),
    (['for=192.0.2.9, for="x, for=10.1.2.3"'], "127.0.0.1"),
])
def test_forwarded_of_a_trusted_peer_names_the_client(behind, fields, client):
    assert behind.get(headers=[("Forwarded", f) for f in fields]).text == client


def test_x_forwarded_for_goes_before_forwarded(behind):
    assert behind.get(headers=[("Forwarded", "for=192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")]).text == "192.0.2.2"


@pytest.mark.parametrize("field", ["for=192.0.2.1", 'for="[2001:db8::17]"'])
def test_forwarded_of_others_is_not_believed(site, field):
    weir = site([TELL], listeners={"web": {"trusted_proxies": ["127.0.0.2"]}})
    assert weir.get(headers=[("Forwarded", field)]).text == "127.0.0.1"
    assert site([TELL]).get(headers=[("Forwarded", field)]).text == "127.0.0.1"


def test_access_rules_go_by_the_named_client(site):
    weir = site([{"allow": ["192.0.2.0/24"], **TELL}], listeners=TRUSTED)
    assert weir.get(headers=[("Forwarded", "for=192.0.2.1")]).status == 200
    assert weir.get(headers=[("Forwarded", "for=198.51.100.1")]).status == 403
    assert weir.get().status == 403


def test_servers_that_read_x_forwarded_for_are_told_whom_forwarded_names(forwarding, module_backend):
    fields = [("Forwarded", 'for="[2001:db8::17]:4711", for=10.1.2.3')]
    assert seen(forwarding, module_backend, fields)["x-forwarded-for"] == "2001:db8::17, 127.0.0.1"
    assert seen(forwarding, module_backend, [("Forwarded", "for=_hidden")])["x-forwarded-for"] == "127.0.0.1"


def test_forwarded_of_a_trusted_peer_is_appended_to(forwarding, module_backend):
    request = seen(forwarding, module_backend, [("Forwarded", "for=192.0.2.1;proto=https"), ("Forwarded", "for=10.0.0.1")], host="t.example:8080")
    assert request["forwarded"] == 'for=192.0.2.1;proto=https, for=10.0.0.1, for=127.0.0.1;host="t.example:8080";proto=http'


def test_a_broken_one_is_replaced_even_from_a_trusted_peer(forwarding, module_backend):
    request = seen(forwarding, module_backend, [("Forwarded", 'for=192.0.2.1, for="')])
    assert request["forwarded"] == "for=127.0.0.1;host=t.example;proto=http"


def test_forwarded_of_others_is_replaced(open_to_all, module_backend):
    request = seen(open_to_all, module_backend, [("Forwarded", "for=192.0.2.1"), ("Forwarded", "for=192.0.2.2")])
    assert request["forwarded"] == "for=127.0.0.1;host=t.example;proto=http"


def test_where_none_came_none_is_sent(forwarding, open_to_all, module_backend):
    for weir in (forwarding, open_to_all):
        assert "forwarded" not in seen(weir, module_backend, []).fields


def test_an_ipv6_peer_stands_in_brackets_and_quotes(site, module_backend):
    weir = site([{"upstream": "app"}], {"app": module_backend.address}, start=False)
    port = weir.port("six")
    weir.change(listeners={"six": {"bind": [f"[::1]:{port}"]}})
    weir.start()
    module_backend.forget()
    with RawClient(("::1", port)) as client:
        client.get(headers=[("Forwarded", "for=192.0.2.1")])
    request = module_backend.requests[-1]
    assert request["forwarded"] == 'for="[::1]";host=t.example;proto=http'
    assert request["x-forwarded-for"] == "::1"
