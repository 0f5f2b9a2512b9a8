# Use mfc's environment in this shell (bash or zsh):  source activate.sh
# Afterwards `mfc` and `mlflow` are on PATH, and without conda `mlflow run . -e STAGE` runs in this environment.

_mfc_activate() {
    local root="$1" stand_in copy
    if [ ! -f "$root/.venv/bin/activate" ]; then
        echo "mfc: there is no environment in $root/.venv yet; make it with \`make demo\` or \`make test\`" >&2
        return 1
    fi
    . "$root/.venv/bin/activate" || return 1
    if command -v conda >/dev/null 2>&1 || [ -n "${CONDA_EXE:-}" ]; then
        echo "mfc: $root/.venv is active; conda is there too, so \`mlflow run . -e STAGE\` makes its own" \
            "environment: add --env-manager=local to run in this one"
        return 0
    fi
    stand_in="$root/tools/conda-stand-in"
    case "$stand_in" in
    *[!A-Za-z0-9_./+-]*)
        # MLflow pastes this path into a shell command without quotes, so a copy goes where there is no space.
        copy="${XDG_CACHE_HOME:-${HOME:-}/.cache}/mfc/conda-stand-in"
        case "$copy" in
        /.cache/* | *[!A-Za-z0-9_./+-]*) copy="$(mktemp -d)" || return 1 ;;
        esac
        mkdir -p "$copy" && cp -R "$stand_in/." "$copy/" || return 1
        stand_in="$copy"
        ;;
    esac
    export MLFLOW_CONDA_HOME="$stand_in"
    echo "mfc: $root/.venv is active; \`mlflow run . -e STAGE\` runs in it"
}

if [ -n "${BASH_VERSION:-}" ]; then
    _mfc_script="${BASH_SOURCE[0]}"
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_mfc_script="${(%):-%x}"'
else
    _mfc_script=
fi
if [ -z "$_mfc_script" ] || [ "${BASH_SOURCE:-}" = "$0" ]; then
    echo "mfc: use bash or zsh, and type: source activate.sh" >&2
    false
else
    _mfc_activate "$(CDPATH= cd -- "$(dirname -- "$_mfc_script")" && pwd)"
fi
_mfc_status=$?
unset -f _mfc_activate
unset _mfc_script
[ "$_mfc_status" -eq 0 ] && unset _mfc_status
