#!/usr/bin/env bash
# Builds an image for each image that a manifest names, on the engine that DOCKER_HOST names: a real PostgreSQL,
# a real Redis, and small HTTP servers with a health path for all others. No registry, no internet but Debian's
# packages. What the engine has already is left alone, so that a second run takes a second.
#
#   stand-ins.sh [--release WORD] [--force] [MANIFEST [IMAGE…]]
#
# MANIFEST is manifests/local-docker.json unless another is named; IMAGE builds only those.
# --release WORD gives the HTTP servers another content under the same name, as a new release would.
# --force takes a name from an image that is no stand-in; without it, an image of somebody's own stays.
#
# Layers are kept in ${DPL_STAND_INS:-target/stand-ins}. Needs root the first time.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
source "$here/debian.sh"
cache=${DPL_STAND_INS:-$here/../target/stand-ins}
label=dpl.stand-in
default_suite=bookworm

usage() { sed -n '6s/^#   //p' "$0" >&2; exit 2; }

# --- What there is to build

images_of() { # MANIFEST: its references, each once, in order
  local dpl=${DPL:-$here/../target/debug/dpl} listed
  [[ -f $1 ]] || die "the manifest $1 does not exist"
  if [[ -x $dpl ]] && listed=$("$dpl" list --json "$1" 2>/dev/null) && [[ $listed == *'"image"'* ]]; then
    grep -o '"image": *"[^"]*"' <<<"$listed" | cut -d '"' -f 4 | awk '!seen[$0]++'
  elif command -v python3 >/dev/null; then
    python3 - "$1" <<'PYTHON'
import json, os, sys

def services(path):
    with open(path) as file:
        manifest = json.load(file)
    found = services(os.path.join(os.path.dirname(path), manifest["extends"])) if "extends" in manifest else {}
    for name, service in manifest.get("services", {}).items():
        found[name] = service and (service.get("image") or found[name])
    return found

print(*dict.fromkeys(filter(None, services(sys.argv[1]).values())), sep="\n")
PYTHON
  else
    die "who could read $1? Build dpl (cargo build) or name one in DPL, or install python3"
  fi
}

# Sets kind, suite, major and ports for a reference. The ports are those of the real image.
classify() { # REFERENCE
  local path=${1%:*} tag=${1##*:}
  kind=http suite=$default_suite major='' ports=8080
  case ${path##*/} in
    postgres)
      kind=postgres major=${tag%%[!0-9]*} ports=5432
      case $major in
        13) suite=bullseye ;;
        15) suite=bookworm ;;
        17) suite=trixie ;;
        18) suite=forky ;;
        *) die "$1: Debian has PostgreSQL 13, 15, 17 and 18 for a stand-in" ;;
      esac ;;
    redis) kind=redis ports=6379 ;;
    rabbitmq) ports='5672 15672' ;;
    minio) ports='9000 9001' ;;
    elasticsearch) ports='9200 9300' ;;
    nginx | pgadmin4 | *_ui) ports=80 ;;
    *_api | *_auth | *_mt | ocr | table | extract) ports=8000 ;;
  esac
}

# Everything that decides an image's content; the image carries its digest.
recipe() { # REFERENCE
  classify "$1"
  case $kind in
    http) digest_of debian_packages server_layer filler_layer http_config "$1" "$suite" "$ports" "$release" ;;
    *) digest_of debian_packages "${kind}_layer" "${kind}_config" "$1" "$suite" "$major" new_cluster ;;
  esac
}

# Functions stand for their text, all other words for themselves.
digest_of() {
  local word
  for word; do declare -f "$word" || echo "$word"; done | sha256sum | cut -c 1-32
}

# --- Layers: NAME.tar in the cache with its digest, the diff ID, in NAME.id

# layer NAME FUNCTION [ARGUMENT…]: FUNCTION fills the folder that it is given as $1. Sets made to the name.
layer() {
  local function=$2 arguments=("${@:3}") folder=$cache/work/layer
  made=$1-$(digest_of debian_packages "$function" "${arguments[@]}")
  [[ ! -e $cache/layers/$made.id ]] || return 0
  rm -rf --one-file-system "$folder"; mkdir -p "$folder"
  "$function" "$folder" "${arguments[@]}"
  pack "$folder" "$made"
  rm -rf --one-file-system "$folder"
}

