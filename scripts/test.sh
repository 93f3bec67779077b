#!/usr/bin/env bash
# All that must hold before a change lands: formatting, lints, documentation, every test.
#
#   test.sh               everything
#   test.sh FILTER…       only the tests whose names contain one of these
#
# PROPTEST_RNG_SEED (a number; 1 unless it is set) chooses the cases of the property tests, DPL_FAULTS_SEED those of the fault tests.
#
# DPL_TEST_ENGINES names engines on which the tests of images run as well, and those of layers that deltas are made of: addresses
# (unix://…), or names of engine.sh's engines, separated by commas. On an engine of engine.sh they run inside its network.
#
# DPL_TEST_OTHER_ENGINE has options of engine.sh ("--suite forky --containerd-store") for the engine that packages are brought to.
#
# The tests run in the network namespace of a private Docker Engine that this script starts and stops again, with
# stand-ins for the manifest's images on it. It needs root and a Debian-like system, and installs what is missing there.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
source "$here/debian.sh"

[[ $EUID == 0 ]] || die 'the tests start Docker Engines in network namespaces of their own: run them as root'
command -v cargo >/dev/null || die 'cargo is missing: install Rust (https://rustup.rs)'
need cc=build-essential strace skopeo buildah podman zsh fish tcsh busybox=busybox-static psql=postgresql-client pg_restore=postgresql-client docker=docker.io dockerd=docker.io nsenter=util-linux script=bsdutils sshd=openssh-server ssh=openssh-client openssl ip=iproute2 iptables=iptables python3 minisign zstd losetup=mount mkfs.ext4=e2fsprogs mkfs.exfat=exfatprogs mount.exfat-fuse=exfat-fuse restic

need_nextest
need_compose "$PWD/target/compose"

begun=$SECONDS
part() { printf '\n== %s (after %d s)\n' "$*" $((SECONDS - begun)); }

if [[ $# == 0 ]]; then
  part 'formatting'
  cargo fmt --check
fi

# Two clones of the project have two engines.
clone=$(cksum <<<"$PWD" | cut -d ' ' -f 1)
engine=test-$clone
# Those of the group `own-engines` of .config/nextest.toml: one for each of its places.
export DPL_TEST_OWN_ENGINES=own-$clone
export DPL_LIGHT_ENGINES=yes
# Engines and the tests' folders sync at every step and outlive no run: they are kept in memory where there is plenty.
# Short, since sockets have short paths and terminals few columns.
memory=/tmp/d$((clone % 10000))
elsewhere=${DPL_ENGINES:-}
[[ ! -d $memory ]] || export DPL_ENGINES=$memory/engines
end() {
  local name job
  for job in ${lints:-} ${preparing:-}; do kill -- "-$job" 2>/dev/null || true; done
  for name in "$engine" "$DPL_TEST_OWN_ENGINES"-{0,1}; do "$here/engine.sh" down "$name"; done
  ! mountpoint -q "$memory" || umount "$memory" 2>/dev/null || umount --lazy "$memory"
  rmdir "$memory" 2>/dev/null || true
}
trap end EXIT
end
available=$(sed -nE 's/^MemAvailable: *([0-9]+) kB$/\1/p' /proc/meminfo)
# Of the machine itself, for what is built.
build_tmp=${TMPDIR:-/tmp}
if ((available > 12 << 20)); then
  mkdir "$memory"
  mount -t tmpfs -o size=8g,mode=1777 dpl-tests "$memory"
  export DPL_ENGINES=$memory/engines TMPDIR=$memory
elif [[ $elsewhere ]]; then
  export DPL_ENGINES=$elsewhere
else
  unset DPL_ENGINES
fi

part 'building the tests, and beside it a private engine with stand-ins'
binaries=target/nextest/binaries.json
mkdir -p target/nextest
prepare() {
  local address
  address=$("$here/engine.sh" up "$engine")
  export DOCKER_HOST=${address#DOCKER_HOST=}
  # A dpl that is being built can list no images.
  export DPL=/nonexistent
  "$here/stand-ins.sh"
  for other in ${DPL_TEST_POSTGRES:-} ${DPL_TEST_POSTGRES_FROM:-}; do
    printf '{"project": "postgres", "services": {"db": {"image": "%s"}}}\n' "$other" >target/postgres.json
    "$here/stand-ins.sh" target/postgres.json
  done
}
set -m
(set -e; prepare) >target/nextest/engine.log 2>&1 &
preparing=$!
set +m
TMPDIR=$build_tmp cargo nextest list --locked --cargo-quiet --features failpoints --tests --list-type binaries-only --message-format json >"$binaries"
wait "$preparing" || { cat target/nextest/engine.log >&2; die 'the private engine could not be prepared'; }
preparing=''
DOCKER_HOST=$("$here/engine.sh" up "$engine")
export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=}

# Lints and documentation take what the tests leave of the machine, and are shown after them.
lint() {
  part 'lints'
  cargo clippy --locked --all-targets --features failpoints --quiet -- -D warnings || return
  part 'documentation'
  RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --features failpoints --quiet
}
if [[ $# == 0 ]]; then
  set -m
  (renice -n 19 -p "$BASHPID" >/dev/null; lint) >target/nextest/lints.log 2>&1 &
  lints=$!
  set +m
fi

# Property tests try the same cases in every run: what lands must not depend on chance. scripts/soak.sh takes others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
part "tests, with PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"
export DPL_TEST_ENGINE=$DOCKER_HOST
unset DOCKER_HOST
failed='' tests=0 failures=0 report=target/nextest/${NEXTEST_PROFILE:-default}/tests.xml
# run ENGINE ARGUMENT…: in the network of this engine of engine.sh, where published ports are reachable, and nothing else is.
# What was built is run as it is, so that nothing waits for a build of lints.
run() {
  local within=()
  [[ ! $1 ]] || within=(nsenter "--net=/run/netns/$("$here/engine.sh" netns "$1")")
  rm -f "$report"
  "${within[@]}" cargo nextest run --binaries-metadata "$binaries" "${@:2}" || failed=yes
  [[ -e $report ]] || return 0
  local counts
  read -ra counts < <(sed -nE 's/^<testsuites .* tests="([0-9]+)".* failures="([0-9]+)".* errors="([0-9]+)".*/\1 \2 \3/p' "$report") || return 0
  ((tests += counts[0], failures += counts[1] + counts[2])) || true
}
run "$engine" "$@"

IFS=, read -ra others <<<"${DPL_TEST_ENGINES:-}"
for other in "${others[@]}"; do
  part "images on $other"
  name=''
  if [[ $other != *://* ]]; then
    name=$other
    other=$("$here/engine.sh" up "$other"); other=${other#DOCKER_HOST=}
  fi
  DPL_TEST_ENGINE=$other run "$name" -E 'binary(engine) & test(/^(images|images_others|exchange|housekeeping|delta_packages)::/)'
done

if [[ ${lints:-} ]]; then
  part 'waiting for lints and documentation'
  wait "$lints" || failed=yes
  lints=''
  cat target/nextest/lints.log
fi
part 'the slowest'
sed -nE 's/.*<testcase name="([^"]*)" .*time="([0-9.]+)".*/\2 \1/p' "$report" | sort -rn | sed -n 1,8p
part "$tests tests: $((tests - failures)) passed, $failures failed${failed:+; this must not land}"
[[ ! $failed ]]
