#!/usr/bin/env bash
# Measures saving and loading against what is used today, on a private engine, in turn in the same run: nine images
# like the field's, a common base of about 700 MB in two layers and 30 to 170 MB of each image's own.
#
#   images.sh [PART…] [--scale PERCENT] [--runs N] [--output FILE] [--engine OPTIONS] [--keep]
#
# PART is save, again, changed, empty or nothing; all of them where none is named.
# --scale PERCENT   smaller images, for a quick look (100)
# --runs N          how often each timed_peer has its turn (3); what takes no second is measured 5 times as often
# --output FILE     where the JSON goes (target/bench/images.json)
# --engine OPTIONS  for scripts/engine.sh: "--suite forky --containerd-store", say
# --keep            leaves the engine with its images, so that the next run need not make them
#
# DPL names the program (target/release/dpl). Needs root, and apt the first time: the images' files are those of
# Debian's packages. No registry. docs/benchmarks.md has results.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"

usage() { sed -n '5,14s/^# \{0,3\}//p' "$0" >&2; exit 2; }

parts=() scale=100 runs=3 output='' options='' keep=''
while (($#)); do
  case $1 in
    save | again | changed | empty | nothing) parts+=("$1") ;;
    --scale) scale=${2:-}; shift ;;
    --runs) runs=${2:-}; shift ;;
    --output) output=${2:-}; shift ;;
    --engine) options=${2:-}; shift ;;
    --keep) keep=yes ;;
    *) usage ;;
  esac
  shift