pack() { # FOLDER NAME [TAR-OPTION…]
  tar --create --file "$cache/layers/$2.tar" --directory "$1" --sort=name --mtime=@1700000000 \
    --owner=0 --group=0 --numeric-owner "${@:3}" .
  sha256sum "$cache/layers/$2.tar" | cut -d ' ' -f 1 >"$cache/layers/$2.id.new"
  mv "$cache/layers/$2.id.new" "$cache/layers/$2.id"
}

# Makes a suite's base layer, and a folder of the packages that its servers need beyond it. Sets base and packages.
debian_packages() { # SUITE
  local root=$cache/work/root digest servers='postgresql-15 redis-server' server fetch merged=()
  digest=$(digest_of debian_packages debian_root "$1")
  case $1 in bullseye) servers=postgresql-13 ;; trixie) servers=postgresql-17 ;; forky) servers=postgresql-18 ;; esac
  base=base-$1-$digest packages=$cache/packages-$1-$digest
  [[ ! -e $cache/layers/$base.id ]] || return 0
  echo "stand-ins.sh: fetching Debian $1" >&2
  # The packages are chosen against the base, by apt itself, but only unpacked: their scripts would create
  # clusters and users and start services.
  rm -rf --one-file-system "$packages"; mkdir -p "$packages"
  fetch='set -eu; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"'
  for server in $servers; do
    mkdir -p "$packages/${server%%-*}/partial"
    # With an extension that is no part of the server, has rows of its own, and must be loaded at its start.
    [[ $server != postgresql-* ]] || server+=" $server-cron"
    fetch+="; apt-get --yes --quiet --download-only -o APT::Sandbox::User=root -o Dir::Cache::archives='$packages/${server%%-*}' install $server"
  done
  # By itself bullseye has folders /bin and /lib, which the links of a layer would hide.
  [[ $1 != bullseye ]] || merged=(--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh)
  debian_root "$1" "$root" --include=busybox --customize-hook="$fetch" "${merged[@]}"
  # /etc/apt would name the mirror, perl is there for Debian's tools only, and devices come with a container.
  pack "$root" "$base" --exclude='./dev/*' --exclude='./var/cache/*' --exclude='./var/lib/apt/*' --exclude='./var/log/*' \
    --exclude=./etc/apt --exclude=./etc/resolv.conf --exclude=./etc/hostname --exclude='./etc/dpkg/dpkg.cfg.d/*' \
    --exclude='./usr/lib/*/perl' --exclude='./usr/share/perl' --exclude='./tmp/*'
  [[ ! -d $packages/postgresql ]] || add_locales "$root" "$packages/postgresql"
  cp "$root/etc/passwd" "$root/etc/group" "$packages"
  rm -rf --one-file-system "$root"
}

# Makes en_US.utf8, the locale of the official PostgreSQL image, where Debian's tools can make it.
add_locales() { # ROOT PACKAGES
  unpack "$1" "$2"/locales_*.deb
  chroot "$1" localedef --no-archive -i en_US -f UTF-8 en_US.UTF-8
  cp -r "$1/usr/lib/locale/en_US.utf8" "$2"
}

# unpack FOLDER PACKAGE…: older packages still have /lib, which must not take the place of the base's link.
unpack() {
  local folder=$1 package part
  for part in bin sbin lib lib64; do
    [[ -e $folder/$part || -L $folder/$part ]] || { mkdir -p "$folder/usr/$part"; ln -s "usr/$part" "$folder/$part"; }
  done
  for package in "${@:2}"; do
    dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$folder" --keep-directory-symlink \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale'
  done
}

add_user() { # FOLDER NAME HOME
  mkdir -p "$1/etc"
  { cat "$packages/passwd"; echo "$2:*:999:999::$3:/bin/sh"; } >"$1/etc/passwd"
  { cat "$packages/group"; echo "$2:*:999:"; } >"$1/etc/group"
}

