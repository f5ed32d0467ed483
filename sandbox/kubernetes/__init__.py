"""A stand-in for the Kubernetes API server: the few resources this project uses, over HTTP, as a real 1.32 answers them."""

from sandbox.kubernetes.processes import Image
from sandbox.kubernetes.server import KubernetesServer

__all__ = ["Image", "KubernetesServer"]
