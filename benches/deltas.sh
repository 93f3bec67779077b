#!/usr/bin/env bash
# Measures deltas inside layers against a patch of the whole layer by zstd's own command, in turn in the same run.
#
#   deltas.sh [--runs N] [--levels "LEVEL…"] [--small] [--stand-in]
#
# --runs N        how often each contender has its turn (3); medians are printed
# --levels        dpl's levels to measure beside the default one (none); 3 6 12 take a quarter of an hour on two cores
# --small         a layer of the smaller packages: some 90 MB instead of 560
# --stand-in      makes the layers of this machine's own files, as where no Python packages can be had
#
# The layer is one of Python packages, in two releases some weeks apart, seven of eleven upgraded, all times new. They come
# by pip from wherever it is configured to take them, and are kept in target/bench/deltas. Nine images on that layer make the
# packages. Needs python3, zstd, and the program time; docs/benchmarks.md has results. What it is at, it says on standard error.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/../scripts/debian.sh"

usage() { sed -n '4,9s/^# \{0,3\}//p' "$0" >&2; exit 2; }
at() { echo "deltas.sh: $* (after $SECONDS s)" >&2; }

runs=3 levels='' stand_in='' size=large
while (($#)); do
  case $1 in
    --runs) runs=${2:-}; shift ;;
    --levels) levels=${2:-}; shift ;;
    --small) size=small ;;
    --stand-in) stand_in=yes ;;
    *) usage ;;
  esac
  shift
done
[[ $runs =~ ^[1-9][0-9]?$ ]] || usage

need python3 zstd time gzip
work=$(readlink -f "$here/..")/target/bench/deltas/$size
mkdir -p "$work"
# The programs that are measured: DPL_LAYER_DELTAS and DPL name ones that are built.
tool=${DPL_LAYER_DELTAS:-} dpl=${DPL:-}
if [[ ! $tool ]]; then
  at 'building layer_deltas'
  tool=$(cargo bench --locked --bench layer_deltas --no-run --message-format json |
    sed -nE 's/.*"name":"layer_deltas".*"executable":"([^"]+)".*/\1/p' | tail -n 1)
fi
[[ -x $tool ]] || die 'layer_deltas could not be built: cargo bench --bench layer_deltas --no-run'
if [[ ! $dpl ]]; then
  at 'building dpl'
  cargo build --locked --release --bin dpl
  dpl=$(readlink -f "$here/..")/target/release/dpl
fi
[[ -x $dpl ]] || die 'dpl could not be built: cargo build --release'
threads=$(nproc)

# --- The layers

layers=$work
source "$here/python-layers.sh"
at 'making the layers'
make_layers
for name in one two times; do zstd -2 --quiet --force "$work/$name.tar" -o "$work/$name.tar.zst"; done

# --- The contenders