postgres_layer() { # FOLDER SUITE MAJOR new_cluster
  local package chosen=() bin=$1/usr/lib/postgresql/$3/bin
  for package in "$packages"/postgresql/*.deb; do
    case ${package##*/} in
      # Debian's own way to run clusters, and the just-in-time compiler: 110 MB, and PostgreSQL runs without.
      postgresql-*common_* | ssl-cert_* | locales_* | perl* | libperl* | libjson* | libgdbm* | libllvm* | libz3* | adduser_*) ;;
      *) chosen+=("$package") ;;
    esac
  done
  unpack "$1" "${chosen[@]}"
  rm -rf "$1/usr/lib/postgresql/$3/lib/bitcode" "$1/usr/lib/postgresql/$3/lib/"llvmjit* "$1/etc/postgresql"*
  mkdir -p "$1/usr/lib/locale" "$1/docker-entrypoint-initdb.d" "$1/usr/local/bin"
  cp -r "$packages/postgresql/en_US.utf8" "$1/usr/lib/locale/en_US.utf8"
  sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" "$1/usr/share/postgresql/$3/postgresql.conf.sample"
  add_user "$1" postgres /var/lib/postgresql
  # As in the official image, whose packages are installed and not only unpacked; without it initdb reads every time zone that
  # there is to find out which one the machine has, a third of its work.
  ln -sf /usr/share/zoneinfo/Etc/UTC "$1/etc/localtime"
  [[ -x $bin/postgres && -x $bin/pg_dump && -x $bin/initdb ]] || die "Debian $2 has no whole PostgreSQL $3"
  cat >"$1/usr/local/bin/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/bash
# Does what the official image's entrypoint does, as far as its variables are known here.
set -euo pipefail

[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"
for argument; do
  case $argument in -'?' | --help | --describe-config | -V | --version) exec "$@" ;; esac
done

if [[ $(id -u) == 0 ]]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"; chmod 3775 /var/run/postgresql
  find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres:postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/var/lib/postgresql "$0" "$@"
fi

fail() { echo "Error: $*" >&2; exit 1; }

# from_file NAME DEFAULT: NAME's value, or that of the file that NAME_FILE names.
from_file() {
  local file=$1_FILE
  [[ ! ${!1:-} || ! ${!file:-} ]] || fail "both $1 and $file are set (but are exclusive)"
  if [[ ${!file:-} ]]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

# initialise USER PASSWORD: as initdb does. Where nothing is asked for that differs from the cluster of this image, that one is
# copied, and gets an identifier of its own as each cluster has one: a tenth of initdb's work.
initialise() {
  local made=/usr/share/postgresql/$PG_MAJOR/cluster said
  if [[ $1 != postgres || ${POSTGRES_INITDB_ARGS:-} || ${TZ:-} || ${!LC_*} || ${LANG:-} != en_US.utf8 || $(ls -A "$PGDATA") ]]; then
    # shellcheck disable=SC2086 # several arguments in one variable, as the official image has it
    initdb --pgdata="$PGDATA" --username="$1" ${2:+--pwfile=<(printf '%s\n' "$2")} ${POSTGRES_INITDB_ARGS:-}
    return
  fi
  (umask 077; cp --recursive "$made/." "$PGDATA")
  # The first field of pg_control is the identifier; its highest byte stays, so that no tool takes it for a negative number.
  head --bytes=7 /dev/urandom | dd of="$PGDATA/global/pg_control" conv=notrunc status=none
  # It writes the control file's checksum again, and an empty log of the new identifier.
  said=$(pg_resetwal --force "$PGDATA" 2>&1) || fail "$said"
  # As initdb sets it.
  [[ ! $2 ]] || printf "ALTER ROLE postgres PASSWORD '%s'\n" "${2//"'"/"''"}" | postgres --single -D "$PGDATA" postgres >/dev/null
}

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  user=$(from_file POSTGRES_USER postgres)
  database=$(from_file POSTGRES_DB "$user")
  password=$(from_file POSTGRES_PASSWORD '')
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  [[ $password || $method == trust ]] || fail "Database is uninitialized and superuser password is not specified."

  initialise "$user" "$password"
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # Until all is set up nobody from outside may come in.
  pg_ctl --pgdata="$PGDATA" --wait --silent --options="-c listen_addresses=''" start
  sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username="$user")
  [[ $database == postgres ]] || "${sql[@]}" --dbname=postgres --set=name="$database" <<<'CREATE DATABASE :"name";'
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) echo "running $script"; . "$script" ;;
      *.sql) echo "running $script"; "${sql[@]}" --dbname="$database" --file="$script" ;;
      *.sql.gz) echo "running $script"; gunzip --stdout "$script" | "${sql[@]}" --dbname="$database" ;;
    esac
  done
  pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop
  unset user database password method sql script
  echo "PostgreSQL init process complete; ready for start up."
