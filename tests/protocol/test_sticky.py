"""Sticky sessions: the cookie, who gets it, and what becomes of a session when servers come, go and drain."""

import re

import pytest

from harness import free_port, wait_until
from harness.raw_client import get, trusting

from test_balancing import FAST, balanced

PAIR = {"cookie": "weir_id", "ttl": "1h"}


@pytest.fixture
def three(http_backend):
    return [http_backend(name) for name in "abc"]


def sticky(site, servers, sticky=None, **upstream):
    return balanced(site, [s if isinstance(s, dict) else s.address for s in servers], sticky=sticky or PAIR, **upstream)


def visit(weir, cookie=None, **request):
    return get(weir.port(), headers=[("Cookie", f"other=1; weir_id={cookie}")] if cookie else [], **request)


def value_of(answer):
    return re.match(r"weir_id=([^;]*)", answer["set-cookie"])[1]


def session_at(weir, name):
    """A session on the server of that name."""
    for _ in range(50):
        answer = visit(weir)
        if answer.text == name:
            return value_of(answer)
    raise AssertionError(f"no session at {name}")


def patch(weir, server, **change):
    assert weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{server.address}", change).status == 200


def test_the_cookie_is_set_once_and_says_no_address(site, three):
    weir = sticky(site, three)
    answer = visit(weir)
    value, attributes = answer["set-cookie"].split("; ", 1)
    assert attributes == "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
    assert re.fullmatch(r"weir_id=[A-Za-z0-9_-]{22}", value)
    assert "set-cookie" not in visit(weir, value_of(answer)).fields


def test_a_client_stays_where_it_is_on_every_worker(site, three):
    weir = sticky(site, three)
    for name in "abc":
        cookie = session_at(weir, name)
        assert {visit(weir, cookie).text for _ in range(8)} == {name}


def test_clients_without_the_cookie_are_spread(site, three):
    weir = sticky(site, three)
    assert {visit(weir).text for _ in range(30)} == set("abc")


@pytest.mark.parametrize("value", ["", "nonsense", "127.0.0.1:80", "A" * 22, "A" * 5000, "../../etc", '"quoted"'],
                         ids=["empty", "word", "address", "shape", "long", "path", "quoted"])
def test_a_cookie_that_is_not_ours_is_as_none(site, three, value):
    weir = sticky(site, three)
    answer = visit(weir, value or None)
    assert answer.status == 200 and value_of(answer) != value


def test_under_tls_the_cookie_is_secure(site, three):
    weir = site([{"upstream": "app"}], {"app": {"servers": [s.address for s in three], "sticky": PAIR}},
                {"web": {"tls": {"self_signed": ["localhost"]}}})
    answer = get(weir.port(), tls=trusting(None, verify=False), server_name="localhost")
    assert answer["set-cookie"].endswith("; Secure")


def test_ttl_0_is_a_session_of_the_browser(site, three):
    weir = sticky(site, three, {"cookie": "weir_id", "ttl": 0})
    assert "Max-Age" not in visit(weir)["set-cookie"]


def test_the_backends_own_cookies_stay(site, http_backend):
    from harness import Reply
    backend = http_backend("a", handler=lambda _: Reply(body=b"a", headers=[("Set-Cookie", "x=1")]))
    weir = sticky(site, [backend])
    cookies = visit(weir).fields.all("set-cookie")
    assert cookies[0] == "x=1" and cookies[1].startswith("weir_id=")


def test_a_session_outlives_a_restart_and_another_list(site, three, http_backend):
    weir = sticky(site, three)
    cookie = session_at(weir, "b")
    extra = [http_backend(name) for name in "de"]
    again = sticky(site, [extra[0], three[1], extra[1], three[0]])
    answer = visit(again, cookie)
    assert answer.text == "b" and "set-cookie" not in answer.fields


def test_a_session_outlives_a_reload_that_changes_the_list(site, three, http_backend):
    weir = sticky(site, three)
    cookie = session_at(weir, "c")
    config = weir.config
    config["upstreams"]["app"]["servers"] = [http_backend("z").address, three[2].address]
    weir.write(config)
    assert weir.admin.reload().status == 200
    assert {visit(weir, cookie).text for _ in range(4)} == {"c"}


def test_with_another_secret_cookies_are_not_believed(site, three):
    one = sticky(site, three, {**PAIR, "secret": "one"})
    two = sticky(site, three, {**PAIR, "secret": "two"})
    cookie = session_at(one, "a")
    assert "set-cookie" not in visit(one, cookie).fields
    assert "set-cookie" in visit(two, cookie).fields


@pytest.mark.parametrize("change", [{"state": "drain"}, {"weight": 0}])
def test_sessions_stay_on_a_server_that_is_drained_and_new_ones_do_not_come(site, three, change):
    weir = sticky(site, three)
    cookie = session_at(weir, "a")
    patch(weir, three[0], **change)
    for _ in range(4):
        answer = visit(weir, cookie)
        assert answer.text == "a" and "set-cookie" not in answer.fields
    assert {visit(weir).text for _ in range(12)} == {"b", "c"}


def test_a_session_whose_server_is_down_gets_another_and_its_cookie(site, three):
    weir = sticky(site, three)
    cookie = session_at(weir, "a")
    patch(weir, three[0], state="down")
    answer = visit(weir, cookie)
    assert answer.text in "bc"
    assert visit(weir, value_of(answer)).text == answer.text
    assert "set-cookie" not in visit(weir, value_of(answer)).fields


def test_a_session_whose_server_fails_its_check_gets_another(site, three):
    weir = sticky(site, three, health_check={**FAST, "path": "/healthz"})
    cookie = session_at(weir, "a")
    three[0].close()
    wait_until(lambda: not weir.admin.server_is_up("app", three[0].address))
    assert visit(weir, cookie).text in "bc"


def test_a_session_whose_server_cannot_be_reached_goes_on_elsewhere(site, three):
    weir = sticky(site, three)
    cookie = session_at(weir, "a")
    three[0].close()
    answer = visit(weir, cookie)
    assert answer.status == 200 and answer.text in "bc" and "set-cookie" in answer.fields


def test_weirs_own_errors_set_no_cookie(site):
    weir = balanced(site, [f"127.0.0.1:{free_port()}"], sticky=PAIR)
    answer = visit(weir)
    assert answer.status == 502 and "set-cookie" not in answer.fields


def test_the_cookie_goes_with_hashed_keys_too(site, three):
    weir = sticky(site, three, balance="maglev", hash_key="path")
    answer = visit(weir, target="/one")
    cookie = value_of(answer)
    assert {visit(weir, cookie, target=f"/{n}").text for n in range(10)} == {answer.text}
