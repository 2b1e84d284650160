"""What deploys the server is well-formed and gives away nothing: image, compose files, chart, guide.

Where their packages are installed, Helm's own engine renders the chart (``helm-python-sdk``), and the
schemas of Kubernetes (``kubernetes-validate``) and compose (``check-jsonschema``) judge the outcome.
"""

from __future__ import annotations

import ast
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_chain.settings import Settings, environment_name

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "rag-chain"
COMPOSE = ("compose.yaml", "compose.lite.yaml")
GUIDE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
KEYS = {"keys": {"existingSecret": "keys"}}
SERVER = {**KEYS, "milvus": {"uri": "http://milvus:19530"}}
EVERYTHING: dict[str, Any] = {
    **SERVER,
    "replicaCount": 3,
    "existingSecret": "environment",
    "image": {"repository": "registry.example.com/rag-chain", "digest": f"sha256:{'a' * 64}"},
    "settings": {"RAG_TOP_K": 8, "RAG_MODE": "open"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": [{"host": "rag.example.com"}],
        "tls": [{"hosts": ["b"]}],
    },
    "autoscaling": {"enabled": True},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "serviceMonitor": {"enabled": True, "keySecret": {"name": "admin"}},
    "podLabels": {"team": "search"},
    "nodeSelector": {"disk": "ssd"},
}
TLS = {**KEYS, "milvus": {"uri": "https://milvus:19530", "tls": {"existingSecret": "milvus", "mutual": True}}}
LITE = {**KEYS, "persistence": {"enabled": True, "storageClass": "fast"}}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in lines]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return loaded


def every_service() -> list[tuple[str, str, dict[str, Any]]]:
    return [(name, service, parts) for name in COMPOSE for service, parts in compose(name)["services"].items()]


def is_pinned(image: str) -> bool:
    """Whether an image has a tag with a number in it, and not one that moves."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(re.search(r"\d+[.-]\d+", tag)) and "latest" not in tag


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The chart's objects with these values, or the error that Helm makes of them."""
    helm = pytest.importorskip("helm_python", reason="not rendered: pip install helm-python-sdk")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="demo", namespace="rag")
    texts = [text for file, text in files.items() if file.endswith(".yaml")]
    return [loaded for text in texts for loaded in yaml.safe_load_all(text) if loaded]


