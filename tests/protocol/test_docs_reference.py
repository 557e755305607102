"""docs/reference.html: what the binary says of its options and commands, whole in itself, and searchable in a browser from the disk."""

import os
import re
import subprocess

import pytest

from docs_pages import read
from harness.browser import IS_THERE, Browser
from harness.weir import BINARY, ROOT

PAGE = "docs/reference.html"


def articles(text):
    """What each option and command is said to be; examples and the guides' tables change with the guides."""
    found = dict(re.findall(r'<article id="([^"]+)">(.*?)</article>', text, re.S))
    return {k: re.sub(r"<pre>.*?</pre>", "", v, flags=re.S) for k, v in found.items() if not re.search(r"\.\d+$", k)}


def test_it_is_up_to_date():
    done = subprocess.run([os.path.join(ROOT, "tools", "make-reference"), "--html"], capture_output=True, text=True, env={**os.environ, "WEIR_BINARY": BINARY})
    assert done.returncode == 0, done.stderr
    fresh, shown = articles(done.stdout), articles(read(PAGE))
    assert len(fresh) > 200
    assert shown == fresh, "run tools/make-reference"


def test_it_is_whole_in_itself():
    text = read(PAGE)
    assert len(text.encode()) < 400_000
    assert not re.search(r'<(script|link|img|iframe)[^>]*\b(src|href)=|url\(|@import|fetch\(|XMLHttpRequest', text)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert not {t for t in re.findall(r'href="#([^"]+)"', text)} - set(names)


def test_metrics_commands_variables_and_endpoints_are_in_it():
    text = re.sub(r"<[^>]+>", "", read(PAGE))
    for words in ["weir_requests_total", "weir explain", "tls_client_cn", "/api/v1/cache/purge", "proxy_pass", "response_timeout", "upstreams.*.health_check.path"]:
        assert words in text, words


@pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")
def test_it_is_searched_in_a_browser(tmp_path):
    with Browser(tmp_path) as browser:
        browser.open("file://" + os.path.join(ROOT, PAGE))
        shown = browser.run("""
            document.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
            const focused = document.activeElement.id;
            const search = words => {
                box.value = words;
                box.dispatchEvent(new Event("input"));
                return [...document.querySelectorAll("article:not(.off)")].map(a => a.id);
            };
            const keys = search("health_check path"), defaults = search("panic_threshold 0%"), none = search("nosuchword");
            const counted = document.getElementById("count").textContent;
            search("min_version");
            box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
            const at = location.hash;
            const all = search("").length;
            done({ focused, keys, defaults, none, counted, at, all });
        """)
    assert shown["focused"] == "search"
    assert "health_check.path" in shown["keys"] and len(shown["keys"]) < 40
    assert shown["defaults"] and shown["defaults"][0] == "upstream.panic_threshold"
    assert shown["none"] == [] and shown["counted"] == "0 matches"
    assert shown["at"] == "#tls-listener.min_version"
    assert shown["all"] > 300
