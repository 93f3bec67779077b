#!/usr/bin/env bash
# Measures what goes to a site against what is used today, between two private hosts: network namespaces with an engine each,
# on a wire of 100 Mbit/s (`tbf`). Each contender has its turn in the same run: nine images like the field's.
#
#   sites.sh [PART…] [--scale PERCENT] [--runs N] [--rate MBIT|none] [--output FILE] [--keep]
#
# PART is changed, whole, again or status; all of them where none is named.
# --scale PERCENT   smaller images, for a quick look (100)
# --runs N          how often each has its turn (3); what takes no second is measured 5 times as often
# --rate MBIT|none  what the wire gives (100)
# --output FILE     where the JSON goes (target/bench/sites.json)
# --keep            leaves engines and images, so that the next run need not make them
#
# DPL names the program (target/release/dpl). Needs root, and apt the first time: the images' files are those of
# Debian's packages. No registry, no other machine. docs/benchmarks.md has results.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"
source "$here/../scripts/hosts.sh"

usage() { sed -n '5,13s/^# \{0,3\}//p' "$0" >&2; exit 2; }

parts=() scale=100 runs=3 rate=100 output='' keep=''
while (($#)); do
  case $1 in
    changed | whole | again | status) parts+=("$1") ;;
    --scale) scale=${2:-}; shift ;;
    --runs) runs=${2:-}; shift ;;
    --rate) rate=${2:-}; shift ;;
    --output) output=${2:-}; shift ;;
    --keep) keep=yes ;;
    *) usage ;;
  esac
  shift
