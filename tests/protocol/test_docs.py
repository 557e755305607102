"""The documentation is true: the reference is what the binary prints, every whole example passes `weir check`, links lead somewhere."""

import os
import re
import subprocess

import pytest
import yaml

from docs_pages import PAGES, blocks, read
from harness import run_cli
from harness.weir import BINARY, ROOT

PLACES = ("/etc/weir/", "/var/log/weir/", "/srv/")  # absolute paths of examples, which a test has under its own folder


YAML = [(f"{page}:{b.line}", b) for page in PAGES for b in blocks(read(page)) if b.kind == "yaml"]
EXAMPLES = [pytest.param(b.text, id=place) for place, b in YAML if b.is_whole]
PARTS = [pytest.param(b.text, id=place) for place, b in YAML if not b.file]


def values(node, *keys):
    """Every text under one of the keys, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in keys:
                yield from [value] if isinstance(value, str) else value if isinstance(value, list) else []
            yield from values(value, *keys)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, *keys)


def entries(node):
    """Every map that names a certificate."""
    if isinstance(node, dict):
        if "cert" in node:
            yield node
        for value in node.values():
            yield from entries(value)
    elif isinstance(node, list):
        for value in node:
            yield from entries(value)


def write(folder, name, content):
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)
    os.chmod(path, 0o600)


def make_files(folder, config, authority):
    """What the example names: certificates with their keys, authorities, ticket keys, folders of files, error pages."""
    leaf = authority.leaf("example.com", "*.example.com", "localhost")
    contents = {}
    for kind, path in zip(("cert", "key"), leaf):
        with open(path, "rb") as f:
            contents[kind] = f.read()
    with open(authority.file, "rb") as f:
        contents["ca"] = f.read()
    for entry in entries(config):
        write(folder, entry["cert"], contents["cert"] + (b"" if "key" in entry else contents["key"]))
        if "key" in entry:
            write(folder, entry["key"], contents["key"])
    for name in values(config, "ca", "client_ca"):
        write(folder, name, contents["ca"])
    for name in values(config, "ticket_keys"):
        write(folder, name, os.urandom(80))
    for root in [*values(config, "files"), *values([r.get("files") for r in config.get("routes") or []], "root")]:
        os.makedirs(os.path.join(folder, root), exist_ok=True)
    for pages in pages_of(config):
        for name in pages.values():
            write(folder, name, b"<h1>sorry</h1>\n")


def pages_of(config):
    routes = config.get("routes") or []
    return [r["errors"] for r in [*routes, config.get("defaults") or {}] if isinstance(r.get("errors"), dict)]


def check_example(text, folder, authority):
    for place in PLACES:
        text = text.replace(place, f"{folder}{place}")
        os.makedirs(f"{folder}{place}", exist_ok=True)
    make_files(folder, yaml.safe_load(text), authority)
    write(folder, "weir.yaml", text.encode())
    return run_cli("check", "-c", "weir.yaml", cwd=folder)


def test_there_are_examples():
    assert len(EXAMPLES) >= 30


def whole(text):
    """A part of a file with the least that makes a whole one of it."""
    part = yaml.safe_load(text)
    for key, value in {"listeners": {"web": {"bind": ":8080"}}, "routes": [{"respond": {"body": "hello"}}]}.items():
        if key not in part:
            text += yaml.dump({key: value})
    return text


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_passes_the_check(text, tmp_path, authority):
    done = check_example(text, str(tmp_path), authority)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("text", PARTS)
def test_a_part_of_a_file_passes_the_check(text, tmp_path, authority):
    done = check_example(whole(text), str(tmp_path), authority)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_an_example_with_a_fault_is_noticed(tmp_path, authority):
    done = check_example("# weir.yaml\nlisteners: { web: { bindd: ':8080' } }\n", str(tmp_path), authority)
    assert done.returncode == 1 and "did you mean" in done.stderr


def test_the_reference_is_up_to_date():
    done = subprocess.run([os.path.join(ROOT, "tools", "make-reference"), "--print"], capture_output=True, text=True,
                          env={**os.environ, "WEIR_BINARY": BINARY})
    assert done.returncode == 0, done.stderr
    assert done.stdout == read("docs/configuration.md"), "run tools/make-reference"


# -- links -----------------------------------------------------------------------------------------------------------------------

def anchors(page):
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(plain)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", read(page))):
        path, _, anchor = target.partition("#")
        if "://" in target or path.endswith(".png"):
            continue
        other = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(os.path.join(ROOT, other)) or anchor and anchor not in anchors(other):
            broken.append(target)
    assert not broken


def test_the_index_names_every_page():
    index = set(re.findall(r"\]\(([\w-]+\.\w+)\)", read("docs/README.md")))
    assert {os.path.basename(p) for p in PAGES if p.startswith("docs/")} - {"README.md"} <= index


def test_the_map_of_the_code_names_files_that_are_there():
    text = read("docs/internals.md")
    gone, folder = [], None
    for line in text[text.index("## The map"):].splitlines():
        if heading := re.match(r"`(\w+)/`$", line):
            folder = heading[1]
        elif folder and line.startswith("| `"):
            below = folder
            for name in re.findall(r"`([\w/]+)`", line.split("|")[1]):
                below = os.path.join(folder, os.path.dirname(name)) if "/" in name else below
                path = os.path.join(ROOT, below, os.path.basename(name))
                if not any(os.path.exists(path + end) for end in (".c", ".h")):
                    gone.append(os.path.join(below, os.path.basename(name)))
    assert folder and not gone
