#!/usr/bin/env bash
# Measures starting, restarting, removing and looking at 25 services against Docker Compose, on a private engine, in
# turn in the same run: both get the same images, the same dependencies in four layers, the same published ports and
# the same stop signals and grace periods. And the update of nine services with a health check to a new image, while a client
# asks each a hundred times a second (benches/downtime.py): the sum of the seconds without an answer.
#
#   services.sh [--runs N] [--output FILE] [--engine OPTIONS] [--keep] [--only downtime]
#
# --runs N          how often each peer has its turn (7); medians are compared
# --output FILE     where the JSON goes (target/bench/services.json)
# --engine OPTIONS  for scripts/engine.sh: "--suite forky", say
# --keep            leaves the engine with its images for the next run
# --only downtime   only the update of nine services
#
# DPL names the program (target/release/dpl). Compose is the docker command's own plugin, or `docker-compose`; where there
# is none, dpl is measured alone, and the output says so. Needs root. docs/benchmarks.md has results.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"

usage() { sed -n '7,14s/^# \{0,3\}//p' "$0" >&2; exit 2; }

runs=7 output='' options='' keep='' only=''
while (($#)); do
  case $1 in
    --runs) runs=${2:-}; shift ;;
    --output) output=${2:-}; shift ;;
    --engine) options=${2:-}; shift ;;
    --keep) keep=yes ;;
    --only) only=${2:-}; [[ $only == downtime ]] || usage; shift ;;
    *) usage ;;
  esac
  shift
done
[[ $runs =~ ^[1-9][0-9]?$ ]] || usage

need docker=docker.io nsenter=util-linux awk python3
cache=$(readlink -f "$here/..")/target/bench
dpl=$(readlink -f "${DPL:-$here/../target/release/dpl}") || true
[[ -x $dpl ]] || die "there is no $dpl: cargo build --release"
mkdir -p "$cache"
output=${output:-$cache/services.json}

compose=()
if docker compose version >/dev/null 2>&1; then compose=(docker compose)
elif command -v docker-compose >/dev/null && docker-compose version --short 2>/dev/null | grep -q '^v\?[2-9]'; then compose=(docker-compose)
fi
peer_version=$([[ ! ${compose[*]} ]] || "${compose[@]}" version --short)

# --- The stack

layers=(3 6 8 8)
images=(expert/expert_api:latest expert/expert_ui:latest metis/metis_worker:v2 expert/metis_api:v2.2.0)

# Prints "name image needs…" for each service: each needs two of the layer before.
services() {
  local layer place number=0 first=0 before=0 line
  for layer in "${!layers[@]}"; do
    for ((place = 0; place < layers[layer]; place++)); do
      line="s$number ${images[number % ${#images[@]}]}"
      if ((layer)); then
        line+=" s$((first - before + place % before)) s$((first - before + (place + 1) % before))"
      fi
      echo "$line"
      number=$((number + 1))
    done
    first=$((first + layers[layer])) before=${layers[layer]}
  done
}

# The same stack for both; the ports differ, so that what one leaves behind can't stand in the other's way.
write_stack() { # FOLDER PROJECT PORT
  local name image needs number=0 comma=''
  mkdir -p "$1"
  {
    echo "{ \"project\": \"$2\", \"services\": {"
    while read -r name image needs; do
      printf '%s"%s": { "image": "%s", "restart": "unless-stopped", "stop_grace_period": "10s", "environment": { "LEVEL": "info" }, "ports": ["127.0.0.1:%d:8080"], "depends_on": [%s] }' \
        "$comma" "$name" "$image" $(($3 + number)) "$(sed 's/[^ ]\+/"&"/g; s/ /, /g' <<<"$needs")"
      comma=$',\n' number=$((number + 1))
    done < <(services)
    echo '} }'
  } >"$1/stack.json"
  # JSON is YAML: Compose reads the very same services.
  sed "s/{ \"project\": \"$2\"/{ \"name\": \"$2\"/" "$1/stack.json" >"$1/compose.yaml"
}

