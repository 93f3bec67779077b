# shellcheck shell=bash
# What the scripts here share about Debian; sourced, never run. Packages come from wherever this machine's own
# apt is configured to take them: no host is named here. DPL_DEBIAN_MIRROR overrides, for machines whose apt
# knows no Debian (Ubuntu, say).

die() { echo "${0##*/}: $*" >&2; exit 1; }

# need TOOL[=PACKAGE]…: installs what is missing. The daemons live in sbin, which not every PATH has.
need() {
  PATH=$PATH:/usr/sbin:/sbin
  local wish packages=() absent=()
  for wish; do
    command -v "${wish%%=*}" >/dev/null && continue
    absent+=("${wish%%=*}") packages+=("${wish#*=}")
  done
  ((${#absent[@]})) || return 0
  command -v apt-get >/dev/null || die "${absent[*]} missing, and this machine has no apt to install ${packages[*]}"
  ((EUID == 0)) || die "${absent[*]} missing; as root: apt-get install ${packages[*]}"
  echo "${0##*/}: installing ${packages[*]}" >&2
  apt_install "${packages[@]}" || { apt-get update -qq >&2 && apt_install "${packages[@]}"; } ||
    die "apt could not install: ${packages[*]}"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

# The runner of the tests, from crates.io where it is missing: about three minutes on two cores.
need_nextest() {
  # Cargo installs to a folder that not every PATH has.
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  local version=0.9.143
  cargo nextest --version >/dev/null 2>&1 && return
  echo "${0##*/}: installing cargo-nextest $version" >&2
  cargo install cargo-nextest --locked --quiet --version "$version" --no-default-features --features default-no-update ||
    die "cargo could not install cargo-nextest $version (https://nexte.st/docs/installation)"
}

# need_compose FOLDER: Docker Compose 2.30 or later, the first that knows `gpus`. Where there is none, that of a newer Debian
# is kept in FOLDER, which comes into PATH. Apt's own lists and sources stay as they are.
need_compose() {
  local folder=$1 mirror options work suite=${DPL_COMPOSE_SUITE:-forky} words version
  # An older one must not hide it.
  PATH=$folder:$PATH
  for words in docker-compose 'docker compose'; do
    version=$($words version --short 2>/dev/null) || continue
    ! printf '%s\n' 2.30 "${version#v}" | sort --version-sort --check=quiet || return 0
  done
  echo "${0##*/}: bringing Docker Compose from Debian $suite" >&2
  mirror=$(debian_mirror)
  work=$(mktemp -d) && mkdir -p "$work/lists/partial" "$folder"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
  options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false
    -o Dir::Etc::preferencesparts=/dev/null
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  (cd "$work" && apt-get "${options[@]}" update -qq && apt-get "${options[@]}" download -qq docker-compose &&
    dpkg -x docker-compose_*.deb unpacked && cp unpacked/usr/libexec/docker/cli-plugins/docker-compose "$folder/") >&2 ||
    die "Docker Compose could not be brought from Debian $suite"
  rm -rf "$work"
}

# The first archive of apt's own configuration that calls itself Debian (not its security or backports part).
debian_mirror() {
  local ask=(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian') found
  [[ ${DPL_DEBIAN_MIRROR:-} ]] && { echo "$DPL_DEBIAN_MIRROR"; return; }
  command -v apt-get >/dev/null || die "this machine has no apt to say where Debian's packages are"
  found=$("${ask[@]}")
  # Labels come with the package lists, which a fresh machine has not fetched yet.
  [[ $found ]] || { apt-get update -qq >&2 && found=$("${ask[@]}"); }
  [[ $found ]] || die "apt is configured with no Debian archive; name one in DPL_DEBIAN_MIRROR"
  echo "${found%%$'\n'*}"
}

# debian_root SUITE FOLDER [MMDEBSTRAP-OPTION…]: a minimal Debian, without documentation and translations.
debian_root() {
  local suite=$1 folder=$2 mirror acquire option; shift 2
  need mmdebstrap
  mirror=$(debian_mirror)
  # A frozen or offline mirror may be older than the date until which a newer suite's index calls itself valid.
  local options=(--mode=root --quiet --variant=essential --aptopt='Acquire::Check-Valid-Until "false"')
  for option in doc man info locale; do options+=(--dpkgopt="path-exclude=/usr/share/$option/*"); done
  while read -r acquire; do options+=(--aptopt="$acquire"); done \
    < <(apt-config dump --no-empty --format '%F "%v";%n' Acquire::http Acquire::https)
  rm -rf --one-file-system "$folder"
  mmdebstrap "${options[@]}" "$@" "$suite" "$folder" "$mirror" >"$folder.log" 2>&1 || {
    tail -n 5 "$folder.log" >&2
    die "no $suite could be made from apt's mirror; all of it: $folder.log"
  }
}
