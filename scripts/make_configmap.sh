#!/bin/sh
# make_configmap.sh [-n NAMESPACE] [-r] CONFIG.yml [HANDLER.py…]: puts config.yml, and event handlers, into the pods' ConfigMaps.
# All is checked first: the config, and whether the handlers are Python. -r: starts the pods anew, a few at a time; else they go on
# with what they have read.
set -eu

usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }

namespace=${NAMESPACE:-ingest} restart=''
while getopts n:rh option; do
    case $option in
        n) namespace=$OPTARG ;;
        r) restart=yes ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
config=$1
shift

for file in "$config" "$@"; do
    [ -r "$file" ] && [ ! -d "$file" ] || { echo "make_configmap.sh: cannot read $file" >&2; exit 1; }
done

# the files of secrets are where the pods are, not here
if command -v ingest > /dev/null; then
    env INGEST_INVENTORY__PASSWORD_FILE= INGEST_IRODS__PASSWORD_FILE= ingest --config "$config" config check > /dev/null
else
    echo "make_configmap.sh: ingest is not installed here, the config goes unchecked" >&2
fi

if [ $# -gt 0 ] && command -v python3 > /dev/null; then
    python3 -c '
import ast, sys
for name in sys.argv[1:]:
    try:
        ast.parse(open(name, "rb").read(), name)
    except (SyntaxError, ValueError) as error:
        sys.exit(f"make_configmap.sh: {name} is not Python: {error}")' "$@"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

# config_map NAME KEY=FILE…: written down first, so that nothing is changed before all is known to be usable
config_map() {
    name=$1
    shift
    for pair in "$@"; do
        set -- "$@" --from-file="$pair"
        shift
    done
    kubectl --namespace "$namespace" create configmap "$name" "$@" --dry-run=client --output=yaml > "$folder/$name.yaml"
}

config_map ingest-config "config.yml=$config"
if [ $# -gt 0 ]; then
    for file in "$@"; do
        set -- "$@" "$(basename "$file")=$file"
        shift
    done
    config_map ingest-handlers "$@"
fi
kubectl --namespace "$namespace" apply --server-side --force-conflicts --field-manager=make_configmap --filename="$folder"
if [ -n "$restart" ]; then
    kubectl --namespace "$namespace" rollout restart deployment --selector=app.kubernetes.io/name=irods-inventory-loader
else
    echo "pods read their config when they start; -r starts them anew" >&2
fi
