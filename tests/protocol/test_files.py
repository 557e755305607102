"""Static files: what is served, how conditionally, in which parts, and that there is no way out of the root."""

import email.utils
import os
import re

import pytest

from harness.http_backend import pattern

HTML = b"<!doctype html><title>index</title>"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    outer = tmp_path_factory.mktemp("files")
    base = outer / "public"
    (base / "sub" / "deep").mkdir(parents=True)
    (base / "listed").mkdir()
    (outer / "secret.txt").write_text("SECRET")
    (outer / "public-evil").mkdir()
    (outer / "public-evil" / "s.txt").write_text("SECRET")
    (base / "index.html").write_bytes(HTML)
    (base / "sub" / "index.html").write_bytes(b"sub index")
    (base / "sub" / "page.txt").write_bytes(b"0123456789")
    (base / "empty.txt").write_bytes(b"")
    (base / "with space.txt").write_bytes(b"space")
    (base / "per%cent.txt").write_bytes(b"percent")
    (base / "café.txt").write_bytes(b"utf8")
    (base / "big.bin").write_bytes(pattern(5 << 20))
    (base / "listed" / "one.txt").write_text("1")
    (base / "listed" / "<b>.txt").write_text("2")
    for name in ("a.css", "a.js", "a.json", "a.svg", "a.png", "a.wasm", "a.unknownext", "noext", "a.woff2", "a.TXT"):
        (base / name).write_bytes(b"x")
    os.symlink(outer / "secret.txt", base / "escape.txt")
    os.symlink(outer, base / "escape-dir")
    os.symlink("../../secret.txt", base / "sub" / "relative-escape.txt")
    os.symlink("page.txt", base / "sub" / "inside.txt")
    os.mkfifo(base / "pipe")
    return base


@pytest.fixture(scope="module")
def files(module_site, root):
    return module_site([
        {"files": {"root": str(root)}},
        {"host": "spa.example", "files": {"root": str(root), "fallback": "/index.html"}},
        {"host": "browse.example", "files": {"root": str(root), "browse": True}},
        {"host": "strip.example", "path": "/static/", "files": {"root": str(root)}, "rewrite": {"prefix": "/"}},
    ])


PAGE = "/sub/page.txt"


# -- what is served -----------------------------------------------------------------------------------------------------------

def test_a_file_is_served_with_its_length_and_type(files):
    answer = files.get(PAGE)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer["content-length"] == "10" and answer["content-type"].startswith("text/plain")


@pytest.mark.parametrize("target,body", [("/", HTML), ("/sub/", b"sub index"), ("/empty.txt", b""), ("/with%20space.txt", b"space"),
                                         ("/per%25cent.txt", b"percent"), ("/caf%C3%A9.txt", b"utf8"), ("/sub/../sub/page.txt", b"0123456789"),
                                         ("/sub/page.txt?v=1", b"0123456789"), ("/sub/inside.txt", b"0123456789")])
def test_a_target_gives_its_file(files, target, body):
    answer = files.get(target)
    assert (answer.status, answer.body) == (200, body)


def test_a_directory_without_a_slash_is_redirected_to_the_one_with(files):
    answer = files.get("/sub?x=1")
    assert answer.status in (301, 302, 307, 308)
    assert re.match(r"(https?://t\.example(:\d+)?)?/sub/(\?x=1)?\Z", answer["location"])


def test_a_directory_redirect_never_leads_to_another_host(files):
    """//sub would be read as a host by a browser."""
    answer = files.get("//sub")
    if answer.status in (301, 302, 307, 308):
        assert not answer["location"].startswith("//")


@pytest.mark.parametrize("target,kind", [
    ("/", "text/html"), ("/a.css", "text/css"), ("/a.js", "javascript"), ("/a.json", "application/json"), ("/a.svg", "image/svg+xml"),
    ("/a.png", "image/png"), ("/a.wasm", "application/wasm"), ("/a.woff2", "font/woff2"), ("/a.TXT", "text/plain"),
    ("/a.unknownext", "application/octet-stream"), ("/noext", "application/octet-stream"),
])
def test_the_type_follows_the_extension(files, target, kind):
    assert kind in files.get(target)["content-type"]


def test_head_tells_the_length_and_sends_nothing(files):
    with files.client() as client:
        answer = client.request("HEAD", PAGE)
        assert answer.status == 200 and answer["content-length"] == "10" and answer.body == b""
        assert client.get(PAGE).body == b"0123456789"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_not_written(files, method):
    answer = files.get(PAGE, method=method, body=b"x")
    assert answer.status == 405 and {"get", "head"} <= set(answer.fields.tokens("allow"))


def test_a_large_file_arrives_whole(files):
    answer = files.get("/big.bin", seconds=20)
    assert answer.body == pattern(5 << 20)


