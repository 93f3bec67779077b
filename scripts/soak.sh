#!/usr/bin/env bash
# What takes too long for every run of the tests: the fuzz targets, each for a while, with the project's manifests as seeds.
#
#   soak.sh [SECONDS]     for each target (default 600)
#
# Needs cargo-fuzz (`cargo install cargo-fuzz`). The fuzzer wants flags that a stable compiler gives only when asked.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/.."
source "$here/debian.sh"
seconds=${1:-600}
command -v cargo-fuzz >/dev/null || die 'there is no cargo-fuzz: cargo install cargo-fuzz'
export RUSTC_BOOTSTRAP=1

mkdir -p fuzz/corpus/manifest
cp manifests/*.json fuzz/corpus/manifest/
for target in $(cargo fuzz list); do
  echo "== $target, $seconds s"
  cargo fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=20 -print_final_stats=1
done
