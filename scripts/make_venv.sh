#!/bin/sh
# make_venv.sh REQUIREMENT: installs this project with its extras into .venv, which is made when missing.
set -eu

say() { echo "make: $*" >&2; }

find_python() {
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    say "Python 3.11 or newer is needed; run \`apt install python3 python3-venv\` or set PYTHON"
    return 1
}

# Debian has venv and pip in packages of their own; pip of the system can install into a venv that has none
make_venv() {
    python=$(find_python)
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv .venv
        # the one that comes with Python 3.11 takes half as long again; it will do where there is no other
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip 2>/dev/null || true
    elif "$python" -c 'import pip, venv' 2>/dev/null; then
        "$python" -m venv --without-pip .venv
    else
        say "Python's venv is not installed; run \`apt install python3-venv\`"
        return 1
    fi
}

# pip would compile one file after the other, which is half of its time; what is no Python 3 among them is not compiled by it either
install() {
    if .venv/bin/python -c 'import pip' 2>/dev/null; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable "$1"
    else
        "$(find_python)" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check --no-compile --editable "$1"
    fi || return 1
    .venv/bin/python -m compileall -qq -j 0 .venv/lib || true
}

if [ ! -x .venv/bin/python ]; then
    say "making .venv"
    make_venv || { rm -rf .venv; exit 1; }
fi
say "installing $1"
install "$1" || { say "could not install $1; pip's message above says why"; exit 1; }