def test_a_connection_serves_many_files(files):
    with files.client() as client:
        for _ in range(20):
            assert client.get(PAGE).body == b"0123456789"
            assert client.get("/").body == HTML
            assert client.get("/none").status == 404


def test_a_missing_file_is_a_404(files):
    assert files.get("/none.txt").status == 404
    assert files.get("/sub/page.txt/x").status == 404


def test_a_directory_without_an_index_is_not_listed(files):
    answer = files.get("/listed/")
    assert answer.status in (403, 404) and b"one.txt" not in answer.body


def test_browse_lists_a_directory_with_names_escaped(files):
    answer = files.get("/listed/", host="browse.example")
    assert answer.status == 200 and b"one.txt" in answer.body and b"<b>.txt" not in answer.body


def test_fallback_answers_for_what_is_missing(files):
    answer = files.get("/app/some/view", host="spa.example")
    assert (answer.status, answer.body) == (200, HTML)
    assert files.get(PAGE, host="spa.example").body == b"0123456789"


def test_a_rewritten_prefix_is_taken_off(files):
    assert files.get("/static/sub/page.txt", host="strip.example").body == b"0123456789"


def test_a_file_that_is_no_file_is_not_opened(files):
    assert files.get("/pipe", seconds=5).status in (403, 404)


def test_a_changed_file_is_served_anew(files, root):
    path = root / "changing.txt"
    path.write_text("one")
    assert files.get("/changing.txt").body == b"one"
    path.unlink()
    path.write_text("two, longer")
    from harness import wait_until
    wait_until(lambda: files.get("/changing.txt").body == b"two, longer", 10)


# -- conditions ------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def validators(files):
    answer = files.get(PAGE)
    assert answer["etag"] and answer["last-modified"]
    return answer["etag"], answer["last-modified"]


def date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


def test_the_validators_are_well_formed(validators):
    assert re.match(r'(W/)?"[\x21\x23-\x7e]+"\Z', validators[0])
    assert email.utils.parsedate_to_datetime(validators[1])


@pytest.mark.parametrize("value,status", [("{etag}", 304), ('"other"', 200), ('"a", {etag}, "b"', 304), ("*", 304), ("W/{strong}", 304), ("nonsense", 200)])
def test_if_none_match(files, validators, value, status):
    etag = validators[0]
    answer = files.get(PAGE, headers=[("If-None-Match", value.format(etag=etag, strong=etag.removeprefix("W/")))])
    assert answer.status == status
    if status == 304:
        assert answer["etag"] == etag


@pytest.mark.parametrize("value,status", [("{etag}", 200), ('"other"', 412), ("*", 200)])
def test_if_match(files, validators, value, status):
    if validators[0].startswith("W/") and value == "{etag}":
        pytest.skip("a weak tag never matches strongly")
    assert files.get(PAGE, headers=[("If-Match", value.format(etag=validators[0]))]).status == status


def test_if_modified_since(files, validators):
    modified = email.utils.parsedate_to_datetime(validators[1]).timestamp()
    for when, status in ((modified, 304), (modified + 1000, 304), (modified - 1000, 200)):
        assert files.get(PAGE, headers=[("If-Modified-Since", date(when))]).status == status
    assert files.get(PAGE, headers=[("If-Modified-Since", "nonsense")]).status == 200


def test_if_unmodified_since(files, validators):
    modified = email.utils.parsedate_to_datetime(validators[1]).timestamp()
    assert files.get(PAGE, headers=[("If-Unmodified-Since", date(modified))]).status == 200
    assert files.get(PAGE, headers=[("If-Unmodified-Since", date(modified - 1000))]).status == 412


def test_if_none_match_counts_before_if_modified_since(files, validators):
    headers = [("If-None-Match", '"other"'), ("If-Modified-Since", validators[1])]
    assert files.get(PAGE, headers=headers).status == 200


# -- ranges ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value,first,body", [
    ("bytes=0-0", 0, b"0"), ("bytes=0-3", 0, b"0123"), ("bytes=4-", 4, b"456789"), ("bytes=-3", 7, b"789"), ("bytes=8-100", 8, b"89"),
    ("bytes=-100", 0, b"0123456789"), ("bytes=9-9", 9, b"9"), ("Bytes=2-3", 2, b"23"),
])
def test_one_range(files, value, first, body):
    answer = files.get(PAGE, headers=[("Range", value)])
    if value[0] == "B" and answer.status == 200:
        return
    assert (answer.status, answer.body) == (206, body)
    assert answer["content-range"] == f"bytes {first}-{first + len(body) - 1}/10"


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=100-200", "bytes=-0"])
def test_a_range_past_the_end_is_a_416(files, value):
    answer = files.get(PAGE, headers=[("Range", value)])
    assert answer.status == 416 and answer["content-range"] == "bytes */10"


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "lines=1-2", "nonsense", "bytes=1-2-3", "bytes=0x1-2",
                                   "bytes=99999999999999999999-"])
