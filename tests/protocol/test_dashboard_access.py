"""The dashboard for everybody: by keyboard alone, on a phone, in light and dark with enough contrast, and to a screen reader."""

import os
import re

import pytest

from harness.browser import IS_THERE
from harness.dashboard import Dashboard
from harness.weir import ROOT

pytestmark = pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")
OK = [{"name": "own", "respond": {"body": "ok"}}]
# Which colours stand upon which: text 4.5:1, the lines of charts and the edges of controls 3:1 (WCAG 2.1, 1.4.3 and 1.4.11).
TEXT = [("text", "page"), ("text", "card"), ("dim", "page"), ("dim", "card"), ("accent", "card"), ("accent", "page"), ("on-accent", "accent"), ("good", "good-back"),
        ("warn", "warn-back"), ("bad", "bad-back"), ("good", "card"), ("warn", "card"), ("bad", "card")]
DRAWN = [(name, "card") for name in ("one", "two", "three", "four", "five", "edge")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with Dashboard(tmp_path_factory.mktemp("browser")) as it:
        it.viewport(1280, 1000)
        yield it


def luminance(colour):
    def linear(n):
        n /= 255
        return n / 12.92 if n <= 0.03928 else ((n + 0.055) / 1.055) ** 2.4
    red, green, blue = (linear(int(colour[i:i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, two):
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def schemes():
    with open(os.path.join(ROOT, "admin", "assets", "page.css")) as f:
        blocks = re.findall(r":root[^{]*\{([^{}]*--page[^{}]*)\}", f.read())
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", b)) for b in blocks]


def test_colours_have_contrast_in_both_schemes():
    light, by_hand, dark = schemes()
    assert by_hand == dark and light.keys() == dark.keys()
    for colours in (light, dark):
        wrong = [(a, b, round(contrast(colours[a], colours[b]), 2)) for pairs, least in ((TEXT, 4.5), (DRAWN, 3)) for a, b in pairs
                 if contrast(colours[a], colours[b]) < least]
        assert not wrong


def test_no_text_of_the_page_has_too_little_contrast_as_it_is_drawn(page, site):
    weir = site(OK)
    page.show(weir)
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        found = page.run("""
            const opaque = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
            done([...document.querySelectorAll("main *, header *")].filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
                .map(e => [e.tagName + " " + e.textContent.slice(0, 30), getComputedStyle(e).color, opaque(e)]));
        """)
        def hexed(rgb):
            return "#" + "".join(f"{int(n):02x}" for n in re.findall(r"\d+", rgb)[:3])
        assert len(found) > 80
        assert not [f for f in found if contrast(hexed(f[1]), hexed(f[2])) < 4.5]
    page.scheme("light")


def test_it_follows_the_system_and_its_own_button(page, site):
    weir = site(OK)
    page.show(weir)

    def back():
        return page.run("done(getComputedStyle(document.body).backgroundColor);")
    page.scheme("dark")
    dark = back()
    page.scheme("light")
    light = back()
    assert light != dark
    page.click("#theme")
    page.click("#theme")
    assert page.text("theme") == "☾ dark" and back() == dark
    page.click("#theme")
    assert back() == light


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_does_not_scroll_sideways(page, site, http_backend, width):
    weir = site([{"name": "a-route-with-quite-a-long-name-that-goes-on", "path": "/some/long/path/that/is/not/short", "upstream": "app"}], {"app": http_backend().address})
    page.viewport(width, 844, phone=True)
    try:
        page.show(weir)
        page.await_value(lambda: page.rows("servers-table"), lambda r: r and len(r[0]) > 2)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true); done(null);")
        for fragment in ("", "#/request/nothing"):
            page.run("location.hash = arguments[0]; setTimeout(() => done(null), 50);", fragment)
            inner, wide = page.run("done([innerWidth, document.documentElement.scrollWidth]);")
            assert wide <= width and inner <= width, (fragment, inner, wide)
    finally:
        page.viewport(1280, 1000)


def tab_to(page, wanted, most=80):
    """Presses the key until that element has the focus."""
    for _ in range(most):
        page.press("Tab")
        if page.focused() == wanted or page.focused().startswith(wanted):
            return
    raise AssertionError(f"{wanted} is not reached; the last was {page.focused()}")


def test_a_server_is_drained_by_keyboard_alone(page, site, http_backend):
    one, two = http_backend(), http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [one.address, two.address]}})
    page.show(weir)
    page.await_value(lambda: page.row("servers-table", one.address), bool)
    page.press("Tab")
    assert page.focused() == "a Skip to what is wrong"
    tab_to(page, f"button Change app {one.address}")
    ring = page.run("const s = getComputedStyle(document.activeElement); done([s.outlineStyle, parseFloat(s.outlineWidth)]);")
    assert ring[0] == "solid" and ring[1] >= 2
    page.press("Enter")
    page.await_value(lambda: page.run("done(document.getElementById('dialog').open);"), bool)
    page.press("ArrowDown")  # from up to drain
    page.press("Enter")
    assert "drain" in page.said()[0]
    # The row was painted over meanwhile, and the focus is where it was.
    assert page.focused().startswith(f"button Change app {one.address}")


