#!/bin/sh
# scale_loaders.sh N [-n NAMESPACE] [-d DEPLOYMENT]: N loaders (or verifiers, watchers), and wait until they are there.
# Those that go finish what they have begun and give back the rest.
set -eu

usage() { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }

replicas='' namespace=${NAMESPACE:-ingest} deployment=loader
while [ $# -gt 0 ]; do
    case $1 in
        -n) [ $# -ge 2 ] || usage; namespace=$2; shift 2 ;;
        -d) [ $# -ge 2 ] || usage; deployment=$2; shift 2 ;;
        -*) usage ;;
        *) [ -z "$replicas" ] || usage; replicas=$1; shift ;;
    esac
done
case $replicas in '' | *[!0-9]*) usage ;; esac

kubectl --namespace "$namespace" scale "deployment/$deployment" --replicas="$replicas"
kubectl --namespace "$namespace" rollout status "deployment/$deployment" --timeout=300s