def test_a_range_that_is_invalid_is_ignored_or_refused(files, value):
    answer = files.get(PAGE, headers=[("Range", value)])
    assert answer.status in (200, 416)
    if answer.status == 200:
        assert answer.body == b"0123456789"


def test_two_ranges_come_as_multipart_or_the_whole(files):
    answer = files.get(PAGE, headers=[("Range", "bytes=0-1,5-6")])
    if answer.status == 200:
        assert answer.body == b"0123456789"
        return
    assert answer.status == 206
    boundary = re.match(r'multipart/byteranges; *boundary="?([^"]+)"?', answer["content-type"])[1].encode()
    parts = answer.body.split(b"--" + boundary)
    assert [p.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for p in parts[1:-1]] == [b"01", b"56"]
    assert b"bytes 0-1/10" in parts[1] and b"bytes 5-6/10" in parts[2] and parts[-1].startswith(b"--")


def test_many_overlapping_ranges_do_not_multiply_the_body(files):
    answer = files.get("/big.bin", headers=[("Range", "bytes=" + ",".join(["0-"] * 500))], seconds=20)
    assert answer.status in (200, 206, 416) and len(answer.body) <= 6 << 20


def test_a_range_within_a_large_file(files):
    answer = files.get("/big.bin", headers=[("Range", "bytes=1000000-3999999")], seconds=20)
    assert answer.status == 206 and answer.body == pattern(5 << 20)[1_000_000:4_000_000]


def test_if_range_with_the_right_tag_gives_the_range(files, validators):
    answer = files.get(PAGE, headers=[("Range", "bytes=0-1"), ("If-Range", validators[0])])
    assert answer.status == (200 if validators[0].startswith("W/") else 206)


def test_if_range_with_another_tag_gives_the_whole(files):
    answer = files.get(PAGE, headers=[("Range", "bytes=0-1"), ("If-Range", '"other"')])
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_a_range_of_a_head_request_is_no_body(files):
    with files.client() as client:
        assert client.request("HEAD", PAGE, [("Range", "bytes=0-1")]).status in (200, 206)
        assert client.get(PAGE).body == b"0123456789"


def test_ranges_are_offered(files):
    assert files.get(PAGE)["accept-ranges"] == "bytes"


# -- no way out ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("target", [
    "/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/%2E%2E/secret.txt", "/.%2e/secret.txt", "/%2e./secret.txt",
    "/..%2fsecret.txt", "/..%2Fsecret.txt", "/%2e%2e%2fsecret.txt", "/sub/..%2f..%2fsecret.txt", "/%252e%252e/secret.txt",
    "/..%252fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt", "/.../secret.txt", "/..;/secret.txt", "/sub/..;/..;/secret.txt",
    "//../secret.txt", "/./../secret.txt", "/%c0%ae%c0%ae/secret.txt", "/%uff0e%uff0e/secret.txt", "/..%00/secret.txt",
    "/sub/page.txt/../../../secret.txt", "/escape.txt", "/escape-dir/secret.txt", "/escape-dir/public/../secret.txt",
    "/sub/relative-escape.txt", "/../public-evil/s.txt", "/..%2fpublic-evil/s.txt", "/escape-dir/", "/secret.txt%00.html",
])
@pytest.mark.parametrize("host", ["t.example", "browse.example"])
def test_nothing_outside_the_root_is_served(files, target, host):
    answer = files.get(target, host=host)
    assert answer.status in (400, 403, 404), answer
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize("target", ["/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt", "/static//../secret.txt"])
def test_nothing_outside_the_root_is_served_behind_a_rewrite(files, target):
    answer = files.get(target, host="strip.example")
    assert answer.status in (400, 403, 404) and b"SECRET" not in answer.body


@pytest.mark.parametrize("target", ["/../secret.txt", "/..%2fsecret.txt", "/escape.txt", "/escape-dir/secret.txt"])
def test_the_fallback_is_no_way_out(files, target):
    assert b"SECRET" not in files.get(target, host="spa.example").body


@pytest.mark.parametrize("target", ["/sub%2Fpage.txt", "/sub%2fpage.txt"])
def test_an_encoded_slash_is_no_separator(files, target):
    assert files.get(target).status in (400, 404)


def test_a_name_with_an_encoded_nul_is_refused(files):
    assert files.get("/sub/page.txt%00").status in (400, 404)
    assert files.get("/sub/page.txt%00.png").status in (400, 404)


def test_a_name_that_is_too_long_is_refused(files):
    assert files.get("/" + "a" * 5000).status in (404, 414, 400)