fi

exec "$@"
ENTRYPOINT
  chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"
  "$4" "$1" "$3"
}

# Puts a cluster as initdb makes it beside the server's files, for the entrypoint to copy.
new_cluster() { # FOLDER MAJOR
  local root=$cache/work/root cluster=$1/usr/share/postgresql/$2/cluster folder file same
  rm -rf --one-file-system "$root"; mkdir -p "$root"
  tar --extract --file "$cache/layers/$base.tar" --directory "$root"
  tar --create --directory "$1" . | tar --extract --directory "$root" --keep-directory-symlink
  mkdir -p "$root/dev/shm"; chmod 1777 "$root/dev/shm"
  mknod -m 666 "$root/dev/null" c 1 3
  mknod -m 666 "$root/dev/urandom" c 1 9
  mkdir "$root/made"; chown 999:999 "$root/made"
  chroot "$root" setpriv --reuid=999 --regid=999 --clear-groups env LANG=en_US.utf8 HOME=/made \
    "/usr/lib/postgresql/$2/bin/initdb" --pgdata=/made/cluster --username=postgres --auth=trust --no-sync >/dev/null
  # The log is written again for each copy.
  find "$root/made/cluster/pg_wal" -type f -delete
  # The user of a copy owns it alone, but the one who copies must be able to read.
  chmod -R a+rX "$root/made/cluster"
  mv "$root/made/cluster" "$cluster"
  rm -rf --one-file-system "$root"
  # Three databases that are the same but for a few files: a third of the bytes in the layer. Copies are files of their own.
  for folder in "$cluster"/base/*/; do
    [[ $folder != */base/1/ ]] || continue
    for file in "$folder"*; do
      same=$cluster/base/1/${file##*/}
      if cmp --silent "$file" "$same"; then ln --force "$same" "$file"; fi
    done
  done
}

redis_layer() { # FOLDER SUITE
  local package chosen=()
  for package in "$packages"/redis/*.deb; do
    case ${package##*/} in adduser_* | *lsb* | sysvinit*) ;; *) chosen+=("$package") ;; esac
  done
  unpack "$1" "${chosen[@]}"
  rm -rf "${1:?}/etc" "${1:?}/var"
  add_user "$1" redis /data
  mkdir -p "$1/data" "$1/usr/local/bin"
  cat >"$1/usr/local/bin/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/sh
# Does what the official image's entrypoint does: options and configuration files are the server's, which runs
# as user redis.
set -e
case $1 in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis:redis '{}' +
  exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi
# Nobody from outside may connect without a password unless this says so; the official image does, too.
if [ "$1" = redis-server ]; then set -- "$@" --protected-mode no; fi
exec "$@"
ENTRYPOINT
  chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"
}

server_layer() { # FOLDER
  local www=$1/srv/www bin=$1/usr/local/bin applet path
  mkdir -p "$bin" "$www"
  for applet in httpd wget nc ps; do ln -s /bin/busybox "$bin/$applet"; done
  # The health paths of the images that this stands in for.
  for path in health minio/health/live _cluster/health misc/ping; do
    mkdir -p "$www/$(dirname "$path")"
    echo '{"status":"green"}' >"$www/$path"
  done
  cat >"$bin/stand-in" <<'SERVER'
#!/bin/sh
# Serves its folder on each port of PORT until it is told to stop: as process 1 it gets no signal that it has not
# asked for. Its arguments are meant for the real program, and only shown.
trap 'echo stopping; exit 0' TERM INT QUIT
for port in $PORT; do httpd -f -p "$port" -h /srv/www & done
echo "ready on port $PORT, a stand-in for $STAND_IN_FOR${1:+ with arguments: $*}"
wait
SERVER
  # What health checks call in the real images.
  printf '#!/bin/sh\nfor url; do :; done\nexec wget -q -O - "$url"\n' >"$bin/curl"
  printf '#!/bin/sh\nexec wget -q -O /dev/null http://127.0.0.1:15672/health\n' >"$bin/rabbitmq-diagnostics"
  chmod 755 "$bin/stand-in" "$bin/curl" "$bin/rabbitmq-diagnostics"
}

