#!/usr/bin/env bash
# An upgrade of a site over ssh, as docs/field-guide.md has it (steps 4 to 10, 13 and 14), between two private hosts: a desk and
# a site with an engine each, on a wire of 100 Mbit/s. Then a second upgrade, whose connections are broken once in each of its
# five commands. Every step's command line and time is shown, and the first failure ends it.
#
#   demo-sites.sh           runs it all, from nothing, in a folder of its own: ${DPL_DEMO:-target/demo-sites}
#   demo-sites.sh --clean   takes away all that it made: containers, images, volumes, engines, folder
#
# The dpl that it runs is DPL, or built here by `cargo build --release`. Needs root; no registry and no other machine.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/debian.sh"
source "$here/demo-common.sh"
source "$here/hosts.sh"
folder=$(readlink -m "${DPL_DEMO:-$here/../target/demo-sites}")
# Two clones of the project have two pairs of hosts.
name=ds$(($(cksum <<<"$folder" | cut -d ' ' -f 1) % 10000))
postgres=danganju-postgres-1
replaced='17..25'

# As typed at the desk, beside the manifest. Nothing may ask.
dpl() { (cd "$folder/desk/manifests" && "${on_desk[@]}" "HOME=$folder/desk" "$program" --progress plain "$@" </dev/null); }

copy() { (cd "$folder/desk/manifests" && "${on_desk[@]}" scp -qr "$@"); }

# The same command, whose connections are broken once when so many bytes have come and gone.
cut_once() { # BYTES COMMAND…
  local bytes=$1 before; shift
  before=$(wire_bytes)
  "$@" &
  local running=$!
  while kill -0 "$running" 2>/dev/null; do
    if (($(wire_bytes) - before >= bytes)); then
      hosts_cut
      echo '   (the connection is broken here)'
      break
    fi
    sleep 0.01
  done
  wait "$running"
}
wire_bytes() { ip -n "$desk_space" -s -j link show wire | jq '.[0].stats64 | .tx.bytes + .rx.bytes'; }

sql_here() { DOCKER_HOST=$desk_engine docker exec "$postgres" psql --no-psqlrc -v ON_ERROR_STOP=1 -U postgres "$@"; }
# At the site.
sql() { DOCKER_HOST=$site_engine docker exec "$postgres" psql --no-psqlrc -v ON_ERROR_STOP=1 -U postgres "$@"; }

# Every replaced service at the site must run the image that the desk has under its name.
same_images() {
  local service image ours theirs count=0
  while read -r service image; do
    ours=$(DOCKER_HOST=$desk_engine docker image inspect --format '{{.Id}}' "$image")
    theirs=$(DOCKER_HOST=$site_engine docker inspect --format '{{.Image}} {{.State.Running}}' "danganju-$service-1")
    [[ $theirs == "$ours true" ]] || die "$service at the site runs $theirs, not $ours"
    count=$((count + 1))
  done < <(dpl list --json | jq -r '.services[] | select(.index >= 17 and .index <= 25) | "\(.name) \(.image)"')
  ((count == 9)) || die "$count services were compared, not 9"
  echo 'nine services at the site run what was delivered'
}

# A release is made at the desk: new content of the nine images, new rows in the databases.
new_release() { # WORD ROWS
  local images
  mapfile -t images < <(dpl list --json | jq -r '.services[] | select(.index >= 17 and .index <= 25) | .image' | sort -u)
  DOCKER_HOST=$desk_engine DPL=$program step "$here/stand-ins.sh" --release "$1" "$folder/desk/manifests/local-docker.json" "${images[@]}"
  sql_here -q -d expert -c "INSERT INTO workflow SELECT n, 'workflow ' || n FROM generate_series((SELECT count(*) + 1 FROM workflow), $2) n"
  # Step 4: dump for the delivery, save the images.
  step dpl do "5 - [2, 3] - 1 - [$replaced]" --yes
}

clean() {
  [[ -d $folder ]] || return 0
  [[ -e $folder/hosts ]] || die "$folder was not made by the demo; it stays"
  hosts_name=$name hosts=$folder/hosts
  hosts_down
  rm -rf --one-file-system "$folder"
}

main() {
  begin "$@"
  trap 'code=$?; ((code == 0)) || echo "demo-sites.sh: failed at: $current" >&2; hosts_leave; exit $code' EXIT
  local began=$SECONDS
  need jq ss=iproute2
  (clean)
  find_program
  mkdir -p "$folder/desk" "$folder/prod"
  hosts_up "$name" "$folder/hosts"
  hosts_rate 100
  unset DPL_MANIFEST "${!DANGANJU_@}"
  copy_manifests "$folder/desk/manifests"
  printf '{"sites": {"prod": {"ssh": "site", "folder": "%s", "manifest": "manifests/local-docker.json"}}}\n' "$folder/prod" >"$folder/desk/manifests/sites.json"
  DOCKER_HOST=$desk_engine DPL=$program step "$here/stand-ins.sh" "$folder/desk/manifests/local-docker.json"

  dpl use local-docker.json
  step dpl start postgres --yes
  sql_here -q -d expert -c 'SET ROLE expert; CREATE TABLE workflow (id int PRIMARY KEY, name text NOT NULL);'
  sql_here -q -d metis -c "SET ROLE metis; CREATE TABLE task AS SELECT n AS id, sha256(n::text::bytea) AS payload FROM generate_series(1, 30000) n;"

  printf '\n== The site as it is before: release 1 of everything\n'
  new_release one 5000
  step dpl save all --yes
  step dpl sites --check
  step dpl send prod --secrets --yes
  # Folders and files that services mount are the site's own: they are copied by hand.
  step copy config "site:$folder/prod/manifests/"
  step dpl on prod load --yes
  step dpl on prod start --yes
  step dpl do 'on prod: 6 - [2, 3]' --yes
  rows expert workflow 5000

  printf '\n== The upgrade, steps 5 to 10\n'
  new_release two 8000
  step dpl do "on prod: 7 - [2, 3] - 4 - [$replaced]" --yes
  step dpl send prod --yes
  step dpl do 'on prod: 2 - 25 - 3 - 25' --yes
  step dpl do "on prod: 6 - [2, 3] - 2 - [$replaced] - 3 - [$replaced]" --yes
  step dpl fetch prod
  rows expert workflow 8000
  rows metis task 30000
  same_images

  printf '\n== The next upgrade; each command loses its connection\n'
  new_release three 9000
  step cut_once 30000 dpl do "on prod: 7 - [2, 3] - 4 - [$replaced]" --yes
  step cut_once 1000000 dpl send prod --yes
  step cut_once 30000 dpl do 'on prod: 2 - 25 - 3 - 25' --yes
  step cut_once 30000 dpl do "on prod: 6 - [2, 3] - 2 - [$replaced] - 3 - [$replaced]" --yes
  step cut_once 60000 dpl fetch prod
  rows expert workflow 9000
  rows metis task 30000
  same_images
  step dpl on prod status

  printf '\nAll of it in %d s. The desk is %s, the site %s\n' $((SECONDS - began)) "$folder/desk" "$folder/prod"
  echo "Away with it: scripts/demo-sites.sh --clean"
}

main "$@"
