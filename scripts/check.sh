#!/usr/bin/env bash
# check.sh lint|test…: the stages of `make test`; stops at the first that fails and names it.
set -uo pipefail
export PATH="$PWD/.venv/bin:$PATH"
# where a machine sets it, each of the thousand processes that tests start would compile all modules anew
unset PYTHONDONTWRITEBYTECODE

stage() {
    echo "── $*"
    "$@" || { echo "make: failed: $*" >&2; exit 1; }
}

lint() {
    stage ruff check .
    stage ruff format --check .
    stage mypy
    stage lint-imports --no-logo
}

tests() {
    stage python -m pytest -q --numprocesses "${TEST_PROCESSES:-2}" --dist worksteal
}

for part in "$@"; do
    case $part in
        lint) lint ;;
        test) tests ;;
        *) echo "check.sh: lint or test, not $part" >&2; exit 2 ;;
    esac
done
