"""The files of deploy/: their command lines are ones that `asr serve` takes, and nginx takes its part."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from served import app_of, client_of

from asr.cli import main as cli
from asr.config import Config

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_command_lines_are_valid(seen: list[Config]) -> None:
    unit = re.search(r"^ExecStart=\S*/asr (.*)$", (DEPLOY / "asr.service").read_text(), re.M)
    image = re.search(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert unit and image
    database = "postgresql://asr:secret@db/asr"
    lines = [
        unit[1].split(),
        ["serve", *json.loads(image[1])],
        ["serve", *(word.replace("$(KEYS)", database) for word in container["args"])],
    ]
    assert [cli.main(line) for line in lines] == [0, 0, 0]
    assert all(cfg.serve.require_keys and cfg.bundle.endswith("/model.asr") for cfg in seen)
    assert [cfg.serve.host for cfg in seen] == ["127.0.0.1", "0.0.0.0", "0.0.0.0"]
    assert seen[2].serve.keys == database


def test_stopping_takes_longer_than_the_drain() -> None:
    drain_s = Config().serve.drain_timeout_s
    unit = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "asr.service").read_text(), re.M)
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert unit and int(unit[1]) > drain_s
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain_s


def test_the_limits_of_nginx_are_those_of_the_service() -> None:
    cfg, text = Config().serve, (DEPLOY / "nginx.conf").read_text()
    found = dict(re.findall(r"^\s*(client_\w+|proxy_read_timeout) (\d+)s?;", text, re.M))
    assert int(found["client_max_body_size"]) == cfg.max_upload_bytes
    assert int(found["client_header_timeout"]) == cfg.header_timeout_s
    assert int(found["client_body_timeout"]) == cfg.body_timeout_s
    assert int(found["proxy_read_timeout"]) > cfg.drain_timeout_s


def resources() -> list[dict[str, Any]]:
    files = ("kubernetes.yaml", "kubernetes-autoscaling.yaml")
    return [found for name in files for found in yaml.safe_load_all((DEPLOY / name).read_text())]


@pytest.mark.anyio
async def test_the_metric_of_the_autoscaler_is_one_of_the_service(model: Path) -> None:
    """From /metrics of a pod, through the rule of the adapter, to the autoscaler of the deployment."""
    by_kind = {found["kind"]: found for found in resources()}
    scaler = by_kind["HorizontalPodAutoscaler"]["spec"]
    queue, _ = scaler["metrics"]
    name = queue["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"] == {"as": name} and rule["seriesQuery"].startswith(name + "{")
    template = by_kind["Deployment"]["spec"]["template"]
    async with client_of(app_of(model)) as client:
        page = (await client.get(template["metadata"]["annotations"]["prometheus.io/path"])).text
    assert re.search(rf"^# TYPE {name} gauge$", page, re.M)
    (container,) = template["spec"]["containers"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    assert scaler["scaleTargetRef"]["name"] == by_kind["Deployment"]["metadata"]["name"]
    assert int(queue["pods"]["target"]["averageValue"]) < Config().serve.queue
    assert by_kind["PodDisruptionBudget"]["spec"]["minAvailable"] < scaler["minReplicas"]


def faults(found: dict[str, Any]) -> list[str]:
    """What the schemas of Kubernetes 1.30 say against a resource. They are strict: an unknown field is a fault.

    tests/data/kubernetes-1.30.json has those of the kinds in deploy/ without their descriptions, out of the package
    kubernetes-validate 1.37.0 (v1.30.0-local-strict), which holds 108 MB.
    """
    schemas = json.loads((Path(__file__).parent / "data/kubernetes-1.30.json").read_text())
    schema = schemas["kinds"][found["kind"]] | {"$defs": schemas["$defs"]}
    return [each.message for each in jsonschema_rs.Draft202012Validator(schema).iter_errors(found)]


@pytest.mark.parametrize("found", resources(), ids=lambda found: found["kind"])
def test_the_schemas_of_kubernetes_take_its_files(found: dict[str, Any]) -> None:
    assert faults(found) == []


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("Deployment", ["spec", "template", "spec", "containers", 0, "imagee"], "asr", "imagee"),
        ("Deployment", ["spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"], "http", "integer"),
        ("Deployment", ["spec", "selector"], "app=asr", "object"),
        ("Service", ["apiVersion"], "v2", "v1"),
        ("HorizontalPodAutoscaler", ["spec", "maxReplicas"], "ten", "integer"),
        ("HorizontalPodAutoscaler", ["spec", "behavior", "scaleDown", "policies", 0, "period"], 1, "period"),
        ("PodDisruptionBudget", ["spec", "minAvailable"], [1], "[1]"),
    ],
)
def test_the_schemas_find_mistakes(kind: str, place: list[Any], value: Any, message: str) -> None:
    (found,) = [each for each in resources() if each["kind"] == kind]
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    told = faults(found)
    assert told and message in told[0]


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if not nginx or not openssl:
        pytest.skip("needs nginx and openssl (Debian: nginx-light)")
    key = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
    subprocess.run([*key, "-keyout", str(tmp_path / "asr.key"), "-out", str(tmp_path / "asr.pem")], check=True)
    text = re.sub(
        r"/(etc/ssl/certs|etc/ssl/private|var/log/nginx)/", f"{tmp_path}/", (DEPLOY / "nginx.conf").read_text()
    )
    (tmp_path / "asr.conf").write_text(text)
    main = f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ include {tmp_path}/asr.conf; }}"
    (tmp_path / "nginx.conf").write_text(main)
    checked = subprocess.run([nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