# timed NAME COMMAND…: its seconds and its memory in MiB, each turn one line of $work/NAME.times.
timed() {
  local name=$1; shift
  /usr/bin/time --format '%e %M' --output "$work/time" "$@" >"$work/said"
  local seconds kibibytes said
  read -r seconds kibibytes <"$work/time"
  # The program says its own time, without the digests that a caller has anyway.
  read -r said _ <"$work/said" || true
  echo "${said:-$seconds} $((kibibytes / 1024))" >>"$work/$name.times"
}
seconds_of() { sort -n "$work/$1.times" | sed -n "$(((runs + 1) / 2))p" | cut -d ' ' -f 1; }
# Of what has one turn alone.
seconds_of_one() { tail -n 1 "$work/$1.times" | cut -d ' ' -f 1; }
memory_of() { cut -d ' ' -f 2 "$work/$1.times" | sort -n | tail -n 1; }
bytes_of() { stat --format %s "$work/$1"; }
rm -f "$work"/*.times

patch_from() { timed "patch-$1" zstd "-$1" --long=29 --quiet --force "--patch-from=$work/one.tar" "$work/two.tar" -o "$work/patch-$1"; }
make() { timed "delta-$1" "$tool" create "$work/two.tar" "$work/delta-$1" "$1" "$threads" "$work/one.tar"; }
for ((run = 1; run <= runs; run++)); do
  at "turn $run of $runs"
  patch_from 9
  make 9
  timed decompress zstd --decompress --quiet --force "$work/two.tar.zst" -o "$work/plain.tar"
  timed unpack "$tool" unpack "$work/one.tar.zst" "$work/base.tar"
  timed apply "$tool" apply "$work/delta-9" "$work/rebuilt.tar" "$threads" "$work/base.tar"
  cmp "$work/rebuilt.tar" "$work/two.tar"
  timed times "$tool" create "$work/times.tar" "$work/delta-times" 9 "$threads" "$work/one.tar"
done
for level in $levels; do
  at "level $level"
  for ((run = 1; run <= runs; run++)); do
    patch_from "$level"
    make "$level"
  done
done
at 'gzip'
timed gzip gzip --keep --force "$work/two.tar"
gzip_bytes=$(bytes_of two.tar.gz)
timed gunzip gzip --decompress --keep --force "$work/two.tar.gz"
rm -f "$work"/{plain,base,rebuilt}.tar "$work/two.tar.gz"

# --- Nine images on the layer, from a desk to a machine, by files

# archive NAME: nine images on that layer as `docker save` writes them.
archive() {
  python3 - "$work" "$1" <<'PYTHON'
import hashlib, io, json, sys, tarfile
work, name = sys.argv[1:]
path = f"{work}/{name}.tar"
digest = hashlib.sha256()
with open(path, "rb") as layer:
    for block in iter(lambda: layer.read(1 << 20), b""):
        digest.update(block)
digest = digest.hexdigest()
architecture = {"aarch64": "arm64"}.get(__import__("platform").machine(), "amd64")
with tarfile.open(f"{work}/{name}.images.tar", "w", format=tarfile.GNU_FORMAT) as out:
    def add(name, content):
        header = tarfile.TarInfo(name)
        header.size = len(content)
        out.addfile(header, io.BytesIO(content))
    out.add(path, f"{digest}/layer.tar")
    items = []
    for number in range(9):
        config = {"os": "linux", "architecture": architecture, "config": {"Labels": {"image": str(number)}},
                  "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
        add(f"{number}.json", json.dumps(config).encode())
        items.append({"Config": f"{number}.json", "RepoTags": [f"work{number}:1"], "Layers": [f"{digest}/layer.tar"]})
    add("manifest.json", json.dumps(items).encode())
PYTHON
}
at 'nine images'
rm -rf "$work"/{desk,site}
mkdir "$work"/{desk,site}
export DPL_KEYS=$work/desk/keys XDG_STATE_HOME=$work/desk/state DOCKER_HOST=unix:///nonexistent
python3 -c 'import json; print(json.dumps({"project": "nine", "paths": {"images": "store"},
  "services": {f"work{number}": {"image": f"work{number}:1"} for number in range(9)}}))' >"$work/desk/stack.json"
at_desk=(env --chdir "$work/desk" "$dpl" -f stack.json --yes --quiet)
at_site=(env --chdir "$work/site" "$dpl" --yes --quiet)
for release in one two; do
  archive "$release"
  "${at_desk[@]}" images import "$work/$release.images.tar" >&2
  "${at_desk[@]}" release create "$release" >&2
  rm "$work/$release.images.tar"
done
"${at_desk[@]}" pack --release one --for none --unsigned --output "$work/one.package" >&2
"${at_site[@]}" unpack "$work/one.package" >&2
timed pack "${at_desk[@]}" pack --release two --for one --unsigned --output "$work/two.package"
timed unpack-package "${at_site[@]}" unpack "$work/two.package"
"${at_site[@]}" -f stack.json images verify >&2
package_bytes=$(bytes_of two.package)
rm -rf "$work"/{desk,site} "$work"/*.package

# --- The table

ratio() { awk -v one="$1" -v two="$2" 'BEGIN { printf "%.2f", one / two }'; }
megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.2f MB", bytes / 1e6 }'; }
echo "The layer: $kind; $(megabytes "$(bytes_of two.tar)"), $(find "$work/two.root" -type f | wc -l) files; $threads threads"
echo
echo '| work | level | dpl | peer | ratio |'
echo '|---|---|---|---|---|'
for level in 9 $levels; do
  echo "| bytes, against \`zstd --long=29 --patch-from\` | $level | $(megabytes "$(bytes_of delta-$level)") | $(megabytes "$(bytes_of patch-$level)") | $(ratio "$(bytes_of delta-$level)" "$(bytes_of patch-$level)") |"
  echo "| create | $level | $(seconds_of delta-$level) s, $(memory_of delta-$level) MiB | $(seconds_of patch-$level) s, $(memory_of patch-$level) MiB | $(ratio "$(seconds_of delta-$level)" "$(seconds_of patch-$level)") |"
done
echo "| bytes, against gzip | 9 | $(megabytes "$(bytes_of delta-9)") | $(megabytes "$gzip_bytes") | $(ratio "$(bytes_of delta-9)" "$gzip_bytes") |"
echo "| only times changed | 9 | $(megabytes "$(bytes_of delta-times)"), $(seconds_of times) s | | |"
echo "| apply, against \`zstd -d\` | 9 | $(seconds_of apply) s, $(memory_of apply) MiB | $(seconds_of decompress) s | $(ratio "$(seconds_of apply)" "$(seconds_of decompress)") |"
both=$(awk -v one="$(seconds_of unpack)" -v two="$(seconds_of apply)" 'BEGIN { print one + two }')
echo "| apply, and decompress the old layer first | 9 | $both s | $(seconds_of decompress) s | $(ratio "$both" "$(seconds_of decompress)") |"
nine() { awk -v one="$1" 'BEGIN { print 9 * one }'; }
fraction() { awk -v one="$1" -v two="$2" 'BEGIN { printf "1/%.0f", two / one }'; }
echo "| nine images on it, nothing else new: package, against nine \`.tar.gz\` of the layer | 9 | $(megabytes "$package_bytes") | $(megabytes "$(nine "$gzip_bytes")") | $(fraction "$package_bytes" "$(nine "$gzip_bytes")") |"
there=$(awk -v one="$(seconds_of_one pack)" -v two="$(seconds_of_one unpack-package)" 'BEGIN { print one + two }')
here_and_there=$(nine "$(awk -v one="$(seconds_of_one gzip)" -v two="$(seconds_of_one gunzip)" 'BEGIN { print one + two }')")
echo "| pack and unpack, against gzip and gunzip of nine | 9 | $there s | $here_and_there s | $(ratio "$here_and_there" "$there") times faster |"
