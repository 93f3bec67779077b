#!/usr/bin/env bash
# Measures a release that travels by files against what is used today, between two private engines that have only files in common:
# nine images on a layer of Python packages, of which the next release upgrades some; all times are new.
#
#   packages.sh [--runs N] [--small] [--stand-in] [--output FILE] [--engine OPTIONS] [--keep]
#
# --runs N          how often dpl has its turn (3); the peer, which takes minutes, has every second one
# --small           a layer of the smaller packages: some 90 MB instead of 560
# --stand-in        makes the layer of this machine's own files, as where no Python packages can be had
# --output FILE     where the JSON goes (target/bench/packages.json)
# --engine OPTIONS  for scripts/engine.sh, of both engines: "--suite forky --containerd-store", say
# --keep            leaves the engines with their images, so that the next run need not make them
#
# Each turn begins with the release in the desk's engine alone, and ends with it in the engine of the site: save, release create, pack,
# cp, unpack and load; and docker save | gzip, cp and docker load of each image. DPL names the program
# (target/release/dpl). Needs root, python3 with pip, and apt the first time. docs/benchmarks.md has results.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"

usage() { sed -n '5,12s/^# \{0,3\}//p' "$0" >&2; exit 2; }

runs=3 size=large stand_in='' output='' options='' keep=''
while (($#)); do
  case $1 in
    --runs) runs=${2:-}; shift ;;
    --small) size=small ;;
    --stand-in) stand_in=yes ;;
    --output) output=${2:-}; shift ;;
    --engine) options=${2:-}; shift ;;
    --keep) keep=yes ;;
    *) usage ;;
  esac
  shift
done
[[ $runs =~ ^[1-9][0-9]?$ ]] || usage

need docker=docker.io dockerd=docker.io jq gzip zstd python3 column=bsdextrautils
cache=$(readlink -f "$here/..")/target/bench
dpl=$(readlink -f "${DPL:-$here/../target/release/dpl}") || true
[[ -x $dpl ]] || die "there is no $dpl: cargo build --release"
output=${output:-$cache/packages.json}
name=pk$(($(cksum <<<"$PWD $size $options" | cut -d ' ' -f 1) % 10000))
layers=$cache/deltas/$size work=$cache/$name
desk=$work/desk there=$work/there disk=$work/disk
mkdir -p "$layers" "$work"

scale=100
source "$here/nine-images.sh"
source "$here/python-layers.sh"

# --- The images

# Makes bench/appN:one and bench/appN:two, on the layer of one release each.
make_images_on_layer() {
  local app version
  docker image inspect "${names[@]/%current/two}" "${names[@]/%current/one}" >/dev/null 2>&1 && return
  echo 'making the layers' >&2
  make_layers
  echo "making the images, on a layer of $kind" >&2
  for version in one two; do
    build "bench/layer:$version" scratch "$layers/$version.tar"
    for app in "${apps[@]}"; do
      printf 'FROM bench/layer:%s\nLABEL app=%s\n' "$version" "$app" |
        DOCKER_BUILDKIT=0 docker build --quiet --tag "bench/app$app:$version" - >/dev/null 2>&1
    done
  done
  echo "$kind" >"$work/kind"
}

# What makes two engines have the same images: their layers and what tells them apart.
contents() { docker image inspect --format '{{json .RootFS.Layers}} {{json .Config.Labels}}' "${names[@]}"; }

# --- The contenders

on_desk() { (cd "$desk" && DOCKER_HOST=$desk_engine HOME=$work "$dpl" -f stack.json --yes --quiet --progress none "$@"); }
on_site() { (cd "$there" && DOCKER_HOST=$site_engine HOME=$work "$dpl" -f stack.json --yes --quiet --progress none "$@"); }

by_package() {
  on_desk save &&
    on_desk release create two &&
    on_desk pack --release two --for release:one --unsigned --output "$work/two.package" &&
    cp "$work/two.package" "$disk/" && sync "$disk/two.package" &&
    on_site unpack "$disk/two.package" &&
    on_site load
}

by_gzip() {
  local app
  for app in "${apps[@]}"; do
    docker --host "$desk_engine" save "bench/app$app:current" | gzip >"$work/gzip/app$app.tar.gz" || return
  done
  cp "$work"/gzip/app*.tar.gz "$disk/" && sync "$disk"/app*.tar.gz || return
  for app in "${apps[@]}"; do
    docker --host "$site_engine" load --quiet --input "$disk/app$app.tar.gz" || return
  done
}

# As it was before release two: the desk's store and the site have the first one, and the site's engine.
begin_again() {
  rm -rf "$desk" "$there" "$disk" "$work/gzip" "$work/two.package"
  cp -a "$work/desk-one" "$desk"
  cp -a "$work/there-one" "$there"
  mkdir "$disk" "$work/gzip"
  (export DOCKER_HOST=$site_engine; forget_two)
  [[ $(DOCKER_HOST=$site_engine contents) != "$(contents)" ]] || die 'the site has release two before it was brought'
}

