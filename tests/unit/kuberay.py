"""Schemas of resources of KubeRay and Kubernetes, as far as the files of `docker/` use them.

Written after the Go types of `ray.io/v1` (raycluster_types.go and rayjob_types.go in
ray-operator/apis/ray/v1 of github.com/ray-project/kuberay), from which its CRDs are generated, the
page "KubeRay CRD API reference" of docs.ray.io (1.6.2: `authOptions.secretName`), and the API of
pods of Kubernetes. A field that is not here is refused, since it may be misspelt.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
SWITCH: Schema = {"type": "boolean"}
#: an `int32` that counts
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
#: a name by RFC 1123
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
#: "500m", "2", "8Gi"
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"}


def record(required: str = "", /, **fields: Schema) -> Schema:
    """An object of these fields and no others, some of which are required."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def each(of: Schema, least: int = 1) -> Schema:
    """A list."""
    return {"type": "array", "items": of, "minItems": least}


def mapping(of: Schema) -> Schema:
    """An object of any names."""
    return {"type": "object", "additionalProperties": of}


PROBE = record(
    "",
    exec=record("command", command=each(TEXT)),
    httpGet=record("path port", path=TEXT, port=TEXT),
    initialDelaySeconds=COUNT, periodSeconds=COUNT, timeoutSeconds=COUNT, failureThreshold=COUNT,
)  # fmt: skip
ENVIRONMENT = {
    "oneOf": [
        record("name value", name=TEXT, value={"type": "string"}),
        record(
            "name valueFrom", name=TEXT,
            valueFrom=record("secretKeyRef", secretKeyRef=record("name key", name=NAME, key=TEXT)),
        ),
    ]
}  # fmt: skip
CONTAINER = record(
    "name image resources",
    name=NAME, image=TEXT, env=each(ENVIRONMENT), args=each(TEXT), workingDir=TEXT,
    ports=each(record("containerPort", name=NAME, containerPort=COUNT)),
    resources=record("requests limits", requests=mapping(QUANTITY), limits=mapping(QUANTITY)),
    securityContext=record(
        allowPrivilegeEscalation=SWITCH, readOnlyRootFilesystem=SWITCH,
        capabilities=record("drop", drop=each(TEXT))
    ),
    livenessProbe=PROBE, readinessProbe=PROBE,
    volumeMounts=each(
        record("name mountPath", name=NAME, mountPath=TEXT, subPath=TEXT, readOnly=SWITCH)
    ),
)  # fmt: skip
VOLUME = {
    "oneOf": [
        record(
            "name persistentVolumeClaim", name=NAME,
            persistentVolumeClaim=record("claimName", claimName=NAME, readOnly=SWITCH),
        ),
        record("name emptyDir", name=NAME, emptyDir=record()),
        record("name configMap", name=NAME, configMap=record("name", name=NAME)),
    ]
}  # fmt: skip
POD = record(
    "spec",
    metadata=record("labels", labels=mapping(TEXT)),
    spec=record(
        "containers", containers=each(CONTAINER), volumes=each(VOLUME),
        terminationGracePeriodSeconds=COUNT, automountServiceAccountToken=SWITCH,
        securityContext=record(
            runAsNonRoot=SWITCH, runAsUser=COUNT, fsGroup=COUNT,
            seccompProfile=record("type", type={"const": "RuntimeDefault"}),
        ),
    ),
)  # fmt: skip
CLUSTER = record(
    "headGroupSpec",
    rayVersion=TEXT, enableInTreeAutoscaling=SWITCH,
    authOptions=record("mode", mode={"enum": ["disabled", "token"]}, secretName=NAME),
    autoscalerOptions=record(idleTimeoutSeconds=COUNT),
    headGroupSpec=record("template", rayStartParams=mapping(TEXT), template=POD),
    workerGroupSpecs=each(record(
        "groupName minReplicas maxReplicas template",
        groupName=NAME, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT,
        rayStartParams=mapping(TEXT), template=POD,
    )),
)  # fmt: skip
JOB = record(
    "entrypoint clusterSelector",
    entrypoint=TEXT, clusterSelector=mapping(TEXT), runtimeEnvYAML=TEXT,
)  # fmt: skip


LABELS = record("matchLabels", matchLabels=mapping(TEXT))
POLICY = record(
    "podSelector policyTypes ingress",
    podSelector=LABELS, policyTypes=each({"const": "Ingress"}),
    ingress=each(record(
        "from",
        **{"from": each(record("", podSelector=LABELS, namespaceSelector={"type": "object"}))},
        ports=each(record("port", port=COUNT)),
    )),
)  # fmt: skip
DEPLOYMENT = record(
    "replicas selector strategy template",
    replicas=COUNT, strategy=record("type", type={"const": "Recreate"}), selector=LABELS,
    template=POD,
)  # fmt: skip
SERVICE = record(
    "selector ports",
    selector=mapping(TEXT), ports=each(record("port targetPort", port=COUNT, targetPort=TEXT)),
)  # fmt: skip


def resource(kind: str, spec: Schema, version: str = "ray.io/v1", of: str = "spec") -> Schema:
    """A resource; what it says stands under `of`."""
    return record(
        f"apiVersion kind metadata {of}",
        apiVersion={"const": version}, kind={"const": kind}, metadata=record("name", name=NAME),
        **{of: spec},
    )  # fmt: skip


SCHEMAS = {
    "RayCluster": resource("RayCluster", CLUSTER),
    "RayJob": resource("RayJob", JOB),
    "NetworkPolicy": resource("NetworkPolicy", POLICY, "networking.k8s.io/v1"),
    "Deployment": resource("Deployment", DEPLOYMENT, "apps/v1"),
    "Service": resource("Service", SERVICE, "v1"),
    "ConfigMap": resource("ConfigMap", mapping(TEXT), "v1", "data"),
}