# --- Nine services that are updated

new_images() { # IMAGE of which two releases are made: what differs is their label alone
  local made
  for release in 1 2; do
    made=$(docker create "$1")
    docker commit --change "LABEL release=$release" "$made" "bench/api:$release" >/dev/null
    docker rm "$made" >/dev/null
  done
}

write_nine() { # FOLDER PROJECT PORT RELEASE
  local number comma=''
  mkdir -p "$1"
  {
    echo "{ \"project\": \"$2\", \"services\": {"
    for number in {0..8}; do
      printf '%s"n%d": { "image": "bench/api:%d", "restart": "unless-stopped", "stop_grace_period": "10s", "ports": ["127.0.0.1:%d:8000"], "healthcheck": { "test": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/health"], "interval": "1s", "timeout": "5s", "retries": 10 } }' \
        "$comma" "$number" "$4" $(($3 + number))
      comma=$',\n'
    done
    echo '} }'
  } >"$1/stack.json"
  sed "s/{ \"project\": \"$2\"/{ \"name\": \"$2\"/" "$1/stack.json" >"$1/compose.yaml"
}

# update PEER FOLDER PROJECT PORT COMMAND…: brings up release 1, then measures the way to release 2.
update() {
  local peer=$1 folder=$2 project=$3 port=$4 gaps=$cache/gaps.json client; shift 4
  write_nine "$folder" "$project" "$port" 1
  "$@" >"$cache/services.log" 2>&1 || { tail -n 20 "$cache/services.log" >&2; die "$peer: $* failed"; }
  expect_running "$project" 9
  coproc CLIENT { "${inside[@]}" "$here/downtime.py" $(seq "$port" $((port + 8))) >"$gaps"; }
  client=$CLIENT_PID
  sleep 1
  write_nine "$folder" "$project" "$port" 2
  timed "$peer" update "$@"
  sleep 1
  eval "exec ${CLIENT[1]}>&-"
  wait "$client"
  times[$peer downtime]+="$(sed -E 's/^\{"sum": ([0-9.]+),.*/\1/' "$gaps" | awk '{ printf "%d", $1 * 1e6 }') "
  expect_running "$project" 9
}

# --- Measuring

declare -A times
# timed PEER WORK COMMAND…
timed() {
  local peer=$1 work=$2 begin end log=$cache/services.log; shift 2
  begin=${EPOCHREALTIME/./}
  "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "$peer: $* failed"; }
  end=${EPOCHREALTIME/./}
  times[$peer $work]+="$((end - begin)) "
}

running() { # PROJECT: how many of its containers run
  docker ps --quiet --filter "label=com.docker.compose.project=$1" | wc -l
}
expect_running() { # PROJECT COUNT
  local count; count=$(running "$1")
  ((count == $2)) || die "$1: $count containers run, not $2"
}

work=(start again status restart remove update downtime)
[[ ! $only ]] || work=(update downtime)
turn_dpl() {
  local run=("${inside[@]}" "$dpl" --progress none -f "$cache/nine-dpl/stack.json")
  update dpl "$cache/nine-dpl" ninedpl 20300 "${run[@]}" start
  "${run[@]}" remove all --networks --yes >"$cache/services.log" 2>&1
  [[ ! $only ]] || return 0
  run=("${inside[@]}" "$dpl" --progress none -f "$cache/services-dpl/stack.json")
  timed dpl start "${run[@]}" start; expect_running benchdpl 25
  timed dpl again "${run[@]}" start
  timed dpl status "${run[@]}" status
  timed dpl restart "${run[@]}" restart all; expect_running benchdpl 25
  timed dpl remove "${run[@]}" remove all --networks --yes; expect_running benchdpl 0
}
turn_compose() {
  local run=("${inside[@]}" "${compose[@]}" --progress quiet -f "$cache/nine-compose/compose.yaml")
  update compose "$cache/nine-compose" ninecompose 20400 "${run[@]}" up -d --wait
  "${run[@]}" down >"$cache/services.log" 2>&1
  [[ ! $only ]] || return 0
  run=("${inside[@]}" "${compose[@]}" --progress quiet -f "$cache/services-compose/compose.yaml")
  timed compose start "${run[@]}" up -d; expect_running benchcompose 25
  timed compose again "${run[@]}" up -d
  timed compose status "${run[@]}" ps
  timed compose restart "${run[@]}" restart; expect_running benchcompose 25
  timed compose remove "${run[@]}" down; expect_running benchcompose 0
}

