"""docker/ names only what exists: checked without an engine, since the tests' machine has none."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from cryptography import x509
from psycopg.conninfo import conninfo_to_dict

from cloud.api import operations
from cloud.reports.sealing import read_keys
from common.runtime.cli import GROUP
from common.runtime.config import load_config
from docker.prepare import SERVERS, prepare
from edge.config import load_device
from gateway.config import GatewaySettings
from local import broker
from local.checkers import compose_program

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
TIERS = ("edge", "gateway", "cloud")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: What only places on this machine have: where the broker's files are, and what it writes for its parent.
OF_THE_PLACE = {
    *("listener", "certfile", "keyfile", "password_file", "acl_file", "persistence_location", "pid_file"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docker")
    prepare(target)
    return target


def dockerfile(tier: str) -> str:
    text = (DOCKER / f"{tier}.Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")


def there(name: str, prepared: Path) -> bool:
    """Whether a path of compose.yaml is in the repository, or is one that prepare makes."""
    made = name.removeprefix("./").split("/")[0] in {"private", "state"}
    return ((prepared if made else DOCKER) / name).exists()


def named(uses: list[str | dict[str, str]]) -> set[str]:
    return {use if isinstance(use, str) else use["source"] for use in uses}


def test_every_file_that_compose_names_is_there_or_is_made(prepared: Path) -> None:
    for kind in ("secrets", "configs"):
        for name, entry in COMPOSE[kind].items():
            assert there(entry["file"], prepared), f"{kind} {name}: {entry['file']}"
    for name, service in SERVICES.items():
        if build := service.get("build"):
            assert (DOCKER / build["context"] / build["dockerfile"]).is_file(), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or there(source, prepared), f"{name}: {source}"


def test_every_part_that_a_service_names_is_declared_and_every_declared_one_is_used() -> None:
    for kind in ("secrets", "configs", "networks"):
        used = set().union(*(named(service.get(kind, [])) for service in SERVICES.values()))
        assert used == set(COMPOSE[kind])
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for path in re.findall(r"/run/secrets/(\w+)", json.dumps(service)):
            assert path in named(service["secrets"])


def test_every_variable_is_one_that_the_operators_page_lists() -> None:
    told = set(
        re.findall(r"DRUMTOWER_[A-Z_]+", (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8"))
    )
    texts = [(DOCKER / "compose.yaml").read_text(encoding="utf-8"), *map(dockerfile, TIERS)]
    assert set(re.findall(r"DRUMTOWER_[A-Z_]+", "".join(texts))) <= told


def test_every_variable_that_compose_fills_in_is_one_that_prepare_writes(prepared: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text(encoding="utf-8")))
    written = dict(line.split("=") for line in (prepared / ".env").read_text(encoding="ascii").splitlines())
    assert asked == set(written)
    assert "0" not in written.values(), "nothing runs as root"


def compose(prepared: Path, *arguments: str, file: Path = DOCKER / "compose.yaml") -> dict[str, Any]:
    """The file as Compose itself understands it: what it prints once its own schema has let it pass."""
    ran = subprocess.run(
        [
            *(compose_program(), "--file", file, "--env-file", prepared / ".env", "--profile", "*"),
            *("config", "--format", "json", *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "level=warning" not in ran.stderr, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_compose_itself_takes_the_file_and_knows_every_service(prepared: Path) -> None:
    assert set(compose(prepared)["services"]) == set(SERVICES)


def test_compose_would_not_take_a_service_that_is_wrong(prepared: Path, tmp_path: Path) -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    (tmp_path / "compose.yaml").write_text(text.replace("stop_grace_period", "stop_period"), encoding="utf-8")
    with pytest.raises(AssertionError, match="stop_period"):
        compose(prepared, file=tmp_path / "compose.yaml")


def test_only_page_broker_and_dashboard_are_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "broker": ["127.0.0.1:8883:8883"],
        "cloud": ["127.0.0.1:8080:8080"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_who_has_no_business_with_another_shares_no_network_with_it() -> None:
    for name in ("store", "field", "watch"):
        assert COMPOSE["networks"][name]["internal"]
    for one, other in (
        ("lamp-02", "database"),
        ("prometheus", "database"),
        ("prometheus", "broker"),
        ("grafana", "cloud"),
    ):
        shared = set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])
        assert shared <= {"watch"}, (one, other)
        assert not shared or other == "cloud", (one, other)


def test_every_service_that_stays_has_a_health_check_and_comes_back() -> None:
    for name, service in SERVICES.items():
        stays = service.get("restart") == "unless-stopped"
        own = "build" in service and "HEALTHCHECK" in dockerfile(Path(service["build"]["dockerfile"]).stem)
        checked = "test" in service.get("healthcheck", {}) or (own and not service.get("healthcheck"))
        assert checked == stays, name
        assert stays == ("stop_grace_period" in service), name


def test_nothing_runs_as_root_or_can_become_it_or_writes_its_own_image() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name == "database":  # its image begins as root to give the volume away, and goes on as postgres
            assert set(service["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
        else:
            assert "build" in service or service["user"] == "${OWNER_UID}:${OWNER_GID}", name
            assert "cap_add" not in service, name


def test_the_databases_image_has_the_full_licence_and_says_so() -> None:
    database = SERVICES["database"]
    assert "-oss" not in database["image"]
    assert "timescaledb.license=timescale" in database["command"]
    migration = (REPOSITORY / "common/schema/migrations/0050_keeping.sql").read_text(encoding="utf-8")
    assert "current_setting('timescaledb.license', true), '') = 'timescale'" in migration


def test_the_gateways_image_can_take_backups_of_that_database() -> None:
    major = re.search(r"-pg(\d+)$", SERVICES["database"]["image"])
    assert major is not None
    assert re.search(rf"finish\.sh .* postgresql-client-{major[1]}$", dockerfile("gateway"), re.MULTILINE)
    assert SERVICES["backup"]["image"] == SERVICES["gateway"]["image"]


def test_what_watches_is_asked_for_and_finds_its_files_where_they_are_mounted() -> None:
    for name in ("prometheus", "grafana"):
        assert SERVICES[name]["profiles"] == ["watch"]
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert "--config.file=/etc/prometheus/prometheus.yaml" in SERVICES["prometheus"]["command"]
    for name in config["rule_files"]:
        assert (DOCKER / "prometheus" / name).is_file()
    for job in config["scrape_configs"]:
        for target in (one for group in job.get("static_configs", []) for one in group["targets"]):
            service, port = target.split(":")
            assert port in SERVICES[service]["command"], target
            assert "watch" in SERVICES[service]["networks"], target
    provided = yaml.safe_load(
        (DOCKER / "grafana/provisioning/dashboards/drumtower.yaml").read_text(encoding="utf-8")
    )
    mounts = dict(use.removesuffix(":ro").split(":") for use in SERVICES["grafana"]["volumes"])
    for provider in provided["providers"]:
        assert provider["options"]["path"] in mounts.values()
    (source,) = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8")
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES["prometheus"]["networks"])
    assert SERVICES["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def test_no_password_stands_in_compose_and_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or value.startswith("/run/secrets/"), name
        if "build" not in service:
            assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+[a-z0-9-]*", service["image"]), service["image"]
    address = conninfo_to_dict(COMPOSE["x-database-url"])
    assert "password" not in address
    assert address["passfile"] == "/run/secrets/database_passfile"


def commands() -> list[list[str]]:
    """Every `drumtower` command line: of the services, of the images, of their health checks and of the README."""
    found: list[list[str]] = [service["command"] for service in SERVICES.values() if "build" in service]
    for tier in TIERS:
        text = dockerfile(tier)
        assert 'ENTRYPOINT ["drumtower"]' in text
        for line in re.findall(r"CMD (\[.*\])", text):
            words = json.loads(line)
            found += [words[1:]] if words[0] == "drumtower" else [words] if words[0] in TIERS else []
    read = (DOCKER / "README.md").read_text(encoding="utf-8")
    return found + [shlex.split(line) for line in re.findall(r"^\s+drumtower (.*)$", read, re.MULTILINE)]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_its_options_exist(words: list[str]) -> None:
    points = {point.name: point for point in entry_points(group=GROUP)}
    here: Any = typer.main.get_command(points[words[0]].load())
    rest = words[1:]
    while rest and getattr(here, "commands", None) and not rest[0].startswith("-"):
        assert rest[0] in here.commands, words
        here, rest = here.commands[rest[0]], rest[1:]
    known = {"--help"}.union(*(parameter.opts for parameter in here.params))
    assert {word for word in rest if word.startswith("--")} <= known


def test_every_configuration_that_a_command_names_is_mounted_where_it_says() -> None:
    seen = 0
    for service in SERVICES.values():
        for word in service["command"] if "build" in service else []:
            if not word.startswith("/etc/drumtower/"):
                continue
            seen += 1
            mounts = {use["target"] for use in service.get("configs", [])}
            inside = word.removeprefix("/etc/drumtower/")
            assert word in mounts or (REPOSITORY / "firmware_configs" / inside).is_file()
    assert seen == 4
    device = load_device(REPOSITORY / "firmware_configs" / "devices" / "lamp-02.yaml")
    for camera in device.cameras:
        assert (REPOSITORY / "firmware_configs" / "footage" / f"{camera.footage}.mp4").is_file()


def test_health_checks_ask_where_the_tiers_answer() -> None:
    cloud, gateway = SERVICES["cloud"]["command"], SERVICES["gateway"]["command"]
    assert f"http://127.0.0.1:{cloud[cloud.index('--port') + 1]}/healthz" in dockerfile("cloud")
    assert "/healthz" in {getattr(route, "path", "") for route in operations.routes}
    port = gateway[gateway.index("--metrics-port") + 1]
    assert f"http://127.0.0.1:{port}/metrics" in dockerfile("gateway")
    assert gateway[gateway.index("--metrics-host") + 1] == "0.0.0.0"  # noqa: S104 - the port is not published
    assert '"edge", "outbox", "/var/lib/drumtower"' in dockerfile("edge")


@pytest.mark.parametrize("tier", TIERS)
def test_an_image_copies_what_exists_and_installs_only_pins(tier: str) -> None:
    text = dockerfile(tier)
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()
    ]
    sent = (DOCKER / f"{tier}.Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (REPOSITORY / name).exists(), name
        assert f"!{name}" in sent or f"!{name.split('/')[0]}" in sent, f"{name} is not sent to the engine"
    assert f"requirements/{tier}.txt" in copied
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", image), image
    script = (DOCKER / "install.sh").read_text(encoding="utf-8")
    for line in re.findall(r"^.*/pip\".* install .*$", script, re.MULTILINE):
        assert "--require-hashes" in line or "--no-index" in line
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["${UID}:${GID}"]


def test_every_run_line_is_a_script_that_make_extras_runs_as_well() -> None:
    extras = (REPOSITORY / "local" / "extras.py").read_text(encoding="utf-8")
    for tier in TIERS:
        runs = re.findall(r"^RUN (.*)$", dockerfile(tier), re.MULTILINE)
        assert [line.split()[:3] for line in runs] == [
            ["sh", "docker/install.sh", "packages"],
            ["sh", "docker/install.sh", "drumtower"],
            ["sh", "/usr/local/lib/drumtower/finish.sh", "${UID}"],
        ]
        assert runs[0].split()[3] == tier
    assert '"docker/install.sh"' in extras
    assert '"docker/finish.sh"' in extras
    assert "make extras" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["install.sh", "finish.sh"])
def test_a_script_is_one_that_a_plain_shell_reads(script: str) -> None:
    subprocess.run(["sh", "-n", DOCKER / script], check=True)


def test_the_pins_of_the_build_backend_are_those_of_the_lock() -> None:
    def pins(path: Path) -> dict[str, str]:
        blocks = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip())
        return {block.split("==")[0]: block for block in blocks}

    build, lock = pins(DOCKER / "build.txt"), pins(REPOSITORY / "requirements" / "dev.txt")
    assert {"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"} == set(build)
    assert build == {name: lock[name] for name in build}, "copy these lines from requirements/dev.txt"


def settings(text: str) -> set[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = {(line.split()[0], line.split(maxsplit=1)[1]) for line in lines}
    return {pair for pair in pairs if pair[0] not in OF_THE_PLACE}


def test_the_broker_has_the_settings_that_the_tests_prove() -> None:
    proven = broker._SETTINGS.format(port=8883, directory="/", packet_limit=broker._PACKET_LIMIT_BYTES)
    assert settings((DOCKER / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")) == settings(proven)


def test_the_brokers_accounts_are_those_that_the_tests_prove(prepared: Path, tmp_path: Path) -> None:
    known = broker.Broker(tmp_path, port=1, program=Path("mosquitto"))
    known.add_gateway("gateway", "any")
    for path in (prepared / "private" / "credentials").glob("*.*"):
        site, device = path.name.split(".")
        known.add_device(site, device, "any")
    folder = prepared / "private" / "broker"
    assert broker.parse_acl((folder / "acl").read_text(encoding="utf-8")) == known._rights
    users = [line.split(":")[0] for line in (folder / "passwords").read_text(encoding="ascii").splitlines()]
    assert set(users) == set(known._rights)


def test_preparing_again_keeps_every_secret_and_hides_them_all(tmp_path: Path) -> None:
    prepare(tmp_path)
    kept = [*tmp_path.glob("private/credentials/*"), *tmp_path.glob("private/certificates/*")]
    kept += [*tmp_path.glob("private/database/*"), *tmp_path.glob("private/personal/*")]
    assert len(read_keys(tmp_path / "private" / "personal" / "keys").keys) == 1
    before = {path: path.read_bytes() for path in kept}
    prepare(tmp_path)
    assert {path: path.read_bytes() for path in kept} == before
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".pem" and path.name not in {"lock", ".env"}:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_ticket_centre_is_given_the_keys_of_personal_data_and_nobody_else_is() -> None:
    named = {name for name, service in SERVICES.items() if "personal_keys" in service.get("secrets", [])}
    assert named == {"cloud"}
    assert SERVICES["cloud"]["environment"]["DRUMTOWER_PERSONAL_KEYS_FILE"] == "/run/secrets/personal_keys"
    assert COMPOSE["secrets"]["personal_keys"] == {"file": "private/personal/keys"}


def test_servers_show_their_network_name_and_a_new_authority_signs_them_anew(tmp_path: Path) -> None:
    prepare(tmp_path)
    folder = tmp_path / "private" / "certificates"
    (folder / "ca.key").unlink()
    prepare(tmp_path)
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    for name in SERVERS:
        shown = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        shown.verify_directly_issued_by(authority)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name in names.get_values_for_type(x509.DNSName)
        assert name in SERVICES


def test_the_gateways_settings_differ_only_in_who_may_reach_the_evidence_door(prepared: Path) -> None:
    ours = load_config(prepared / "private" / "gateway.yaml", GatewaySettings)
    theirs = load_config(REPOSITORY / "firmware_configs" / "gateway.yaml", GatewaySettings)
    assert ours.evidence.host == "0.0.0.0"  # noqa: S104
    assert ours.model_copy(update={"evidence": theirs.evidence}) == theirs
    assert SERVICES["lamp-02"]["environment"]["DRUMTOWER_EVIDENCE_URL"] == (
        f"https://gateway:{ours.evidence.port}"
    )
