"""What packaging/ holds: the Debian package built and installed, the manual, completion, containers' and Kubernetes' files."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from harness.deadline import SCALE
from harness.weir import BINARY, ROOT, binary_is_sanitized, run_cli

PACKAGING = os.path.join(ROOT, "packaging")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="installing a package needs root")


def run(*arguments, **options):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=60 * SCALE, **options)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    if not shutil.which("dpkg-shlibdeps"):
        pytest.skip("needs dpkg-dev")
    return run(os.path.join(PACKAGING, "make-deb"), BINARY, tmp_path_factory.mktemp("deb")).strip()


# -- the Debian package ---------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_the_package_depends_on_the_libraries_that_the_program_links(package):
    depends = run("dpkg-deb", "-f", package, "Depends")
    assert all(name in depends for name in ("libssl3", "libevent-core", "libyaml-0-2", "libnghttp2", "libc6"))
    assert run("dpkg-deb", "-f", package, "Version").strip() == run_cli("version").stdout.split()[1]


class Installation:
    """A package in a folder, by dpkg itself."""

    def __init__(self, root):
        self.root = str(root)
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "var/log"):
            os.makedirs(os.path.join(self.root, folder))
        open(self.path("var/lib/dpkg/status"), "w").close()
        with open(self.path("etc/passwd"), "w") as f:
            f.write("root:x:0:0:root:/root:/bin/bash\n")
        with open(self.path("etc/group"), "w") as f:
            f.write("root:x:0:\nadm:x:4:\n")

    def path(self, name):
        return os.path.join(self.root, name)

    def dpkg(self, *arguments):
        return run("dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", *arguments,
                   env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def number_of(self, name, file):
        with open(self.path(f"etc/{file}")) as f:
            return int(dict(line.split(":")[0:3:2] for line in f)[name])


@pytest.mark.slow
@needs_root
def test_the_package_is_installed_with_its_user_and_purged(package, tmp_path):
    installed = Installation(tmp_path / "root")
    installed.dpkg("--install", package)
    assert "install ok installed" in open(installed.path("var/lib/dpkg/status")).read()

    user, group = installed.number_of("weir", "passwd"), installed.number_of("weir", "group")
    assert user > 0 and group > 0
    logs, file = os.stat(installed.path("var/log/weir")), os.stat(installed.path("etc/weir/weir.yaml"))
    assert (logs.st_uid, logs.st_mode & 0o777) == (user, 0o750)
    assert (file.st_uid, file.st_gid, file.st_mode & 0o777) == (0, group, 0o640)
    for name in ("usr/bin/weir", "lib/systemd/system/weir.service", "lib/systemd/system/weir.socket", "etc/logrotate.d/weir",
                 "usr/share/man/man1/weir.1.gz", "usr/share/man/man5/weir.yaml.5.gz", "usr/share/bash-completion/completions/weir",
                 "usr/share/doc/weir/prometheus/weir.rules.yml", "usr/share/doc/weir/prometheus/prometheus.yml", "usr/share/doc/weir/grafana/weir.json"):
        assert os.path.exists(installed.path(name)), name
    if not binary_is_sanitized():  # which it is no more once it is stripped
        assert run(installed.path("usr/bin/weir"), "version") == run_cli("version").stdout

    with open(installed.path("etc/weir/weir.yaml"), "a") as f:
        f.write("# mine\n")
    installed.dpkg("--install", package)  # once more: what was changed by hand stays
    assert open(installed.path("etc/weir/weir.yaml")).read().endswith("# mine\n")
    installed.dpkg("--purge", "weir")
    for name in ("usr/bin/weir", "usr/lib/weir", "etc/weir", "var/log/weir", "lib/systemd/system/weir.service"):
        assert not os.path.lexists(installed.path(name)), name


def test_the_file_of_the_package_is_good(tmp_path):
    with open(os.path.join(PACKAGING, "weir.yaml")) as f:
        text = f.read()
    (tmp_path / "weir.yaml").write_text(text.replace("/var/log/weir", str(tmp_path)))
    done = run_cli("check", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 0 and not done.stderr, done.stderr
    (tmp_path / "all.yaml").write_text(re.sub(r"(?m)^#( *(?:web-tls:|- host|upstreams:|  app:|    servers|    health|    upstream|  upstream|    bind))", r"\1",
                                              text.replace("/var/log/weir", str(tmp_path))))
    done = run_cli("check", "-c", tmp_path / "all.yaml")  # what it shows in comments is good too
    assert "upstreams" in open(tmp_path / "all.yaml").read() and done.returncode == 0, done.stderr


def test_the_unit_and_logrotate_name_what_the_package_has():
    with open(os.path.join(PACKAGING, "weir.service")) as f:
        unit = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line and line[0] not in "#[")
    with open(os.path.join(PACKAGING, "weir.yaml")) as f:
        file = yaml.safe_load(f)
    assert unit["Type"] == "notify" and unit["ExecStart"] == "/usr/bin/weir run -c /etc/weir/weir.yaml"
    assert file["admin"]["socket"] in unit["ExecReload"] and unit["RuntimeDirectory"] == "weir"
    assert file["log"]["access"]["output"].startswith("/var/log/weir/") and unit["LogsDirectory"] == "weir"
    with open(os.path.join(PACKAGING, "weir.logrotate")) as f:
        assert f.read().startswith("/var/log/weir/*.log {")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_judged_as_hardened():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", os.path.join(PACKAGING, "weir.service")],
                          capture_output=True, text=True, timeout=60 * SCALE)
    level = re.search(r"Overall exposure level for weir.service: ([\d.]+)", done.stdout)
    assert level and float(level[1]) < 2, done.stdout + done.stderr


# -- manual and completion ------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man")
    run(os.path.join(ROOT, "tools", "make-man"), BINARY, folder)
    return folder


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
def test_the_manual_is_well_formed(manual):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", manual / "weir.1", manual / "weir.yaml.5"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
def test_the_manual_has_every_command_and_every_option(manual):
    def shown(name):
        text = subprocess.run(["mandoc", "-Tutf8", "-Owidth=200", manual / name], capture_output=True, text=True, check=True).stdout
        return re.sub(r".\x08", "", text)
    program, file = shown("weir.1"), shown("weir.yaml.5")
    for command in commands():
        assert f"weir {command}" in program
    reference = run_cli("reference").stdout
    options = re.findall(r"(?m)^\| `([^`]+)` \|", reference)
    assert len(options) > 100
    for option in options:
        assert re.search(rf"(?m)^ +{re.escape(option)}\b", file), option


def commands():
    return re.findall(r"(?m)^  weir (\S+)", run_cli("help").stdout)


def complete(*words):
    script = """source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weir; printf '%s\\n' "${COMPREPLY[@]}" """
    done = subprocess.run(["bash", "-c", script, "-", os.path.join(PACKAGING, "completion", "weir"), BINARY, *words], capture_output=True,
                          text=True, cwd=ROOT, timeout=30 * SCALE)
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_commands_are_completed():
    assert complete("") == commands()
    assert complete("re") == [c for c in commands() if c.startswith("re")]
    assert complete("help", "ch") == ["check"]


def test_options_are_completed_as_the_help_has_them():
    for command in commands():
        usage = run_cli("help", command).stdout.splitlines()[0]
        assert complete(command, "-") == re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage, re.I), command


def test_files_are_completed_where_a_file_is_meant():
    assert complete("check", "-c", "meson_o") == ["meson_options.txt"]
    assert complete("import", "ng") == ["nginx"] and complete("import", "nginx", "meson_o") == ["meson_options.txt"]


# -- containers -----------------------------------------------------------------------------------------------------------------------

def test_the_image_is_built_from_what_is_there():
    with open(os.path.join(PACKAGING, "Dockerfile")) as f:
        text = f.read()
    for source in re.findall(r"(?m)^COPY (?!--from)(\S+)", text):
        assert os.path.exists(os.path.join(ROOT, source)), source
    awk = re.search(r"awk '(.+?)' packaging/apt-packages", text)[1]
    packages = run("awk", awk, os.path.join(PACKAGING, "apt-packages")).split()
    assert "libevent-dev" in packages and "libssl-dev" in packages and "nginx" not in packages
    assert set(packages) == set(section("build"))


def section(name):
    with open(os.path.join(PACKAGING, "apt-packages")) as f:
        return re.search(rf"(?ms)^\[{name}\]\n(.*?)(?=^\[|\Z)", f.read())[1].split()


def test_compose_serves_what_it_says(tmp_path):
    with open(os.path.join(PACKAGING, "compose.yaml")) as f:
        services = yaml.safe_load(f)["services"]
    weir = services["weir"]
    assert os.path.exists(os.path.join(PACKAGING, weir["build"]["context"], weir["build"]["dockerfile"]))
    source, target, _ = weir["volumes"][0].split(":")
    with open(os.path.join(PACKAGING, source)) as f:
        config = yaml.safe_load(f)
    assert target == "/etc/weir/weir.yaml" and "app" in services
    assert weir["ports"] == [f"8080{config['listeners']['web']['bind']}"]
    assert run_cli("check", "-c", os.path.join(PACKAGING, source)).returncode == 0


def test_the_manifests_agree_with_each_other_and_their_file_is_good(tmp_path):
    with open(os.path.join(PACKAGING, "kubernetes", "weir.yaml")) as f:
        objects = {o["kind"]: o for o in yaml.safe_load_all(f)}
    assert set(objects) == {"ConfigMap", "Secret", "Deployment", "Service", "PodDisruptionBudget"}
    (tmp_path / "weir.yaml").write_text(objects["ConfigMap"]["data"]["weir.yaml"])
    done = run_cli("check", "-c", tmp_path / "weir.yaml", environment={**os.environ, "WEIR_ADMIN_TOKEN": "x"})
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "weir.yaml").read_text())

    pod = objects["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"web": int(config["listeners"]["web"]["bind"][1:]), "admin": int(config["admin"]["bind"][1:])}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "admin"}
    labels = pod["metadata"]["labels"]
    for kind, selector in (("Service", ["spec", "selector"]), ("PodDisruptionBudget", ["spec", "selector", "matchLabels"]),
                           ("Deployment", ["spec", "selector", "matchLabels"])):
        value = objects[kind]
        for key in selector:
            value = value[key]
        assert value.items() <= labels.items(), kind
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] in ports
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert secret["name"] == objects["Secret"]["metadata"]["name"] and secret["key"] in objects["Secret"]["stringData"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert {v["name"] for v in pod["spec"]["volumes"]} == set(mounts)
    assert config["admin"]["socket"].startswith(mounts["run"] + "/") and container["args"][2] == mounts["configuration"] + "/weir.yaml"
    drain = int(config["timeouts"]["drain"][:-1]) + int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]} and min(ports.values()) >= 1024
