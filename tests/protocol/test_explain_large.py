"""`weir explain` of large configurations: what it tells of a route, and what that costs, has a bound."""

import json


def test_a_route_of_thousands_of_hosts_is_told_in_one_line(site):
    hosts = [f"host-{i}.some.example" for i in range(3000)]
    weir = site([{"name": "many", "host": hosts, "respond": {"body": "many"}}, {"name": "other", "respond": {"body": "other"}}], workers=1)
    body = {"method": "GET", "url": f"http://t.example:{weir.port('web')}/"}
    answer = json.loads(weir.admin.request("POST", "/api/v1/explain", body).body)
    many = next(step for step in answer["routes"] if step["route"] == "many")
    assert many["by"] == "host"
    assert many["reason"].startswith("host t.example is not host-0.some.example, host-1.some.example")
    assert many["reason"].endswith("or one of 2990 more")