declare -A seconds sizes
timed() { # NAME FUNCTION
  local begun
  begin_again
  sync
  begun=$EPOCHREALTIME
  "$2" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "failed: $2"; }
  seconds[$1]+="$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }') "
  [[ $(DOCKER_HOST=$site_engine contents) == "$(contents)" ]] || die "$2: the site's engine has other images than the desk's"
  sizes[$1]=$(find "$disk" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }')
  local all=${seconds[$1]% }
  echo "  $1: ${all##* } s, $((sizes[$1] / 1000)) kB on the disk" >&2
}

# --- The table

median() { tr ' ' '\n' <<<"${seconds[$1]:-}" | { grep . || true; } | sort -n | awk '{ all[NR] = $1 } END { if (NR) print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
list() { tr ' ' '\n' <<<"${seconds[$1]:-}" | { grep . || true; } | paste -sd ,; }

report() {
  jq -n --arg ours "$(median package)" --arg theirs "$(median gzip)" --argjson all_ours "[$(list package)]" --argjson all_theirs "[$(list gzip)]" \
    --argjson bytes "${sizes[package]}" --argjson peer_bytes "${sizes[gzip]}" --arg kind "$(cat "$work/kind")" \
    --arg version "$("$dpl" --version)" --arg cores "$(nproc)" --arg load "$(cut -d ' ' -f 1 /proc/loadavg)" \
    --arg engine "$(docker version --format '{{.Server.Version}}') $(docker info --format '{{.Driver}}')" '
    (($theirs | tonumber) / ($ours | tonumber)) as $times | ($peer_bytes / $bytes) as $smaller |
    {layer: $kind, dpl: $version, engine: $engine, cores: ($cores | tonumber), load_at_end: ($load | tonumber), rows: [
      {work: "nine images on one layer, from engine to engine", against: "docker save | gzip, cp, docker load, each",
       dpl: "\($ours) s", peer: "\($theirs) s", figure: $times, wanted: 10, reached: ($times >= 10), dpl_runs: $all_ours, peer_runs: $all_theirs},
      {work: "bytes on the disk", against: "nine .tar.gz", dpl: "\($bytes / 1e6 * 100 | round / 100) MB",
       peer: "\($peer_bytes / 1e6 * 100 | round / 100) MB", figure: $smaller, wanted: 25, reached: ($smaller >= 25)}]}' >"$output"
  jq -r '
    ["WORK", "AGAINST", "DPL", "PEER", "FIGURE", "WANTED", ""],
    (.rows[0] | [.work, .against, .dpl, .peer, "\(.figure * 10 | round / 10) times faster", "at least \(.wanted)", (if .reached then "reached" else "NOT REACHED" end)]),
    (.rows[1] | [.work, .against, .dpl, .peer, "1/\(.figure * 10 | round / 10)", "at most 1/\(.wanted)", (if .reached then "reached" else "NOT REACHED" end)])
    | @tsv' "$output" | column -t -s $'\t'
  echo "the layer: $(jq -r .layer "$output"); load at the end: $(cut -d ' ' -f 1-3 /proc/loadavg); as JSON: $output"
}

# --- The run

finish() {
  [[ ! $keep ]] || return 0
  "$here/../scripts/engine.sh" down "$name-desk" || true
  "$here/../scripts/engine.sh" down "$name-site" || true
  rm -rf "$work"
}
trap finish EXIT
# shellcheck disable=SC2086
desk_engine=$("$here/../scripts/engine.sh" up "$name-desk" $options); desk_engine=${desk_engine#DOCKER_HOST=}
# shellcheck disable=SC2086
site_engine=$("$here/../scripts/engine.sh" up "$name-site" $options); site_engine=${site_engine#DOCKER_HOST=}
export DOCKER_HOST=$desk_engine
make_images_on_layer
services=$(for app in "${apps[@]}"; do printf '"app%s": {"image": "bench/app%s:current"}, ' "$app" "$app"; done)
if [[ ! -e $work/there-one/stack.json ]]; then
  rm -rf "$desk" "$there" "$work"/{desk,there}-one
  mkdir -p "$desk" "$there"
  printf '{"project": "bench", "paths": {"images": "store"}, "services": {%s}}\n' "${services%, }" >"$desk/stack.json"
  show one
  on_desk save
  on_desk release create one
  on_desk pack --release one --for none --unsigned --output "$work/one.package"
  cp "$desk/stack.json" "$there/"
  docker save "${names[@]/%current/one}" | docker --host "$site_engine" load --quiet >/dev/null
  (export DOCKER_HOST=$site_engine; show one)
  on_site unpack "$work/one.package"
  rm "$work/one.package"
  mv "$desk" "$work/desk-one"
  mv "$there" "$work/there-one"
fi
show two
for ((run = 0; run < runs; run++)); do
  timed package by_package
  ((run % 2)) || timed gzip by_gzip
done
report
