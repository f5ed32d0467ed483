#!/bin/sh
# make_secrets.sh [-n NAMESPACE] [--inventory FILE] [--irods FILE] [--irods-environment FILE] [--s3 FILE] [--web FILE]:
# makes or replaces the pods' Secrets; what is not named stays as it is.
# --inventory and --irods: a file whose first line is the password; '-' asks for it. --s3: a credentials file of AWS.
# --irods-environment: an irods_environment.json, for TLS, PAM and the like; /secrets/irods/irods_environment.json in the pods.
# --web: a file whose first line is the token for changes by REST and the status page; '-' asks for it.
# Without any, asks for the passwords of inventory and iRODS. Nothing secret is ever an argument or shown.
set -eu
umask 077

usage() { sed -n '2,7s/^# //p' "$0" >&2; exit 2; }

namespace=${NAMESPACE:-ingest} inventory='' irods='' environment='' s3='' web=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] && [ -n "$2" ] || usage
    case $1 in
        -n) namespace=$2 ;;
        --inventory) inventory=$2 ;;
        --irods) irods=$2 ;;
        --irods-environment) environment=$2 ;;
        --s3) s3=$2 ;;
        --web) web=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ -n "$inventory$irods$environment$s3$web" ] || { inventory=-; irods=-; }

folder=$(mktemp -d)
trap 'stty echo 2>/dev/null || :; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

ask() {
    printf '%s: ' "$1" >&2
    if [ -t 0 ]; then stty -echo; fi
    IFS= read -r answer || :
    if [ -t 0 ]; then stty echo; echo >&2; fi
    printf '%s' "$answer"
}

readable() { [ -r "$1" ] && [ ! -d "$1" ] || { echo "make_secrets.sh: cannot read $1" >&2; exit 1; }; }

# password NAME FILE: the first line of the file, or an answer, without a line end
password() {
    if [ "$2" = - ]; then
        ask "password of $1" > "$folder/$1"
    else
        readable "$2"
        head -n 1 "$2" | tr -d '\r\n' > "$folder/$1"
    fi
    [ -s "$folder/$1" ] || { echo "make_secrets.sh: the password of $1 is empty" >&2; exit 1; }
}

# secret NAME KEY FILE: sets that key; each has a manager of its own, so that others stay
secret() {
    manager=make_secrets
    [ "$2" != irods_environment.json ] || manager=make_secrets_environment
    kubectl --namespace "$namespace" create secret generic "$1" --from-file="$2=$3" --dry-run=client --output=yaml |
        kubectl --namespace "$namespace" apply --server-side --force-conflicts --field-manager="$manager" --filename=-
}

# all is read before anything is made
[ -z "$inventory" ] || password inventory "$inventory"
[ -z "$irods" ] || password irods "$irods"
[ -z "$web" ] || password web "$web"
[ -z "$environment" ] || readable "$environment"
[ -z "$s3" ] || readable "$s3"
[ -z "$inventory" ] || secret inventory password "$folder/inventory"
[ -z "$irods" ] || secret irods password "$folder/irods"
[ -z "$environment" ] || secret irods irods_environment.json "$environment"
[ -z "$s3" ] || secret s3 credentials "$s3"
[ -z "$web" ] || secret web token "$folder/web"
echo "pods read secrets when they start: kubectl --namespace $namespace rollout restart deployment" >&2
