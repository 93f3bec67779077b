# shellcheck shell=bash
# Nine images like the field's, for the benchmarks; sourced, never run: a common base of about 700 MB in two layers and 30 to
# 170 MB of each image's own. bench/appN:one and bench/appN:two differ in their last layer, of 20 MB.
#
# Wants `here`, `cache` (kept between runs), `work` (of this run), `scale` (percent) and `keep`; DOCKER_HOST is the engine.

# Of each image's own megabytes, the last 20 are the layer that the next release changes.
own=(10 15 20 25 30 40 60 120 150)
changed_mb=20
apps=(1 2 3 4 5 6 7 8 9)
names=("${apps[@]/#/bench/app}")
names=("${names[@]/%/:current}")

# The files of two Debian roots: the essential one, and one with the libraries that such services stand on.
fetch_roots() {
  [[ -e $cache/roots/.complete ]] && return
  echo 'fetching Debian packages' >&2
  mkdir -p "$cache/roots"
  [[ -e $cache/roots/one/bin ]] || debian_root bookworm "$cache/roots/one"
  debian_root bookworm "$cache/roots/two" --include=python3-scipy,python3-pandas,python3-opencv,python3-sklearn
  touch "$cache/roots/.complete"
}

# Prints files of a root, in order, up to so many megabytes.
files_of() { # ROOT MEGABYTES
  (cd "$1" && LC_ALL=C find . -xdev \( -type f -o -type l \) ! -path './dev/*' -printf '%p\t%s\n' | LC_ALL=C sort) |
    awk -F '\t' -v limit="$(($2 * 1000000))" 'sum + $2 <= limit { sum += $2; print $1 }'
}

archive() { # FILE FOLDER: of the files on standard input
  tar --create --file "$1" --directory "$2" --no-recursion --verbatim-files-from --files-from - \
    --owner 0 --group 0 --numeric-owner --mtime @1700000000
}

# New content that compresses as the roots' files do: their bytes, each turned by the same number of steps.
content() { # FOLDER MEGABYTES SKIP STEPS
  local turned
  printf -v turned '\\%03o-\\377\\000-\\%03o' "$4" $(($4 - 1))
  mkdir -p "$1"
  # shellcheck disable=SC2016
  (tail --bytes +$(($3 * 1000000 + 1)) "$cache/roots/content" | head --bytes $(($2 * 1000000)) || true) |
    tr '\000-\377' "$turned" | split --bytes 262144 --suffix-length 4 - "$1/part-"
}

# Builds FROM and one more layer for each archive.
build() { # NAME FROM ARCHIVE…
  local name=$1 from=$2 context; shift 2
  context=$(mktemp -d "$work/context-XXXX")
  { echo "FROM $from"; for layer; do ln "$layer" "$context/"; echo "ADD ${layer##*/} /"; done; echo 'CMD ["/srv"]'; } >"$context/Dockerfile"
  DOCKER_BUILDKIT=0 docker build --quiet --tag "$name" "$context" 2>/dev/null >/dev/null
  rm -r "$context"
}

# Makes bench/appN:one and bench/appN:two, which differ in their last layer.
make_images() {
  local at app megabytes version layers=$work/layers
  docker image inspect "${names[@]/%current/two}" "${names[@]/%current/one}" >/dev/null 2>&1 && return
  if [[ -e $work/images.tar ]]; then
    docker load --quiet --input "$work/images.tar" >/dev/null
    return
  fi
  fetch_roots
  echo 'making the images' >&2
  mkdir -p "$layers"
  files_of "$cache/roots/one" $((130 * scale / 100)) >"$work/one"
  archive "$layers/base-one.tar" "$cache/roots/one" <"$work/one"
  files_of "$cache/roots/two" 700 | grep -vxFf <(files_of "$cache/roots/one" 1000) >"$work/all-of-two"
  (cd "$cache/roots/two" && tr '\n' '\0' <"$work/all-of-two" | xargs -0 stat --format '%n	%s') |
    awk -F '\t' -v limit="$((570 * scale * 10000))" 'sum + $2 <= limit { sum += $2; print $1 }' >"$work/two"
  archive "$layers/base-two.tar" "$cache/roots/two" <"$work/two"
  (cd "$cache/roots/two" && tr '\n' '\0' <"$work/all-of-two" | xargs -0 cat 2>/dev/null || true) >"$cache/roots/content"
  build bench/base:1 scratch "$layers/base-one.tar" "$layers/base-two.tar"
  for at in "${!apps[@]}"; do
    app=${apps[at]} megabytes=$(((own[at] * scale + 99) / 100))
    content "$work/own/opt/app$app" "$megabytes" $((at * 45 * scale / 100)) $((11 * app))
    (cd "$work/own" && find . -type f | LC_ALL=C sort) | archive "$layers/own-$app.tar" "$work/own"
    rm -r "$work/own"
    for version in one two; do
      content "$work/own/srv/app$app" $(((changed_mb * scale + 99) / 100)) $(((at * 31 + 60) * scale / 100)) $((11 * app + ${#version} + $([[ $version == one ]] && echo 2 || echo 5)))
      (cd "$work/own" && find . -type f | LC_ALL=C sort) | archive "$layers/$version-$app.tar" "$work/own"
      rm -r "$work/own"
      build "bench/app$app:$version" bench/base:1 "$layers/own-$app.tar" "$layers/$version-$app.tar"
    done
    rm "$layers"/*-"$app.tar"
  done
  rm -r "$layers" "$cache/roots/content"
  [[ ! $keep ]] || docker save --output "$work/images.tar" "${names[@]/%current/one}" "${names[@]/%current/two}"
}

show() { # one|two: lets bench/appN:current name that version
  local app
  for app in "${apps[@]}"; do docker tag "bench/app$app:$1" "bench/app$app:current"; done
}

# The engine as it was before version two came: what the peers' and our own loads left goes.
forget_two() {
  show one
  docker images --format '{{.Repository}}:{{.Tag}}' | { grep -E '^dpl-kept:|:two$' || true; } | xargs -r docker rmi >/dev/null
  docker image prune --force >/dev/null
}

# An image on which another is built goes only after that one.
wipe() {
  local left
  while left=$(docker images --all --quiet | sort -u) && [[ $left ]]; do
    # shellcheck disable=SC2086
    docker rmi --force $left >/dev/null 2>&1 || true
  done
}