def pod_of(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment_of(values)["template"]["spec"]
    return found


def deployment_of(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(item["spec"] for item in render(values) if item["kind"] == "Deployment")
    return found


def test_the_image_is_built_from_pinned_parts() -> None:
    """Every base image has a version, Python is one that the project names, and packages are the pinned wheels."""
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert all(f"Python :: {'.'.join(base[7:].split('.')[:2])}" in project for base in bases)
    installs = [rest for name, rest in instructions() if name == "RUN" and "--python" in rest]
    assert all("-c constraints.txt" in rest or "--no-deps" in rest for rest in installs)
    assert any("--only-binary :all:" in rest for rest in installs)


def test_the_final_stage_builds_nothing_and_is_nobody() -> None:
    """It copies what the first stage made, runs no package manager, and its user is a number that is not root."""
    start = max(place for place, (name, _) in enumerate(instructions()) if name == "FROM")
    final = instructions()[start:]
    assert not any(re.search(r"\b(apt-get|pip|gcc|curl)\b", rest) for name, rest in final if name == "RUN")
    assert all(rest.startswith("--from=") for name, rest in final if name in {"COPY", "ADD"})
    user, group = last("USER").split(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_the_image_starts_the_server_without_a_shell() -> None:
    """Signals reach the server itself, and the health check needs nothing that a slim image lacks."""
    assert json.loads(last("ENTRYPOINT")) == ["rag-chain"]
    assert json.loads(last("CMD")) == ["serve", "--host", "0.0.0.0"]  # noqa: S104
    _, _, check = last("HEALTHCHECK").partition("CMD ")
    command = json.loads(check)
    assert command[:2] == ["python", "-c"]
    assert "/livez" in command[2]
    ast.parse(command[2])


def test_the_build_context_names_what_it_takes() -> None:
    """All is left out but what the Dockerfile copies, so that no key or database gets into an image."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in {"", "#"}]
    assert lines[0] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert taken == copied
    assert all((ROOT / source).exists() for source in taken)


@pytest.mark.parametrize("name", COMPOSE)
def test_the_compose_files_meet_the_specification(name: str) -> None:
    """The schema of the compose specification accepts them."""
    jsonschema = pytest.importorskip("jsonschema", reason="not held to the schema: pip install check-jsonschema")
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas", reason="pip install check-jsonschema")
    schema = json.loads((resources.files(schemas) / "vendor" / "compose-spec.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(compose(name))


@pytest.mark.parametrize(("name", "service", "parts"), every_service())
def test_every_container_is_confined(name: str, service: str, parts: dict[str, Any]) -> None:
    """A pinned image, no capabilities, no way to gain any, bounded resources, a health check."""
    assert is_pinned(parts["image"].replace("${RAG_CHAIN_VERSION:-", "").rstrip("}"))
    assert parts["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in parts["security_opt"]
    assert {"cpus", "memory", "pids"} <= set(parts["deploy"]["resources"]["limits"])
    assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & set(parts)
    assert "healthcheck" in parts or "build" in parts
    assert all(wanted["condition"] == "service_healthy" for wanted in parts.get("depends_on", {}).values())


@pytest.mark.parametrize("name", COMPOSE)
def test_only_the_app_is_published_and_only_here(name: str) -> None:
    """One port, on loopback; what is behind the app is on a network without a way out."""
    parts = compose(name)
    published = {service: port for service, spec in parts["services"].items() for port in spec.get("ports", [])}
    assert published == {"app": "127.0.0.1:${RAG_CHAIN_PORT:-8000}:8000"}
    for service in set(parts["services"]) - {"app"}:
        assert all(parts["networks"][network]["internal"] for network in parts["services"][service]["networks"])


@pytest.mark.parametrize("name", COMPOSE)
def test_the_app_writes_to_its_volume_and_tmp_only(name: str) -> None:
    """The root file system and the documents are read-only, and the server is given time to end."""
    app = compose(name)["services"]["app"]
    assert app["read_only"]
    assert [mount.split(":")[0] for mount in app["tmpfs"]] == ["/tmp"]  # noqa: S108
    assert app["volumes"] == ["data:/data", "${RAG_CHAIN_DOCUMENTS:-./documents}:/documents:ro"]
    assert int(app["stop_grace_period"].rstrip("s")) > Settings.model_fields["drain_seconds"].default


@pytest.mark.parametrize("name", COMPOSE)
def test_no_secret_stands_in_a_compose_file(name: str) -> None:
    """A password, token or key is a variable that has to be set; only the provider's key may be missing."""
    for spec in compose(name)["services"].values():
        for variable, value in spec["environment"].items():
            if re.search(r"PASSWORD|TOKEN|ROOT_USER|ACCESS_KEY|API_KEY", variable):
                assert re.fullmatch(r"(root:)?\$\{\w+:\?.+\}|\$\{FIREWORKS_API_KEY:-\}", value), variable
    assert compose(name)["secrets"]["rag_keys"]["file"].startswith("${RAG_CHAIN_KEYS:?")


def test_milvus_lite_is_one_container() -> None:
    """A second process on the path would find it held: no scaling, and a name that only one can have."""
    services = compose("compose.lite.yaml")["services"]
    assert list(services) == ["app"]
    assert services["app"]["container_name"]
    assert "replicas" not in services["app"]["deploy"]


def test_the_values_fit_their_schema() -> None:
    """The chart's own values pass, and what is misspelt, unpinned or secret does not."""
    jsonschema = pytest.importorskip("jsonschema", reason="not held to the schema: pip install check-jsonschema")
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    jsonschema.Draft7Validator.check_schema(schema)
    validator.validate(values)
    for wrong in (
        {"replicas": 2},
        {"image": {"repository": "rag-chain", "tag": "latest"}},
        {"milvus": {"uri": "rag_chain"}},
        {"settings": {"PATH": "/"}},
        {"settings": {"FIREWORKS_API_KEY": "fw_1"}},
        {"drainSeconds": -1},
    ):
        assert not validator.is_valid({**values, **wrong}), wrong


def test_the_values_and_their_schema_name_the_same() -> None:
    """Neither has a value that the other does not know, three levels deep."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, value in values.items():
        if known := schema["properties"][name].get("properties"):
            assert set(value) == set(known), name


def test_the_chart_has_the_projects_version() -> None:
    """The image that the chart starts, and that compose builds, is this version's."""
    version = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)[0]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == version
    assert f"ARG VERSION={version}" in (ROOT / "Dockerfile").read_text("utf-8")
    assert all(
        compose(name)["services"]["app"]["image"] == f"rag-chain:${{RAG_CHAIN_VERSION:-{version}}}" for name in COMPOSE
    )


@pytest.mark.parametrize(
    "values", [LITE, SERVER, TLS, EVERYTHING, {"allowAnonymous": True}], ids=["lite", "server", "tls", "all", "open"]
)
def test_kubernetes_would_take_the_objects(values: dict[str, Any]) -> None:
    """Oldest and newest schemas accept every object, without a field that they do not know."""
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate").validate
    for rendered in render(values):
        if not rendered["apiVersion"].startswith("monitoring.coreos.com/"):
            for version in ("1.25", "1.31", "1.37"):
                validate(rendered, version, strict=True)


def test_the_pod_is_restricted() -> None:
    """It is not root, can't become it, writes to /data and /tmp only, and talks to no cluster API."""
    pod = pod_of(EVERYTHING)
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == last("USER")
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/data", "/tmp"}  # noqa: S108


@pytest.mark.parametrize("mutual", [False, True])
def test_certificates_for_milvus_come_from_a_secret(mutual: bool) -> None:
    """Mounted where the settings look for them, not to be written; the client's only where it has one to show."""
    tls = {"existingSecret": "milvus", "mutual": mutual}
    pod = pod_of({**KEYS, "milvus": {"uri": "https://milvus:19530", "tls": tls}})
    container = pod["containers"][0]
    mount = next(one for one in container["volumeMounts"] if one["name"] == "milvus-tls")
    volume = next(one for one in pod["volumes"] if one["name"] == "milvus-tls")
    assert (mount["readOnly"], volume["secret"]["secretName"]) == (True, "milvus")
    shown = {"RAG_MILVUS_CLIENT_CERT": "tls.crt", "RAG_MILVUS_CLIENT_KEY": "tls.key"} if mutual else {}
    files = {"RAG_MILVUS_CA_FILE": "ca.crt"} | shown
    set_to = {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("RAG_MILVUS_")}
    assert set_to == {name: f"{mount['mountPath']}/{file}" for name, file in files.items()}


def test_the_pod_has_time_to_end() -> None:
    """The grace period is longer than the drain and the pause before it; both probes ask the right door."""
    pod = pod_of({**SERVER, "drainSeconds": 90})
    container = pod["containers"][0]
    assert pod["terminationGracePeriodSeconds"] > 90 + 5
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_milvus_lite_is_replaced_and_a_server_rolls() -> None:
    """Two pods never hold one path; with a server there is always one that answers."""
    assert deployment_of(LITE)["strategy"] == {"type": "Recreate"}
    rolling = deployment_of(SERVER)["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in deployment_of(EVERYTHING)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({**KEYS, "replicaCount": 2}, "one pod only"),
        ({**KEYS, "autoscaling": {"enabled": True}}, "one pod only"),
        ({**KEYS, "milvus": {"uri": "/srv/rag_chain.db"}}, "only /data is writable"),
        ({**KEYS, "milvus": {"uri": "http://milvus:19530", "tls": {"existingSecret": "milvus"}}}, "make it https://"),
        ({**KEYS, "milvus": {"uri": "https://milvus:19530", "tls": {"mutual": True}}}, "no certificate to show"),
        ({}, "no API keys"),
        ({**KEYS, "allowAnonymous": True}, "exclude each other"),
        ({**KEYS, "ingress": {"enabled": True}}, "at least one host"),
        ({**SERVER, "replicaCount": 2, "persistence": {"enabled": True}}, "ReadWriteOnce"),
        ({**KEYS, "serviceMonitor": {"enabled": True}}, "admin key"),
        ({**EVERYTHING, "allowedHosts": ["rag.example.com"]}, "by its address"),
        ({**KEYS, "replicaCounts": 2}, "replicaCounts"),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any], reason: str) -> None:
    """Helm stops before it installs, and says what to set."""
    helm = pytest.importorskip("helm_python", reason="not rendered: pip install helm-python-sdk")
    with pytest.raises(helm.HelmError, match=reason):
        render(values)


def test_every_name_is_a_setting() -> None:
    """What the files and the guide set in the environment exists."""
    known = {environment_name(field) for field in Settings.model_fields}
    texts = [
        ROOT / "Dockerfile",
        *(ROOT / name for name in COMPOSE),
        *CHART.rglob("*.yaml"),
        ROOT / "docs" / "deployment.md",
    ]
    named = {
        name for file in texts for name in re.findall(r"\bRAG_(?!CHAIN_)[A-Z]+(?:_[A-Z]+)*\b", file.read_text("utf-8"))
    }
    assert named <= known, named - known


def test_the_guides_blocks_are_well_formed() -> None:
    """YAML parses, braces close, and the chart takes the example values."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    loaded = [yaml.safe_load(text) for language, text in blocks if language == "yaml"]
    assert len(loaded) == 3
    for language, text in blocks:
        if language in {"nginx", "caddyfile"}:
            assert text.count("{") == text.count("}")
    nginx = next(text for language, text in blocks if language == "nginx")
    assert "proxy_buffering off;" in nginx
    assert deployment_of(loaded[0])["replicas"] == loaded[0]["replicaCount"]
