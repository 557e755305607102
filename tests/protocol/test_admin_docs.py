"""docs/admin-api.md beside the program: every endpoint of the table is on the page, and every endpoint on the page is in the table. Its
commands are run with those of the other pages."""

import re

from docs_pages import read
from harness.admin_table import endpoints

PAGE = "docs/admin-api.md"


def shape(path):
    """Without the names of what stands in it."""
    return re.sub(r"\{\*?\}|\b[A-Z]{2,}\b", "…", path)


def documented():
    return {(method, shape(path)) for line in read(PAGE).splitlines() for method, path in re.findall(r"`(GET|POST|PATCH|DELETE|PUT) (/[^`\s?]*)`", line)}


def test_every_endpoint_is_documented_and_no_other():
    assert documented() == {(e.method, shape(e.path)) for e in endpoints()} | {("POST", "/api/v1/diff")}


def test_every_endpoint_of_the_page_has_an_example():
    examples = re.findall(r"^[$>] (.*curl .*)$", read(PAGE), re.M)
    without = {"/", "/metrics", "/api/v1/upgrade"}
    for e in endpoints():
        pattern = re.sub(r"\\\{\\?\*?\\\}", "[^ ]+", re.escape(e.path)) + r"(?=['? ]|$)"
        assert e.path in without or any(re.search(pattern, line) for line in examples), e
