# shellcheck shell=bash
# Sourced by demo.sh and demo-sites.sh, behind debian.sh; `here` is the folder of the scripts.

# step COMMAND…: shows it, runs it, tells its time.
step() {
  local begun=${EPOCHREALTIME/[.,]/} tenths
  current=$*
  printf '\n$ %s\n' "$current"
  "$@"
  tenths=$(((${EPOCHREALTIME/[.,]/} - begun + 50000) / 100000))
  printf -- '-- %d.%d s\n' $((tenths / 10)) $((tenths % 10))
}

# Sets `program`: the dpl of DPL, or one that is built here.
find_program() {
  program=${DPL:-}
  if [[ ! $program ]]; then
    command -v cargo >/dev/null || die "no cargo to build dpl with; name a built one in DPL"
    step cargo build --release --quiet --manifest-path "$here/../Cargo.toml"
    program=${CARGO_TARGET_DIR:-$here/../target}/release/dpl
  fi
  program=$(readlink -f "$program")
  [[ -x $program ]] || die "$program is not a program"
}

# copy_manifests FOLDER: the project's manifests, in a new folder, with new secrets. dpl's state lies beside them, and their paths
# lead into that folder.
copy_manifests() {
  local secret
  cp -r "$here/../manifests" "$1"
  rm -rf "$1/.dpl"
  for secret in $(grep -hoE '\$\{DANGANJU_SECRETS\}/[a-z_]+' "$1"/*.json | sort -u); do
    (umask 077; tr -dc A-Za-z0-9 </dev/urandom | head -c 24 >"$1/secrets/${secret##*/}" || true)
  done
}

# begin ARGUMENT…: cleans, and ends, where that is asked for. What fails until the first step are the preparations.
begin() {
  case ${1:-} in
    '') ;;
    --clean) clean; exit ;;
    *) sed -n '6,7s/^#   //p' "$0" >&2; exit 2 ;;
  esac
  current='the preparations'
}

# rows DATABASE TABLE EXPECTED: fails where `sql` finds another number of rows.
rows() {
  local found
  found=$(sql -d "$1" -At -c "SELECT count(*) FROM $2")
  [[ $found == "$3" ]] || die "$1 has $found rows in $2, not $3"
  echo "$1: $found rows in $2"
}