median() { tr ' ' '\n' <<<"$1" | awk 'NF' | sort -n | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2e6 }'; }
all() { tr ' ' '\n' <<<"$1" | awk 'NF { printf "%s%.3f", (n++ ? ", " : ""), $1 / 1e6 }'; }

declare -A goal=([start]=1.0 [again]=0.2 [status]=0.2 [restart]=1.0 [remove]=0.9 [update]=1.0 [downtime]=0.5)
declare -A title=([start]="start from nothing" [again]="start, nothing to do" [status]=status [restart]="restart all" [remove]="stop and remove" [update]="update nine" [downtime]="no answer while nine are updated, summed")
declare -A against=([start]="up -d" [again]="up -d" [status]=ps [restart]=restart [remove]=down [update]="up -d --wait" [downtime]="up -d --wait")

report() {
  local item ours theirs ratio comma=''
  echo "engine $engine_version, compose ${peer_version:-none}, $runs runs in turn, $(nproc) CPUs; medians in seconds"
  echo
  echo '| work | dpl | compose | ratio | to reach |'
  echo '|---|---|---|---|---|'
  {
    echo "{ \"engine\": \"$engine_version\", \"compose\": \"$peer_version\", \"cpus\": $(nproc), \"runs\": $runs, \"containers\": 25, \"work\": ["
    for item in "${work[@]}"; do
      ours=$(median "${times[dpl $item]}")
      theirs=$([[ ! ${compose[*]} ]] || median "${times[compose $item]}")
      ratio=$([[ ! $theirs ]] || awk "BEGIN { printf \"%.2f\", $ours / $theirs }")
      echo "| ${title[$item]} | $ours | ${theirs:-–} (\`${against[$item]}\`) | ${ratio:-–} | ≤ ${goal[$item]} |" >&3
      printf '%s{ "name": "%s", "against": "%s", "dpl": [%s], "compose": [%s], "ratio": %s, "goal": %s }' "$comma" \
        "${title[$item]}" "${against[$item]}" "$(all "${times[dpl $item]}")" "$(all "${times[compose $item]:-}")" "${ratio:-null}" "${goal[$item]}"
      comma=$',\n'
    done
    echo '] }'
  } 3>&1 >"$output"
  [[ ${compose[*]} ]] || echo $'\nThere is no Docker Compose here (install the docker-compose plugin): dpl was measured alone.'
  echo; echo "all times: $output"
}

# --- The run

engine=bench-services${options:+-$(cksum <<<"$options" | cut -d ' ' -f 1)}
# shellcheck disable=SC2086
host=$("$here/../scripts/engine.sh" up "$engine" $options); export "${host?}"
# In the engine's network, as on a site, where the engine's ports are this machine's.
inside=(nsenter "--net=/run/netns/$("$here/../scripts/engine.sh" netns "$engine")")
finish() { [[ $keep ]] || "$here/../scripts/engine.sh" down "$engine"; }
trap finish EXIT
DPL=$dpl "$here/../scripts/stand-ins.sh" "$here/../manifests/local-docker.json" "${images[@]}" >&2
engine_version=$(docker version --format '{{.Server.Version}}')
new_images "${images[0]}"
write_stack "$cache/services-dpl" benchdpl 20100
write_stack "$cache/services-compose" benchcompose 20200

# One turn of each that does not count: caches are warm for both then.
for ((turn = 0; turn <= runs; turn++)); do
  ((turn)) || echo 'warming up' >&2
  turn_dpl
  [[ ! ${compose[*]} ]] || turn_compose
  ((turn)) || times=()
done
report
