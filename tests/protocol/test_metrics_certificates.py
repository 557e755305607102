"""Certificates in /metrics: a series each."""


def test_a_certificate_that_stands_twice_is_one_series(site, authority, localhost_cert):
    own = {"cert": localhost_cert[0], "key": localhost_cert[1]}
    cert, key = authority.leaf("other.example")[:2]
    weir = site([{"respond": {"body": "x"}}], listeners={"web": {"tls": {"certificates": [own, {"cert": cert, "key": key}, own]}}})
    names = [labels["name"] for labels, _ in weir.admin.metrics().matching("weir_tls_certificate_expiry_seconds")]
    assert sorted(names) == ["localhost", "other.example"]
