"""How to reach the API server, and the namespace that is meant by default."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from core.errors import UsageError

IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_MISSHAPEN = (AttributeError, KeyError, TypeError, ValueError)
"""What the client's library raises for a kubeconfig that is YAML, and none."""
REQUEST_SECONDS = (5.0, 30.0)
"""How long connecting and answering may take."""


def configured(kubeconfig: Path | None = None) -> tuple[client.Configuration, str]:
    """The configuration of a client and a namespace: of the pod's ServiceAccount, or of a kubeconfig's context.

    `kubeconfig` goes before KUBECONFIG, which goes before the pod's own account. Raises UsageError when there is none of them.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is None and IN_A_POD.exists() and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config(client_configuration=configuration)
            namespace = IN_A_POD.with_name("namespace").read_text().strip()
        else:
            file = str(kubeconfig.expanduser()) if kubeconfig else None
            config.load_kube_config(file, client_configuration=configuration)
            _, context = config.list_kube_config_contexts(file)
            namespace = context["context"].get("namespace", "default")
    except (ConfigException, OSError, yaml.YAMLError, *_MISSHAPEN) as error:
        hint = "run it in a pod, or set KUBECONFIG or compute.kubeconfig"
        words = f"{'the kubeconfig is none: ' * isinstance(error, _MISSHAPEN)}{' '.join(str(error).split())}"
        raise UsageError(f"there is no cluster to ask: {words}", hint) from None
    configuration.retries = False
    return configuration, namespace
