#!/usr/bin/env bash
# Makes docs/pictures/*.svg again from what the program shows in a terminal: the menu, a load, a replacement that fails
# and comes back, a rebuild. It runs on the demo's engine with its 25 services, in a folder of its own, and takes all of
# that away when it ends.
#
#   pictures.sh [NAME…]    all pictures, or those named: menu load failed rebuild
#
# The folder is ${DPL_PICTURES:-/srv/danganju}: it stands in the pictures. The dpl that is shown is DPL, or built here by
# `cargo build --release`. Needs root, as the demo does.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/debian.sh"
folder=${DPL_PICTURES:-/srv/danganju}
pictures=$(readlink -f "$here/../docs/pictures")
manifest=$folder/manifests/local-docker.json

[[ $EUID == 0 ]] || die 'the pictures need a private engine: run this as root'
need python3 docker=docker.io nsenter=util-linux
[[ ! -e $folder || -e $folder/engine ]] || die "$folder was not made by the demo; name another one in DPL_PICTURES"

# The demo works on an engine of its own.
unset DOCKER_HOST DOCKER_CONTEXT

program=${DPL:-}
if [[ ! $program ]]; then
  cargo build --release --quiet --manifest-path "$here/../Cargo.toml"
  program=${CARGO_TARGET_DIR:-$here/../target}/release/dpl
fi
program=$(readlink -f "$program")

wanted() { [[ " ${names[*]} " == *" $1 "* ]]; }

# picture NAME TITLE [OPTION…] STEP…
picture() {
  wanted "$1" || return 0
  echo "pictures.sh: $1" >&2
  (cd "$folder" && python3 "$here/terminal-picture.py" "$pictures/$1.svg" --title "$2" "${@:3}")
}

# Published ports of the engine are in its own network, so dpl works from there.
make_command() {
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\nexec nsenter "--net=/run/netns/%s" "%s" "$@"\n' "$("$here/engine.sh" netns "$engine")" "$program" >"$folder/bin/dpl"
  chmod +x "$folder/bin/dpl"
  export PATH=$folder/bin:$PATH XDG_STATE_HOME=$folder/state XDG_CONFIG_HOME=$folder/config
  # The remembered manifest would be named in each picture.
  export DPL_MANIFEST=$manifest LC_ALL=C.UTF-8
}

images_of() { dpl list --json "$@" | grep -o '"image": *"[^"]*"' | cut -d '"' -f 4; }

# Leaves the engine what the platform is made of, services 1 to 16, and nothing of the rest.
forget_upgrade() {
  local images
  mapfile -t images < <(images_of 17..25)
  dpl remove 17..25 --yes --quiet
  docker image rm "${images[@]}" >/dev/null
}

# The image of service 25 as a release that does not start.
spoil_release() {
  local image container
  image=$(images_of 25)
  container=$(docker create --entrypoint /bin/sh "$image")
  docker commit --change 'CMD []' --change 'ENTRYPOINT ["/bin/sh", "-c", "sleep 1; echo cannot open /models/v1.6.onnx: no such file >&2; exit 1"]' \
    "$container" "$image" >/dev/null
  docker rm "$container" >/dev/null
}

main() {
  names=("$@")
  ((${#names[@]})) || names=(menu load failed rebuild)
  trap 'DPL_DEMO=$folder "$here/demo.sh" --clean' EXIT
  mkdir -p "$pictures" "$here/../target"
  echo "pictures.sh: the demo, in $folder" >&2
  DPL_DEMO=$folder DPL=$program "$here/demo.sh" >"$here/../target/pictures.log" 2>&1 ||
    { tail -n 20 "$here/../target/pictures.log" >&2; die 'the demo failed'; }
  engine=demo-$(cksum <<<"$folder" | cut -d ' ' -f 1)
  DOCKER_HOST=$("$here/engine.sh" up "$engine")
  export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=}
  make_command

  picture menu 'the menu' --columns 100 'dpl manifests/local-docker.json' 'type:3\r' end
  if wanted load; then
    forget_upgrade
    picture load 'a load: only what is missing moves' --columns 100 'dpl load 17..25'
    dpl start --yes --quiet
  fi
  if wanted failed; then
    spoil_release
    picture failed 'a replacement that fails: the old container comes back' --columns 100 'dpl restart 25' 'dpl status 24,25'
  fi
  picture rebuild 'a rebuild: the old database goes last' --columns 100 'dpl db rebuild expert' 'type:expert\r'
}

main "$@"