def test_escape_closes_a_question_and_changes_nothing(page, site):
    weir = site(OK)
    page.show(weir)
    page.run("document.getElementById('reload').focus(); done(null);")
    page.press("Enter")
    page.await_value(lambda: page.run("done(document.getElementById('dialog').open);"), bool)
    page.press("Escape")
    page.await_value(lambda: page.focused(), lambda f: f == "reload")
    assert weir.admin.status()["reloads"] == 0


def test_sections_fold_and_charts_are_read_by_keyboard(page, site):
    weir = site(OK)
    page.show(weir)
    page.run("document.querySelector('#routes summary').focus(); done(null);")
    page.press("Enter")
    assert page.run("done(document.getElementById('routes').open);") is False
    page.press("Enter")
    assert page.run("done(document.getElementById('routes').open);") is True
    page.await_text("legend-rate", lambda t: "now" in t)
    page.await_value(lambda: page.run("done(points.length);"), lambda n: n >= 3)
    page.run("document.getElementById('chart-rate').focus(); done(null);")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    assert "ago" in page.run("done(document.getElementById('chart-rate').getAttribute('aria-label'));")


def test_updates_can_be_stopped(page, site):
    weir = site(OK)
    page.show(weir)
    page.click("#pause")
    before = page.text("requests-total")
    weir.get()
    page.await_value(lambda: page.run("done(newest.requests);"), lambda n: n == 1)
    assert page.text("requests-total") == before and page.run("done(document.getElementById('pause').getAttribute('aria-pressed'));") == "true"
    page.click("#pause")
    assert page.text("requests-total") == "1"


def test_everything_has_a_name_and_tables_are_tables(page, site, http_backend):
    weir = site([{"name": "app", "upstream": "app", "cache": True}], {"app": http_backend().address})
    weir.get()
    page.show(weir)
    page.await_value(lambda: page.rows("servers-table"), lambda r: r and len(r[0]) > 2)
    wrong = page.run("""
        const wrong = [];
        for (const e of document.querySelectorAll("button, input, select, textarea, a")) {
            const label = e.id && document.querySelector(`label[for="${e.id}"]`) || e.closest("label");
            if (!(e.getAttribute("aria-label") || e.textContent.trim() || label)) wrong.push(e.outerHTML);
        }
        for (const t of document.querySelectorAll("table")) {
            if (!t.caption || !t.caption.textContent) wrong.push(t.id + ": no caption");
            for (const th of t.querySelectorAll("th")) if (!th.scope) wrong.push(t.id + ": a head without a scope");
        }
        const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
        if (new Set(ids).size !== ids.length) wrong.push("an id twice");
        if (!document.documentElement.lang || !document.title || document.querySelectorAll("h1").length !== 1 || document.querySelectorAll("main").length !== 1) wrong.push("the document");
        done(wrong);
    """)
    assert wrong == []
    assert page.run("done([...document.querySelectorAll('[role=status], [aria-live], [role=alert]')].map(e => e.id));") == \
        ["state", "login-error", "message-text", "verdict-title", "explain-text"]
    # A state is a word and a sign, not a colour alone.
    assert re.match(r"✓ up", page.rows("servers-table")[0][1])
