#!/usr/bin/env bash
# The main job on a real Docker Engine: 25 services are saved, wiped from the engine, loaded, started and restarted;
# two databases are dumped, spoiled, rebuilt and backed up. Every step's command line and time is shown, and the
# first failure ends it.
#
#   demo.sh           runs it all, from nothing, in a folder of its own: ${DPL_DEMO:-target/demo}
#   demo.sh --clean   takes away all that it made: containers, images, volumes, engine, folder
#
# The engine is a private one (root), unless DOCKER_HOST names the one to use; then nothing there is touched that the
# demo did not make. The dpl that it runs is DPL, or built here by `cargo build --release`.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/debian.sh"
source "$here/demo-common.sh"
folder=$(readlink -m "${DPL_DEMO:-$here/../target/demo}")
# Two clones of the project have two engines.
engine_name=demo-$(cksum <<<"$folder" | cut -d ' ' -f 1)
project=danganju
postgres=$project-postgres-1

# Published ports of a private engine are in its own network, so dpl works from there. Nothing may ask.
dpl() { "${inside[@]}" "$program" "$@" </dev/null; }

sql() { docker exec "$postgres" psql --no-psqlrc -v ON_ERROR_STOP=1 -U postgres "$@"; }

# Makes the demo's folder, which says in a file whose engine this is: only then may `clean` take things from it.
prepare_engine() {
  local kind
  if [[ ${DOCKER_HOST:-} ]]; then
    inside=()
    for kind in 'ps --all' network volume; do
      # shellcheck disable=SC2086 # ps has an option of its own
      [[ ! $(ours $kind) ]] || die "$DOCKER_HOST has a project $project that the demo did not make; it stays"
    done
    mkdir -p "$folder"
    echo "$DOCKER_HOST" >"$folder/engine"
  else
    mkdir -p "$folder"
    echo private >"$folder/engine"
    step "$here/engine.sh" up "$engine_name"
    DOCKER_HOST=$("$here/engine.sh" up "$engine_name")
    export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=}
    inside=(nsenter "--net=/run/netns/$("$here/engine.sh" netns "$engine_name")")
  fi
}

prepare_site() {
  local variable
  for variable in ${!DANGANJU_@} DPL_MANIFEST; do unset "$variable"; done
  export XDG_STATE_HOME=$folder/state XDG_CONFIG_HOME=$folder/config
  copy_manifests "$folder/manifests"
}

# What the engine has of the project: ours ps|volume|network.
ours() {
  case $1 in
    ps) docker ps "${@:2}" --quiet --filter "name=^/?$project-" ;;
    *) docker "$1" ls --quiet --filter "name=^${project}_" ;;
  esac
}

# The stand-ins among the manifest's images; an image of somebody's own has no such label.
stand_ins() {
  local reference
  while read -r reference; do
    docker image inspect --format "{{with .Config.Labels}}{{with index . \"dpl.stand-in\"}}$reference{{end}}{{end}}" "$reference" 2>/dev/null || true
  done < <(dpl list --json manifests/local-docker.json | grep -o '"image": *"[^"]*"' | cut -d '"' -f 4 | sort -u)
}

wipe_images() {
  local images
  mapfile -t images < <(stand_ins)
  ((${#images[@]} == 25)) || die "25 stand-ins were to be wiped, the engine has ${#images[@]}"
  docker image rm "${images[@]}" >/dev/null
  [[ ! $(stand_ins) ]] || die "the engine still has images"
}

clean() {
  [[ -d $folder ]] || return 0
  [[ -e $folder/engine ]] || die "$folder was not made by the demo; it stays"
  local engine
  engine=$(<"$folder/engine")
  if [[ $engine == private ]]; then
    "$here/engine.sh" down "$engine_name"
    rmdir --ignore-fail-on-non-empty "${DPL_ENGINES:-/var/lib/dpl-engines}" 2>/dev/null || true
  else
    DOCKER_HOST=$engine
    export DOCKER_HOST
    docker version >/dev/null || die "$DOCKER_HOST does not answer; what the demo left there could not be removed"
    ours ps --all | xargs -r docker rm --force --volumes >/dev/null
    ours network | xargs -r docker network rm >/dev/null
    ours volume | xargs -r docker volume rm >/dev/null
    xargs -r -a "$folder/images" docker image rm >/dev/null 2>&1 || true
  fi
  rm -rf --one-file-system "$folder"
}

main() {
  begin "$@"
  trap '(($? == 0)) || echo "demo.sh: failed at: $current" >&2' EXIT
  local began=$SECONDS
  need docker=docker.io nsenter=util-linux
  (clean)

  find_program
  prepare_engine
  prepare_site
  cd "$folder"

  DPL=$program step "$here/stand-ins.sh" manifests/local-docker.json
  stand_ins >"$folder/images"

  step dpl save manifests/local-docker.json all
  step wipe_images
  step dpl load manifests/local-docker.json
  step dpl start manifests/local-docker.json --yes

  step sql -q -d expert -c "SET ROLE expert;
    CREATE TABLE workflow (id int PRIMARY KEY, name text NOT NULL, definition jsonb, changed_at timestamptz DEFAULT now());
    INSERT INTO workflow SELECT n, 'workflow ' || n, jsonb_build_object('nodes', n % 40) FROM generate_series(1, 20000) n;"
  step sql -q -d metis -c "SET ROLE metis;
    CREATE TABLE worker (name text PRIMARY KEY);
    INSERT INTO worker VALUES ('cpu'), ('crypt'), ('gpu');
    CREATE TABLE task (id bigserial PRIMARY KEY, worker text REFERENCES worker, payload bytea);
    INSERT INTO task (worker, payload) SELECT (ARRAY['cpu', 'crypt', 'gpu'])[1 + n % 3], sha256(n::text::bytea) FROM generate_series(1, 50000) n;"
  step dpl db dump expert metis --yes

  step sql -q -d expert -c 'DELETE FROM workflow WHERE id > 100'
  step sql -q -d metis -c 'DROP TABLE task'
  step dpl db rebuild expert metis --yes
  step rows expert workflow 20000
  step rows metis task 50000
  step dpl db backup --yes

  step dpl restart '17..25' --yes
  step dpl status

  printf '\nAll of it in %d s. The site is in %s, the engine at %s\n' $((SECONDS - began)) "$folder" "$DOCKER_HOST"
  echo "Away with it: scripts/demo.sh --clean"
}

main "$@"
