#!/usr/bin/env bash
# What takes too long for every run of the tests: whole rows of the fault tests where test.sh takes samples, plans of 10,000
# generated stacks, and the fuzz targets, each for a while, with the project's manifests and fuzz/seeds to begin with.
#
#   soak.sh [SECONDS]          all of them; SECONDS for each fuzz target (default 600)
#   soak.sh faults [WORD…]     the rows alone, or those tests of them whose names contain one of these; ends with faults.sh's table
#   soak.sh kills              the 1,000 random kills alone
#   soak.sh operators          the 200 schedules of two operators alone
#   soak.sh sites              transfers and actions at sites cut at 40 places and killed at every point, silences of a minute
#   soak.sh servers            databases on hard servers (5,000 tables, 300,000 large objects), ten rebuilds under 20 clients, and PostgreSQL 13, 17 and 18
#   soak.sh plans              the generated stacks alone
#   soak.sh properties         the other property tests alone, 10,000 cases each
#   soak.sh archives           PostgreSQL 13, 15, 17 and 18: archives of a stock pg_dump restored on each, and on each newer one
#   soak.sh fuzz [SECONDS]     the fuzz targets alone
#
# Property tests take other cases each time: PROPTEST_RNG_SEED, which is printed first, gives the same ones again.
# DPL_FAULTS_SEED (a number) chooses other moments, bits and places; DPL_FAULTS_ROUNDS=5 kills five times at each named point; DPL_TEST_ENGINES names more engines (see test.sh).
# The fuzz targets need cargo-fuzz (`cargo install cargo-fuzz`), which wants flags that a stable compiler gives only when
# asked.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
source "$here/debian.sh"

export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"

faults() { "$here/faults.sh" --all "$@"; }

plans() {
  echo '== 10,000 generated stacks for each property of plans, killed at every step'
  DPL_EVERY_STEP=1 DPL_GRAPHS=10000 cargo test --release --locked --features failpoints --lib --quiet -- plan::tests::generated plan::tests::simulated
}

properties() {
  echo '== 10,000 cases of each other property'
  need_nextest
  PROPTEST_CASES=10000 PROPTEST_MAX_GLOBAL_REJECTS=1000000 cargo nextest run --release --locked --features failpoints --lib --test cli --status-level fail \
    -E 'kind(lib) & not test(/plan::tests/) | binary(cli) & test(/^properties::/)'
}

servers() {
  DPL_MANY=25 NEXTEST_PROFILE=soak "$here/test.sh" real_servers:: under_load::
  NEXTEST_PROFILE=soak "$here/test.sh" --run-ignored ignored-only ended_databases::
  local other
  for other in 13 17 18; do
    echo "== databases on PostgreSQL $other"
    DPL_TEST_POSTGRES=postgres:$other NEXTEST_PROFILE=soak "$here/test.sh" \
      databases:: replacing:: verdicts:: restore_options:: real_servers:: under_load:: ended_databases::
  done
}

# What tests/engine/two_hosts.rs and site_kills.rs take samples of.
sites() { DPL_FAULTS_ALL=1 NEXTEST_PROFILE=soak "$here/test.sh" two_hosts:: site_kills::; }

# Each server restores its own archives in every format, and those of each older one as its own stock tools do.
archives() {
  local versions=(13 15 17 18) older newer
  export DPL_STAND_INS=${DPL_STAND_INS:-$PWD/target/stand-ins}
  for newer in "${versions[@]}"; do
    echo "== archives on PostgreSQL $newer"
    DPL_TEST_POSTGRES=postgres:$newer "$here/test.sh" archives_of_others::
  done
  for ((newer = 1; newer < ${#versions[@]}; newer++)); do
    for ((older = 0; older < newer; older++)); do
      echo "== archives of PostgreSQL ${versions[older]} on ${versions[newer]}"
      DPL_TEST_POSTGRES=postgres:${versions[newer]} DPL_TEST_POSTGRES_FROM=postgres:${versions[older]} \
        "$here/test.sh" archives_of_others::archives_of_another
    done
  done
}

fuzz() { # SECONDS
  local target
  command -v cargo-fuzz >/dev/null || die 'cargo-fuzz is missing: cargo install cargo-fuzz'
  export RUSTC_BOOTSTRAP=1
  mkdir -p fuzz/corpus/manifest
  cp manifests/*.json fuzz/corpus/manifest/
  for target in $(cargo fuzz list); do
    echo "== $target, $1 s"
    mkdir -p "fuzz/corpus/$target"
    [[ ! -d fuzz/seeds/$target ]] || cp "fuzz/seeds/$target"/* "fuzz/corpus/$target/"
    cargo fuzz run "$target" -- -max_total_time="$1" -rss_limit_mb=1024 -timeout=20 -print_final_stats=1
  done
}

case ${1:-} in
  faults) shift; faults "$@" ;;
  kills) faults random_kills:: ;;
  operators) faults two_operators:: ;;
  sites) sites ;;
  servers) servers ;;
  plans) plans ;;
  properties) properties ;;
  archives) archives ;;
  fuzz) fuzz "${2:-600}" ;;
  *) faults; sites; servers; plans; properties; archives; fuzz "${1:-600}" ;;
esac