done
[[ $scale =~ ^[1-9][0-9]?$|^100$ && $runs =~ ^[1-9][0-9]?$ ]] || usage
((${#parts[@]})) || parts=(save again changed empty nothing)
wants() { [[ " ${parts[*]} " == *" $1 "* ]]; }

need docker=docker.io jq time gzip
cache=$(readlink -f "$here/..")/target/bench
dpl=$(readlink -f "${DPL:-$here/../target/release/dpl}") || true
[[ -x $dpl ]] || die "there is no $dpl: cargo build --release"
output=${output:-$cache/images.json}
engine=bench-$(cksum <<<"$PWD$options" | cut -d ' ' -f 1)
work=$cache/$engine-$scale
mkdir -p "$cache" "$work"

source "$here/nine-images.sh"

# --- Measuring

# timed NAME COMMAND…: notes seconds and peak memory (of a single program) under NAME.
declare -A seconds memory sizes
settle() { sync; }
timed() {
  local name=$1 begun ended resident; shift
  settle
  begun=$EPOCHREALTIME
  command time --format %M --output "$work/resident" "$@" >"$work/out" 2>"$work/err" || {
    tail -n 20 "$work/err" >&2
    die "failed: $*"
  }
  ended=$EPOCHREALTIME
  resident=$(tail -n 1 "$work/resident")
  seconds[$name]+="$(awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.3f", b - a }') "
  ((resident <= ${memory[$name]:-0})) || memory[$name]=$resident
  ended=${seconds[$name]% }
  echo "  $name: ${ended##* } s, $((resident / 1024)) MiB" >&2
}

run_dpl() { "$dpl" "$1" -f "$work/stack.json" --yes --quiet --progress none; }
timed_dpl() { timed "$1" "$dpl" "$2" -f "$work/stack.json" --yes --quiet --progress none; }
save_gzip() { local app; for app in "${apps[@]}"; do docker save "bench/app$app:current" | gzip >"$work/gzip/app$app.tar.gz"; done; }
save_nowhere() { docker save "${names[@]}" >/dev/null; }
load_gzip() { local app; for app in "${apps[@]}"; do docker load --quiet --input "$work/gzip/app$app.tar.gz"; done; }
load_raw() { docker load --quiet --input "$work/all.tar"; }
timed_peer() { # NAME FUNCTION
  timed "$1" bash -euc "$(declare -p apps names work); set -o pipefail; $(declare -f "$2"); $2"
}

bytes_in() { find "$@" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }'; }

manifest() {
  local services
  services=$(for app in "${apps[@]}"; do printf '"app%s": {"image": "bench/app%s:current"}, ' "$app" "$app"; done)
  printf '{"project": "bench", "paths": {"images": "store"}, "services": {%s}}\n' "${services%, }" >"$work/stack.json"
}

store_of_two() {
  [[ -e $work/store/index.json ]] || run_dpl save >/dev/null
}

measure_save() {
  local run
  mkdir -p "$work/gzip"
  for ((run = 0; run < runs; run++)); do
    rm -rf "$work/store"
    timed_dpl save save
    timed_peer save-nowhere save_nowhere
    # A turn takes minutes; the first one also makes the files that are loaded below.
    ((run >= (runs + 1) / 2)) || timed_peer save-gzip save_gzip
  done
  sizes[save]=$(bytes_in "$work/store") sizes[save-gzip]=$(bytes_in "$work/gzip")
}

measure_again() { local run; for ((run = 0; run < 5 * runs; run++)); do timed_dpl again save; done; }

measure_changed() {
  local run
  [[ -e $work/gzip/app9.tar.gz ]] || { mkdir -p "$work/gzip"; save_gzip; }
  for ((run = 0; run < runs; run++)); do
    forget_two
    timed_dpl changed load
    forget_two
    timed_peer changed-gzip load_gzip
  done
}

measure_empty() {
  local run
  [[ -e $work/all.tar ]] || docker save --output "$work/all.tar" "${names[@]}"
  for ((run = 0; run < runs; run++)); do
    wipe
    timed_peer empty-raw load_raw
    wipe
    timed_dpl empty load
  done
}

measure_nothing() { local run; for ((run = 0; run < 5 * runs; run++)); do timed_dpl nothing load; done; }

# --- The table

median() { tr ' ' '\n' <<<"${seconds[$1]:-}" | { grep . || true; } | sort -n | awk '{ all[NR] = $1 } END { if (NR) print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

rows=()
# row WORK AGAINST OURS THEIRS WANTED: WANTED is "times N" (N times faster), "ratio N" (of their time), "seconds N"
row() {
  local ours theirs figure reached kind=${5% *} limit=${5#* }
  ours=$(median "$3"); [[ $ours ]] || return 0
  theirs=$([[ $4 ]] && median "$4" || true)
  case $kind in
    times) figure=$(awk -v a="$theirs" -v b="$ours" 'BEGIN { printf "%.2f", a / b }') ;;
    ratio) figure=$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }') ;;
    seconds) figure=$ours ;;
  esac
  reached=$(awk -v f="$figure" -v l="$limit" -v k="$kind" 'BEGIN { print ((k == "times" ? f >= l : f <= l) ? "true" : "false") }')
  rows+=("$(jq -cn --arg work "$1" --arg against "$2" --arg ours "$ours" --arg theirs "$theirs" --arg kind "$kind" \
    --arg figure "$figure" --arg limit "$limit" --argjson reached "$reached" \
    --arg all_ours "${seconds[$3]}" --arg all_theirs "${seconds[${4:-none}]:-}" --arg rss "${memory[$3]}" '
    def numbers: split(" ") | map(select(. != "") | tonumber);
    {work: $work, against: $against, dpl_seconds: ($ours | tonumber), peer_seconds: ($theirs | if . == "" then null else tonumber end),
     measure: $kind, figure: ($figure | tonumber), wanted: ($limit | tonumber), reached: $reached,
     dpl_runs: ($all_ours | numbers), peer_runs: ($all_theirs | numbers), dpl_memory_kib: ($rss | tonumber)}')")
}

report() {
  local largest=0 name ratio
  row 'save all nine, empty store' 'docker save X | gzip, each' save save-gzip 'times 12'
  row 'save all nine, empty store' 'docker save of all nine, nowhere' save save-nowhere 'ratio 1.25'
  row 'save again, nothing changed' '' again '' 'seconds 0.15'
  row 'load, one layer changed in each' 'docker load -i X.tar.gz, each' changed changed-gzip 'times 15'
  row 'load, empty engine' 'docker load of one raw archive' empty empty-raw 'ratio 1.05'
  row 'load, nothing missing' '' nothing '' 'seconds 0.1'
  for name in save again changed empty nothing; do ((${memory[$name]:-0} <= largest)) || largest=${memory[$name]}; done
  printf '%s\n' "${rows[@]}" | jq -s --arg scale "$scale" --arg largest "$largest" --arg ours "${sizes[save]:-}" \
    --arg theirs "${sizes[save-gzip]:-}" --arg version "$("$dpl" --version)" \
    --arg engine "$(docker version --format '{{.Server.Version}}') $(docker info --format '{{.Driver}}')" \
    --arg cores "$(nproc)" --arg load "$(cut -d ' ' -f 1 /proc/loadavg)" '
    def number: if . == "" then null else tonumber end;
    {scale_percent: ($scale | tonumber), dpl: $version, engine: $engine, cores: ($cores | tonumber), load_at_end: ($load | tonumber),
     rows: ., memory: {largest_kib: ($largest | tonumber), wanted_kib: 65536, reached: (($largest | tonumber) <= 65536)},
     bytes: {dpl: ($ours | number), peer: ($theirs | number)}}' >"$output"
  jq -r '
    def two: . * 1000 | round / 1000 | tostring;
    ["WORK", "AGAINST", "DPL", "PEER", "FIGURE", "WANTED", ""],
    (.rows[] | [.work, .against, (.dpl_seconds | two) + " s", (if .peer_seconds then (.peer_seconds | two) + " s" else "-" end),
      (if .measure == "times" then (.figure | two) + " times faster" elif .measure == "ratio" then (.figure | two) + " of its time" else (.figure | two) + " s" end),
      (if .measure == "times" then "at least \(.wanted)" else "at most \(.wanted)" end), (if .reached then "reached" else "NOT REACHED" end)]),
    (if .bytes.peer then ["bytes saved", "docker save X | gzip, each", "\(.bytes.dpl / 1e6 | round) MB", "\(.bytes.peer / 1e6 | round) MB",
      "1/\(.bytes.peer / .bytes.dpl | two)", "at most 1/5", (if .bytes.dpl * 5 <= .bytes.peer then "reached" else "NOT REACHED" end)] else empty end),
    ["memory of any of these", "", "\(.memory.largest_kib / 1024 | round) MiB", "-", "", "at most 64 MiB", (if .memory.reached then "reached" else "NOT REACHED" end)]
    | @tsv' "$output" | column -t -s $'\t'
  echo "as JSON: $output"
}

# --- The run

finish() { [[ $keep ]] || { "$here/../scripts/engine.sh" down "$engine"; rm -rf "$work"; }; }
trap finish EXIT
# shellcheck disable=SC2086
DOCKER_HOST=$("$here/../scripts/engine.sh" up "$engine" $options)
export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=}
manifest
make_images
show two
if wants save; then measure_save; fi
if wants again || wants changed || wants empty || wants nothing; then store_of_two; fi
if wants again; then measure_again; fi
# What these two start from is saved before version two goes.
if wants changed && [[ ! -e $work/gzip/app9.tar.gz ]]; then mkdir -p "$work/gzip"; save_gzip; fi
if wants empty && [[ ! -e $work/all.tar ]]; then docker save --output "$work/all.tar" "${names[@]}"; fi
if wants changed; then measure_changed; fi
if wants empty; then measure_empty; fi
if wants nothing; then
  wants empty || wants changed || show two
  run_dpl load >/dev/null
  measure_nothing
fi
report
