#!/usr/bin/env bash
# Builds what is given to others: one file without shared libraries, which runs on old distributions and in empty containers.
#
#   release.sh           builds it and its checksum into target/release-files, then runs it in an empty container
#   release.sh build     builds it
#   release.sh try       runs what was built in an empty container on a private engine (as root)
#
# target/release-files/dpl-VERSION-ARCHITECTURE-linux, and beside it a file for `sha256sum --check`.
#
# Names of hosts (`tcp://NAME:2375`) are looked up by the C library's own code, in /etc/hosts and by DNS. Modules that
# /etc/nsswitch.conf names beyond that (LDAP, mDNS, …) are shared libraries, which such a file takes no part in.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
source "$here/debian.sh"

files=target/release-files

host=$(rustc -vV | sed -n 's/^host: //p')
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[[ $host == *-linux-* && $version ]] || die "this is for Linux; rustc's host is '$host', the version '$version'"
name=dpl-$version-${host%%-*}-linux

build() {
  need readelf=binutils
  # The flags are the target's alone: macros are shared libraries that the compiler itself loads, and are built for the
  # host. Paths of the machine that builds are nobody's business, and would make two builds differ.
  local variable=CARGO_TARGET_${host//-/_}_RUSTFLAGS
  export "${variable^^}=-C target-feature=+crt-static --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$PWD=dpl"
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
  cargo build --locked --release --target "$host" --bin dpl
  local built=target/$host/release/dpl
  # A program without an interpreter is one that no loader has to bring libraries to.
  if readelf --program-headers --wide "$built" | grep -q INTERP || readelf --dynamic --wide "$built" | grep -q NEEDED; then
    die "$built wants shared libraries"
  fi
  mkdir -p "$files"
  install -m 755 "$built" "$files/$name"
  (cd "$files" && sha256sum "$name" >"$name.sha256" && sha256sum --check --quiet "$name.sha256")
  echo "$files/$name: $(stat --format %s "$files/$name") bytes, SHA-256 $(cut -c 1-64 "$files/$name.sha256")"
}

try() {
  [[ -x $files/$name ]] || die "$files/$name is missing: run release.sh build"
  # Not local: the trap needs it when this function is long over.
  engine=release-$(cksum <<<"$PWD" | cut -d ' ' -f 1)
  trap '"$here/engine.sh" down "$engine"' EXIT
  "$here/engine.sh" down "$engine"
  DPL_TEST_ENGINE=$("$here/engine.sh" up "$engine")
  export DPL_TEST_ENGINE=${DPL_TEST_ENGINE#DOCKER_HOST=} DPL_RELEASE_FILE=$PWD/$files/$name
  nsenter "--net=/run/netns/$("$here/engine.sh" netns "$engine")" \
    cargo test --locked --offline --features failpoints --test engine --quiet -- --ignored release::
}

case ${1:-} in
  build) build ;;
  try) try ;;
  '') build; try ;;
  *) sed -n '4,6s/^#   //p' "$0" >&2; exit 2 ;;
esac
