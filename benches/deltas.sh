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

one='numpy==1.26.3 pandas==2.1.4 scipy==1.11.4 scikit-learn==1.3.2 opencv-python-headless==4.8.1.78 onnxruntime==1.16.3
  fastapi==0.104.1 uvicorn==0.24.0 sqlalchemy==2.0.23 pillow==10.1.0 pypdf==3.17.1'
two='numpy==1.26.4 pandas==2.2.0 scipy==1.11.4 scikit-learn==1.4.0 opencv-python-headless==4.9.0.80 onnxruntime==1.17.0
  fastapi==0.109.0 uvicorn==0.27.0 sqlalchemy==2.0.25 pillow==10.2.0 pypdf==4.0.1'
if [[ $size == small ]]; then
  one='numpy==1.26.3 fastapi==0.104.1 uvicorn==0.24.0 sqlalchemy==2.0.23 pillow==10.1.0 pypdf==3.17.1'
  two='numpy==1.26.4 fastapi==0.109.0 uvicorn==0.27.0 sqlalchemy==2.0.25 pillow==10.2.0 pypdf==4.0.1'
fi
wheels=(--no-deps --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none --platform any)
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do wheels+=(--platform "${platform}_x86_64"); done

# pip_root NAME PACKAGE…: what pip installs of them.
pip_root() {
  local name=$1; shift
  [[ ! -e $work/$name.root/.complete ]] || return 0
  rm -rf "$work/$name.root"
  python3 -m pip download --quiet "${wheels[@]}" --dest "$work/$name.wheels" "$@" &&
    python3 -m pip install --quiet "${wheels[@]}" --no-index --no-warn-script-location --root-user-action ignore \
      --target "$work/$name.root/usr/local/lib/python3.11/site-packages" "$work/$name.wheels"/*.whl &&
    touch "$work/$name.root/.complete"
}

# How much of this machine's files stands in for them.
declare -A stand_in_bytes=([large]=450000000 [small]=80000000)

# Files of this machine, and the same with something inserted and something changed in every second one.
stand_in_roots() {
  rm -rf "$work"/{one,two}.root
  python3 - "$work" "${stand_in_bytes[$size]}" <<'PYTHON'
import os, random, sys
work, most, made, chance = sys.argv[1], int(sys.argv[2]), 0, random.Random(1)
for folder, folders, names in sorted(os.walk("/usr/lib")):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path) or made > most:
            continue
        old = open(path, "rb").read()
        new = old
        if chance.random() < 0.5:
            parts = [old[at:at + 4096] for at in range(0, len(old), 4096)]
            new = b"".join(part if chance.random() < 0.6 else chance.randbytes(40) + part[90:] for part in parts)
        made += len(old)
        for root, content in (("one", old), ("two", new)):
            to = f"{work}/{root}.root{path}"
            os.makedirs(os.path.dirname(to), exist_ok=True)
            open(to, "wb").write(content)
PYTHON
}

layer() { # NAME ROOT TIME
  find "$work/$2.root" -name .complete -delete
  find "$work/$2.root" -exec touch --no-dereference --date "@$3" {} +
  tar --create --file "$work/$1.tar" --directory "$work/$2.root" --sort name --format posix \
    --pax-option delete=atime,delete=ctime --owner 0 --group 0 --numeric-owner usr
  touch "$work/$2.root/.complete"
}

at 'making the layers'
kind='Python packages'
if [[ $stand_in ]] || ! { pip_root one $one && pip_root two $two; }; then
  kind="a stand-in of this machine's own files, every second one changed"
  stand_in_roots
fi
layer one one 1705000000
layer times one 1706000123
layer two two 1710000000
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
