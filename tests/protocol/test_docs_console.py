"""What the pages of docs/ show is what happens: each command of a ```console block is run, on a machine of its own (docs_runner.py)."""

import os
import subprocess
import sys

import pytest

import docs_pages
from harness.weir import BINARY

RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "docs_runner.py")
SHOWN = [page for page in docs_pages.PAGES if any(b.kind == "console" for b in docs_pages.blocks(docs_pages.read(page)))]


def _has_namespaces():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "true"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _has_namespaces(), reason="needs root and network namespaces")]


def do_page(page, folder):
    return subprocess.run(["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", sys.executable, RUNNER, str(page), BINARY, str(folder)], capture_output=True, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, timeout=400)


@pytest.mark.parametrize("page", SHOWN)
def test_a_page_shows_what_happens(page, tmp_path):
    done = do_page(page, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


PAGE = """
```yaml
# weir.yaml
listeners: { web: { bind: ":8080" } }
routes: [{ upstream: app }]
upstreams: { app: { servers: [10.0.0.1:8000] } }
```

```console
$ curl http://localhost:8080/a
10.0.0.1:8000 GET /%s
```
"""


@pytest.mark.parametrize("shown, status", [("a", 0), ("…", 0), ("b", 1)])
def test_what_a_page_shows_wrongly_is_noticed(shown, status, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE % shown)
    done = do_page(page, tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("page.md:10: $ curl" in done.stdout) == (status == 1)