# Data that no compressor can shrink, the same on every machine; perl is part of every Debian.
filler_layer() { # FOLDER NAME KIBIBYTES
  mkdir -p "$1/opt/$2"
  perl -e 'my ($seed, $kib) = @ARGV; srand($seed);
    print pack("N256", map { int rand 4294967296 } 1 .. 256) for 1 .. $kib' \
    "$(cksum <<<"$2" | cut -d ' ' -f 1)" "$3" >"$1/opt/$2/data.bin"
}

release_layer() { # FOLDER REFERENCE RELEASE
  filler_layer "$1" "${2/:/\/}/$3" 1024
  mkdir -p "$1/srv/www"
  echo "$2, release $3" >"$1/srv/www/index.html"
}

# --- Images

# list PREFIX SUFFIX ITEM…: a JSON list of strings, or an object's members with empty values.
list() {
  local item text=
  for item in "${@:3}"; do text+="${text:+,}\"$1$item\"$2"; done
  echo "$text"
}

image() { # REFERENCE: writes its configuration and its entry of the archive's manifest.json
  local layers=() config diff_ids history path=${1%:*}
  classify "$1"
  debian_packages "$suite"; layers+=("$base")
  case $kind in
    postgres) layer "postgres$major" postgres_layer "$suite" "$major" new_cluster; layers+=("$made") ;;
    redis) layer redis redis_layer "$suite"; layers+=("$made") ;;
    http)
      layer server server_layer; layers+=("$made")
      # One that all images of a vendor share, one of its own, one for each release.
      [[ $path != */* ]] || { layer "${path%%/*}" filler_layer "${path%%/*}" 4096; layers+=("$made"); }
      layer "${path//\//-}" filler_layer "$path" $((1024 + $(cksum <<<"$path" | cut -d ' ' -f 1) % 1024)); layers+=("$made")
      layer "${path//\//-}" release_layer "$1" "$release"; layers+=("$made") ;;
  esac
  diff_ids=$(for made in "${layers[@]}"; do cat "$cache/layers/$made.id"; done)
  history=$(for made in "${layers[@]}"; do echo "$made"; done)
  # shellcheck disable=SC2086 # one word for each layer
  printf '{"architecture":"%s","os":"linux","created":"2023-11-14T22:13:20Z","config":{%s,"Labels":{"%s":"%s"}},"rootfs":{"type":"layers","diff_ids":[%s]},"history":[%s]}' \
    "$(dpkg --print-architecture)" "$("${kind}_config" "$1")" "$label" "$(recipe "$1")" \
    "$(list sha256: '' $diff_ids)" "$(history_entries $history)" >"$cache/work/archive/config"
  config=$(sha256sum "$cache/work/archive/config" | cut -d ' ' -f 1).json
  mv "$cache/work/archive/config" "$cache/work/archive/$config"
  printf '{"Config":"%s","RepoTags":["%s"],"Layers":[%s]}' "$config" "$1" "$(list layers/ '' "${layers[@]/%/.tar}")"
  printf 'layers/%s.tar\n' "${layers[@]}" >>"$cache/work/archive/layers"
}

history_entries() {
  local name text=
  for name; do text+="${text:+,}{\"created\":\"2023-11-14T22:13:20Z\",\"created_by\":\"stand-ins.sh ${name%-*}\"}"; done
  echo "$text"
}

http_config() { # REFERENCE
  # shellcheck disable=SC2086 # one word for each port
  printf '"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","PORT=%s","STAND_IN_FOR=%s"],"Entrypoint":["stand-in"],"WorkingDir":"/srv/www","ExposedPorts":{%s}' \
    "$ports" "$1" "$(list '' ':{}' ${ports// //tcp }/tcp)"
}

postgres_config() {
  printf '"Env":["PATH=/usr/local/bin:/usr/lib/postgresql/%s/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=en_US.utf8","PG_MAJOR=%s","PGDATA=/var/lib/postgresql/data"],"Entrypoint":["docker-entrypoint.sh"],"Cmd":["postgres"],"ExposedPorts":{"5432/tcp":{}},"Volumes":{"/var/lib/postgresql/data":{}},"StopSignal":"SIGINT"' "$major" "$major"
}

redis_config() {
  printf '"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["docker-entrypoint.sh"],"Cmd":["redis-server"],"ExposedPorts":{"6379/tcp":{}},"Volumes":{"/data":{}},"WorkingDir":"/data"'
}

# --- The engine

# Prints the label of each reference, one a line: "absent" without the image, "foreign" without the label.
labels_of() {
  local format="{{with .Config.Labels}}{{with index . \"$label\"}}{{.}}{{else}}foreign{{end}}{{else}}foreign{{end}}" reference
  docker image inspect --format "$format" "$@" 2>/dev/null >"$cache/work/labels" && { cat "$cache/work/labels"; return; }
  for reference; do docker image inspect --format "$format" "$reference" 2>/dev/null || echo absent; done
}

load() { # REFERENCE…
  local reference entries=() joined
  rm -rf "$cache/work/archive"; mkdir -p "$cache/work/archive"
  for reference; do
    image "$reference" >"$cache/work/entry"
    entries+=("$(<"$cache/work/entry")")
  done
  joined=$(printf ',%s' "${entries[@]}")
  echo "[${joined:1}]" >"$cache/work/archive/manifest.json"
  sort -u "$cache/work/archive/layers" -o "$cache/work/archive/layers"
  (cd "$cache/work/archive" && tar --create --no-recursion ./*.json --directory "$cache" --files-from layers) |
    docker load --quiet >/dev/null
}

main() {
  local manifest=$here/../manifests/local-docker.json only=() force='' reference wanted=() found=() missing=() foreign=() i
  release=1
  while (($#)); do
    case $1 in
      --release) release=${2:-}; shift; [[ $release =~ ^[A-Za-z0-9._-]+$ ]] || usage ;;
      --force) force=yes ;;
      -*) usage ;;
      *) only+=("$1") ;;
    esac
    shift
  done
  ((${#only[@]} == 0)) || { manifest=${only[0]}; only=("${only[@]:1}"); }

  [[ ${DOCKER_HOST:-} ]] || die "set DOCKER_HOST to the engine that is to have them (scripts/engine.sh up NAME prints one)"
  need docker=docker.io flock=util-linux
  docker version >/dev/null 2>&1 || die "no engine answers at $DOCKER_HOST"
  mkdir -p "$cache/layers" "$cache/work"; cache=$(readlink -f "$cache")
  # Others may be building into this cache at the same time.
  exec {lock}<"$cache"; flock "$lock"

  images_of "$manifest" >"$cache/work/images"
  while read -r reference; do
    [[ $reference =~ ^[a-z0-9][a-z0-9./_-]*(:[A-Za-z0-9._-]+)?$ ]] || die "$manifest: '$reference' is no reference that this can build"
    [[ $reference == *:* ]] || reference+=:latest
    ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $reference "* ]] || continue
    wanted+=("$reference")
  done <"$cache/work/images"
  ((${#wanted[@]})) && ((${#only[@]} == 0 || ${#only[@]} == ${#wanted[@]})) ||
    die "$manifest does not name all of these images: ${only[*]:-any}"

  mapfile -t found < <(labels_of "${wanted[@]}")
  for i in "${!wanted[@]}"; do
    [[ ${found[i]} != "$(recipe "${wanted[i]}")" ]] || continue
    missing+=("${wanted[i]}")
    [[ ${found[i]} != foreign ]] || foreign+=("${wanted[i]}")
  done
  ((${#foreign[@]} == 0)) || [[ $force ]] ||
    die "these are no stand-ins, and stay (--force replaces them): ${foreign[*]}"
  ((${#missing[@]})) || { echo "stand-ins.sh: all ${#wanted[@]} are there" >&2; return; }

  ((EUID == 0)) || die "building needs root (it makes a Debian): run this as root"
  need perl dpkg-deb=dpkg
  echo "stand-ins.sh: building ${#missing[@]} of ${#wanted[@]}" >&2
  load "${missing[@]}"
  mapfile -t found < <(labels_of "${missing[@]}")
  for i in "${!missing[@]}"; do
    [[ ${found[i]} == "$(recipe "${missing[i]}")" ]] || die "the engine took ${missing[i]}, but does not have it"
  done
}

main "$@"
