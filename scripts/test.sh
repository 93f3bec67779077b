#!/usr/bin/env bash
# All that must hold before a change lands: formatting, lints, documentation, every test.
#
#   test.sh               everything
#   test.sh FILTER…       only the tests whose names contain one of these
#
# DPL_TEST_ENGINES names engines on which the tests of images run as well: addresses (unix://…), or names of engine.sh's
# engines, separated by commas. On an engine of engine.sh they run inside its network.
#
# The tests run in the network namespace of a private Docker Engine that this script starts and stops again, with
# stand-ins for the manifest's images on it. It needs root and a Debian-like system, and installs what is missing there.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
source "$here/debian.sh"

[[ $EUID == 0 ]] || die 'the tests start Docker Engines in network namespaces of their own: run them as root'
command -v cargo >/dev/null || die 'there is no cargo: install Rust (https://rustup.rs)'
need cc=build-essential strace skopeo zsh fish busybox=busybox-static psql=postgresql-client pg_restore=postgresql-client docker=docker.io dockerd=docker.io nsenter=util-linux script=bsdutils sshd=openssh-server ssh=openssh-client openssl ip=iproute2 iptables=iptables

begun=$SECONDS
part() { printf '\n== %s (after %d s)\n' "$*" $((SECONDS - begun)); }

if [[ $# == 0 ]]; then
  part 'formatting'
  cargo fmt --check
  part 'lints'
  cargo clippy --locked --all-targets --features failpoints --quiet -- -D warnings
  part 'documentation'
  RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --features failpoints --quiet
fi

part 'building the tests'
cargo test --locked --features failpoints --tests --no-run --quiet

part 'a private engine with stand-ins'
# Two clones of the project have two engines.
engine=test-$(cksum <<<"$PWD" | cut -d ' ' -f 1)
trap '"$here/engine.sh" down "$engine"' EXIT
"$here/engine.sh" down "$engine"
DOCKER_HOST=$("$here/engine.sh" up "$engine")
export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=}
DPL=target/debug/dpl "$here/stand-ins.sh"
if [[ ${DPL_TEST_POSTGRES:-} ]]; then
  printf '{"project": "postgres", "services": {"db": {"image": "%s"}}}\n' "$DPL_TEST_POSTGRES" >target/postgres.json
  DPL=target/debug/dpl "$here/stand-ins.sh" target/postgres.json
fi

part 'tests'
# They wait for engines and databases more than they work.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
export DPL_TEST_ENGINE=$DOCKER_HOST
unset DOCKER_HOST
# Published ports are reachable there, and nothing else is.
nsenter "--net=/run/netns/$("$here/engine.sh" netns "$engine")" cargo test --locked --offline --features failpoints --tests --no-fail-fast -- "$@"

IFS=, read -ra others <<<"${DPL_TEST_ENGINES:-}"
for other in "${others[@]}"; do
  part "images on $other"
  within=()
  if [[ $other != *://* ]]; then
    within=(nsenter "--net=/run/netns/$("$here/engine.sh" netns "$other")")
    other=$("$here/engine.sh" up "$other"); other=${other#DOCKER_HOST=}
  fi
  DPL_TEST_ENGINE=$other "${within[@]}" cargo test --locked --offline --features failpoints --test engine --no-fail-fast -- images:: images_others:: exchange:: housekeeping::
done
part 'done'