done
[[ $scale =~ ^[1-9][0-9]?$|^100$ && $runs =~ ^[1-9][0-9]?$ && $rate =~ ^[1-9][0-9]*$|^none$ ]] || usage
((${#parts[@]})) || parts=(changed whole again status)
wants() { [[ " ${parts[*]} " == *" $1 "* ]]; }

need jq /usr/bin/time=time gzip zstd rsync
cache=$(readlink -f "$here/..")/target/bench
dpl=$(readlink -f "${DPL:-$here/../target/release/dpl}") || true
[[ -x $dpl ]] || die "there is no $dpl: cargo build --release"
output=${output:-$cache/sites.json}
name=bs$(($(cksum <<<"$PWD $scale" | cut -d ' ' -f 1) % 10000))
work=$cache/$name-$scale
desk=$work/desk there=$work/there-project
mkdir -p "$desk" "$there" "$work/gzip"

source "$here/nine-images.sh"

# --- Measuring

declare -A seconds memory sizes
last_log=$work/log
# timed NAME COMMAND…: notes the seconds under NAME.
timed() {
  local name=$1 begun; shift
  sync
  begun=$EPOCHREALTIME
  "$@" >"$work/out" 2>"$last_log" || { tail -n 20 "$last_log" >&2; die "failed: $*"; }
  seconds[$name]+="$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }') "
  local all=${seconds[$name]% }
  echo "  $name: ${all##* } s" >&2
}

# sent NAME COMMAND…: as timed, and the bytes that went over the wire to the site.
sent() {
  local name=$1 before after; shift
  before=$(wire_bytes)
  timed "$name" "$@"
  after=$(wire_bytes)
  sizes[$name]=$((after - before))
}
wire_bytes() { ip -n "$desk_space" -s -j link show wire | jq '.[0].stats64.tx.bytes'; }

# Our own, with the most memory that it takes here; the site's side is noted by its sshd.
run_dpl() {
  local resident
  (cd "$desk" && "${on_desk[@]}" "HOME=$hosts" /usr/bin/time --quiet --format %M --output "$work/resident" "$dpl" -f stack.json --quiet --progress none "$@") || return
  resident=$(tail -n 1 "$work/resident")
  ((resident <= ${memory[desk]:-0})) || memory[desk]=$resident
}
# In a shell of its own, the function and what it uses.
peer() { (cd "$desk" && "${on_desk[@]}" bash -euo pipefail -c "$(declare -p apps work there); $(declare -f "$1"); $1"); }

send_and_load() { run_dpl --yes send site --only images && run_dpl --yes on site load; }
scp_and_load() {
  local app
  scp -q "$work"/gzip/app*.tar.gz "site:$there/"
  for app in "${apps[@]}"; do ssh site "docker load --quiet --input $there/app$app.tar.gz"; done
}
zstd_and_load() { local app; for app in "${apps[@]}"; do docker save "bench/app$app:current" | zstd -q -T0 | ssh site 'zstd -dcq | docker load --quiet'; done; }
send_whole() { run_dpl --yes send site --only images --whole; }
rsync_store() { rsync -a "$work/desk/store/" "site:$there/copy/"; }
send_again() { run_dpl --yes send site --only images; }
site_status() { run_dpl on site status; }
docker_ps() { ssh site docker ps --all; }
nothing() { ssh site true; }

there_is_one() { # As it was before version two came.
  (export DOCKER_HOST=$site_engine; forget_two)
  rm -rf "$there"; cp -al "$work/there-one" "$there"
}
there_is_nothing() { rm -rf "$there"; mkdir -p "$there"; cp "$desk/stack.json" "$there/"; }

# One turn of each that does not count opens the connections and warms the caches.
measure_changed() {
  local run
  for ((run = 0; run < runs; run++)); do
    there_is_one; connect; sent changed send_and_load
    there_is_one; connect; sent changed-zstd peer zstd_and_load
    # Takes minutes.
    ((run >= (runs + 1) / 2)) || { there_is_one; connect; sent changed-scp peer scp_and_load; }
  done
}
measure_whole() {
  local run
  for ((run = 0; run < runs; run++)); do
    there_is_nothing; connect; sent whole send_whole
    there_is_nothing; connect; sent whole-rsync peer rsync_store
  done
  cmp -s "$desk/store/index.json" "$there/copy/index.json" || die 'rsync has not copied the store'
}
measure_again() {
  local run
  there_is_nothing; connect; send_whole >/dev/null; peer rsync_store
  for ((run = 0; run < 5 * runs; run++)); do
    sent again send_again
    sent again-rsync peer rsync_store
  done
}
measure_status() {
  local run
  there_is_nothing
  connect
  for ((run = 0; run < 5 * runs; run++)); do
    timed status site_status
    timed status-ps peer docker_ps
    timed status-nothing peer nothing
  done
}
connect() { peer nothing; run_dpl on site list >/dev/null; }

# --- The table

median() { tr ' ' '\n' <<<"${seconds[$1]:-}" | { grep . || true; } | sort -n | awk '{ all[NR] = $1 } END { if (NR) print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
list() { tr ' ' '\n' <<<"${seconds[$1]:-}" | { grep . || true; } | paste -sd ,; }

rows=()
# row WORK AGAINST OURS THEIRS WANTED: WANTED is "times N" (N times faster) or "ratio N" (of their time)
row() {
  local ours theirs figure kind=${5% *} limit=${5#* } reached
  ours=$(median "$3") theirs=$(median "$4")
  [[ $ours && $theirs ]] || return 0
  case $kind in
    times) figure=$(awk -v a="$theirs" -v b="$ours" 'BEGIN { printf "%.2f", a / b }') ;;
    ratio) figure=$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }') ;;
  esac
  reached=$(awk -v f="$figure" -v l="$limit" -v k="$kind" 'BEGIN { print ((k == "times" ? f >= l : f <= l) ? "reached" : "NOT REACHED") }')
  rows+=("$1	$2	$ours s	$theirs s	$figure $([[ $kind == times ]] && echo 'times faster' || echo 'of its time')	$([[ $kind == times ]] && echo "at least $limit" || echo "at most $limit")	$reached")
  json+=("{\"work\": \"$1\", \"against\": \"$2\", \"dpl\": [$(list "$3")], \"peer\": [$(list "$4")], \"figure\": $figure, \"wanted\": $limit, \"reached\": $([[ $reached == reached ]] && echo true || echo false), \"dpl_bytes\": ${sizes[$3]:-null}, \"peer_bytes\": ${sizes[$4]:-null}}")
}

report() {
  local item at_site_most
  json=()
  row 'nine images, one layer new in each: send and load' 'scp of nine .tar.gz, docker load of each' changed changed-scp 'times 12'
  row 'nine images, one layer new in each: send and load' 'docker save X | zstd -T0 | ssh site docker load, each' changed changed-zstd 'times 6'
  row 'the whole store to an empty site' 'rsync -a' whole whole-rsync 'ratio 1.05'
  row 'send again, nothing new' 'rsync -a' again again-rsync 'ratio 1.0'
  row 'on SITE status' 'ssh SITE docker ps' status status-ps 'ratio 1.5'
  at_site_most=$(sort -n "$work/memory-there" 2>/dev/null | tail -n 1)
  {
    printf '%s\n' $'WORK\tAGAINST\tDPL\tPEER\tFIGURE\tWANTED\t'
    printf '%s\n' "${rows[@]}"
    [[ ! ${sizes[changed]:-} ]] || printf 'bytes over the wire\tscp of nine .tar.gz\t%s MB\t%s MB\t1/%s\tat most 1/8\t\n' $((sizes[changed] / 1000000)) $((sizes[changed-scp] / 1000000)) "$(awk "BEGIN { printf \"%.1f\", ${sizes[changed-scp]} / ${sizes[changed]} }")"
    printf 'memory here\t\t%s MiB\t-\t\tat most 64 MiB\t\n' $((${memory[desk]:-0} / 1024))
    printf 'memory at the site\t\t%s MiB\t-\t\tat most 64 MiB\t\n' $((${at_site_most:-0} / 1024))
  } | column -t -s $'\t'
  echo "load at the end: $(cut -d ' ' -f 1-3 /proc/loadavg); rate: $rate Mbit/s; a command that does nothing over ssh: $(median status-nothing) s"
  printf '%s\n' "${json[@]}" | jq -s --arg rate "$rate" --arg scale "$scale" --arg version "$("$dpl" --version)" --arg load "$(cut -d ' ' -f 1 /proc/loadavg)" \
    --arg desk "${memory[desk]:-0}" --arg site "${at_site_most:-0}" --arg cores "$(nproc)" \
    '{rate_mbit: $rate, scale_percent: ($scale | tonumber), dpl: $version, cores: ($cores | tonumber), load_at_end: ($load | tonumber),
      memory_kib: {desk: ($desk | tonumber), site: ($site | tonumber)}, rows: .}' >"$output"
  echo "as JSON: $output"
}

# --- The run

finish() {
  if [[ $keep ]]; then hosts_leave; else hosts_down; rm -rf "$work"; fi
}
trap finish EXIT
# What each program at the site takes; `time` counts all that it waits for, so only dpl's own are noted.
printf '#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\n*dpl*serve*) exec %s --quiet --append --output %s --format %%M sh -c "$SSH_ORIGINAL_COMMAND" ;;\n*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;\nesac\n' \
  /usr/bin/time "$work/memory-there" >"$work/at-site"
chmod +x "$work/at-site"; rm -f "$work/memory-there"
hosts_sshd_config="ForceCommand $work/at-site"
hosts_up "$name" "$work/hosts"
services=$(for app in "${apps[@]}"; do printf '"app%s": {"image": "bench/app%s:current"}, ' "$app" "$app"; done)
printf '{"project": "bench", "paths": {"images": "store"}, "services": {%s}}\n' "${services%, }" >"$desk/stack.json"
printf '{"sites": {"site": {"ssh": "site", "folder": "%s", "manifest": "stack.json"}}}\n' "$there" >"$desk/sites.json"
export DOCKER_HOST=$desk_engine
make_images
if wants changed; then
  if [[ ! $(DOCKER_HOST=$site_engine docker images --quiet bench/app9:one) ]]; then
    docker save "${names[@]/%current/one}" | DOCKER_HOST=$site_engine docker load --quiet >/dev/null
  fi
  if [[ ! -e $work/there-one/store/index.json ]]; then
    show one
    mkdir -p "$work/there-one"; cp "$desk/stack.json" "$work/there-one/"
    (cd "$work/there-one" && "$dpl" -f stack.json --yes --quiet --progress none save)
  fi
fi
show two
[[ -e $desk/store/index.json ]] || (cd "$desk" && "$dpl" -f stack.json --yes --quiet --progress none save)
if wants changed && [[ ! -e $work/gzip/app9.tar.gz ]]; then
  for app in "${apps[@]}"; do docker save "bench/app$app:current" | gzip >"$work/gzip/app$app.tar.gz"; done
fi
# The site's own engine has nothing where the whole store goes: only what is in a store counts there.
hosts_rate "$rate"
there_is_nothing
connect
if wants changed; then measure_changed; fi
if wants whole; then measure_whole; fi
if wants again; then measure_again; fi
if wants status; then measure_status; fi
report
