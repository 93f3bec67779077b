#!/usr/bin/env bash
# Private Docker Engines to try things on: each has a network and a mount namespace of its own, so that it
# shares neither docker0 nor mounts with an engine that this machine already runs.
#
#   engine.sh up NAME [--suite host|trixie|forky] [--containerd-store] [--gpu]
#                          starts it, or finds it running; prints DOCKER_HOST=unix://…
#   engine.sh kill NAME    SIGKILL, as a crash would: everything stays; `up NAME` starts it again on the same data
#   engine.sh down NAME    stops it, and removes its containers, mounts, namespaces and folder
#   engine.sh netns NAME   prints its network namespace, where its ports are published:
#                          nsenter --net=/run/netns/$(engine.sh netns NAME) …
#
# host is the dockerd on this machine; a suite brings the one that this Debian has (fetched once, about 30 s).
# --gpu puts a stand-in for NVIDIA's runtime hook before the engine, which then accepts GPU requests and notes
# each one in the engine's folder, in gpu-calls. State lies in ${DPL_ENGINES:-/var/lib/dpl-engines}. Needs root.
# With DPL_LIGHT_ENGINES an engine that is started takes less of the processor, for tests: its containers may call all of the
# kernel, and it collects its garbage more rarely.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/debian.sh"
home=${DPL_ENGINES:-/var/lib/dpl-engines}

usage() { sed -n '5,10s/^#   //p' "$0" >&2; exit 2; }

# Sets name, dir, socket and space: everything that belongs to one engine.
select_engine() {
  name=$1
  [[ $name =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] || die "an engine's name is made of a-z, 0-9 and -: '$name'"
  ((EUID == 0)) || die "engines need root (namespaces, mounts, overlay2): run this as root"
  mkdir -p "$home"; home=$(readlink -f "$home")
  dir=$home/$name socket=$dir/docker.sock
  # The folder is part of it, so that two homes can have engines of one name.
  space=dpl-$name-$(cksum <<<"$dir" | cut -d ' ' -f 1)
  # The longest socket that containerd makes in there must fit into sun_path.
  local longest=$dir/exec/containerd/containerd.sock.ttrpc
  ((${#longest} < 108)) || die "$home is too long a path for sockets; set DPL_ENGINES to a shorter one"
  [[ ! -d $dir || -e $dir/settings ]] || [[ ! $(ls -A "$dir") ]] || die "$dir is not an engine of this script: leaving it alone"
  # Engines come and go one at a time; a crash waits for nobody.
  exec {lock}<"$home"; [[ $action == kill ]] || flock "$lock"
}

# Print the process that is this engine's dockerd, or the containerd under it. A process that merely got its
# old number is not, so its arguments are looked at.
daemon() { process "$dir/pid" "unix://$socket"; }
containerd() { process "$dir/exec/containerd/containerd.pid" "$dir/exec/containerd/containerd.toml"; }
process() { # PIDFILE ARGUMENT
  local pid
  pid=$(cat "$1" 2>/dev/null) && [[ $pid ]] || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$2" && echo "$pid"
}

docker_here() { timeout 60 docker --host "unix://$socket" "$@"; }

up() {
  local suite='' store='' gpu='' wish=''
  while (($#)); do
    case $1 in
      --suite) suite=${2:-}; shift; [[ $suite =~ ^(host|trixie|forky)$ ]] || usage ;;
      --containerd-store) store=containerd ;;
      --gpu) gpu=yes ;;
      *) usage ;;
    esac
    wish=yes; shift
  done
  need ip=iproute2 nsenter=util-linux flock=util-linux docker=docker.io dockerd=docker.io iptables

  # Settings belong to the data: an overlay2 folder is no containerd store, and an older engine can't read a newer one's.
  local settings="suite=${suite:-host} store=${store:-classic} gpu=${gpu:-no}"
  if [[ -e $dir/settings ]]; then
    [[ ! $wish || $settings == "$(cat "$dir/settings")" ]] ||
      die "$name was made with $(cat "$dir/settings"), not $settings; 'engine.sh down $name' first"
    settings=$(cat "$dir/settings")
  fi
  suite=${settings#suite=} store=${settings#*store=} gpu=${settings##*gpu=}
  suite=${suite%% *} store=${store%% *}

  if ! daemon >/dev/null; then
    local tools='' configuration
    [[ $suite == host ]] || { tools=$home/.suites/$suite; fetch_suite "$suite"; }
    configuration=$(configuration "$store" "$tools")
    mkdir -p "$dir/hook"
    echo "$settings" >"$dir/settings"
    echo "$configuration" >"$dir/daemon.json"
    [[ ! ${DPL_LIGHT_ENGINES:-} ]] || echo '{}' >"$dir/seccomp.json"
    make_spaces "$tools"
    launch "$tools" "$gpu"
  fi
  await
  echo "DOCKER_HOST=unix://$socket"
}

fetch_suite() {
  local tools=$home/.suites/$1
  [[ -e $tools/.complete ]] && return
  # Its /usr is laid over the machine's, which only fits where /bin and /lib lie below /usr too.
  [[ -L /bin && -L /lib ]] || die "--suite needs a machine whose /bin and /lib are links into /usr"
  echo "engine.sh: fetching the engine of $1" >&2
  mkdir -p "$home/.suites"
  debian_root "$1" "$tools" --include=docker.io,iptables
  touch "$tools/.complete"
}

configuration() { # STORE TOOLS
  local version features='' driver='' filter=''
  version=$(if [[ $2 ]]; then chroot "$2" dockerd --version; else dockerd --version; fi)
  version=${version#*version } version=${version%%.*}
  # From 29 on the containerd store is the default, so the classic one must be asked for.
  ((version < 24)) || features=', "features": {"containerd-snapshotter": '$([[ $1 == containerd ]] && echo true || echo false)'}'
  if [[ $1 == containerd ]]; then
    ((version >= 24)) || die "engine $version has no containerd store; add --suite forky"
  else
    driver=', "storage-driver": "overlay2"'
  fi
  # The filter of system calls is compiled again for every command in a container, and is a third of what that costs.
  [[ ! ${DPL_LIGHT_ENGINES:-} ]] || filter=", \"seccomp-profile\": \"$dir/seccomp.json\""
  # A cgroup parent of its own tells this engine's processes from all others, even after a crash.
  printf '{"exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "/%s"%s%s%s}\n' "$space" "$driver" "$features" "$filter"
}

make_spaces() { # TOOLS
  [[ -e /run/netns/$space ]] || ip netns add "$space"
  ip -n "$space" link set lo up
  # The mount namespace is held by a file, so that the engine comes back to its mounts after a crash. The
  # kernel holds one only by a mount that is not shared.
  mkdir -p "$dir/mounts"
  mountpoint -q "$dir/mounts" || { mount --bind "$dir/mounts" "$dir/mounts"; mount --make-private "$dir/mounts"; }
  mountpoint -q "$dir/mounts/space" && return
  touch "$dir/mounts/space"
  # A newer engine sees the whole machine, except that programs and their settings are those of its suite.
  unshare --mount="$dir/mounts/space" --propagation slave sh -ec '
    [ -z "$1" ] || { mount --bind "$1/etc" /etc; mount --bind "$1/usr" /usr; }' sh "$1"
}

launch() { # TOOLS GPU
  local path=$PATH
  [[ ! $1 ]] || path=/usr/sbin:/usr/bin:/sbin:/bin
  if [[ $2 == yes ]]; then
    printf '#!/bin/sh\n{ echo "$@"; cat; echo; } >>"%s/gpu-calls"\n' "$dir" >"$dir/hook/nvidia-container-runtime-hook"
    chmod +x "$dir/hook/nvidia-container-runtime-hook"
    path=$dir/hook:$path
  fi
  rm -f "$dir/pid" "$dir/exec/containerd/containerd.pid" "$socket"
  # nsenter, since `ip netns exec` would mount a fresh /sys, without the cgroups. The comparison makes sure that
  # nothing ever starts in the machine's own network: a second dockerd there removes the first one's docker0.
  # The engine starts its own program again three times for each container: with rarer garbage collections that is quicker.
  setsid nsenter --net="/run/netns/$space" --mount="$dir/mounts/space" --wd=/ env PATH="$path" ${DPL_LIGHT_ENGINES:+GOGC=400} sh -c '
      [ "$(readlink /proc/self/ns/net)" != "$1" ] || { echo "not in a network of its own"; exit 1; }
      shift; exec "$@"' sh "$(readlink /proc/self/ns/net)" \
    dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
    --pidfile "$dir/pid" --host "unix://$socket" </dev/null >>"$dir/log" 2>&1 {lock}<&- &
  launched=$!
}

await() {
  local deadline=$((SECONDS + 40))
  until docker_here version >/dev/null 2>&1; do
    if [[ ${launched:-} && ! -e /proc/$launched ]] || ((SECONDS > deadline)); then
      tail -n 5 "$dir/log" >&2
      die "$name does not answer; all of it: $dir/log"
    fi
    sleep 0.1
  done
}

# end daemon|containerd SIGNAL SECONDS: false if it is still there after that time.
end() {
  local pid deadline=$((SECONDS + $3))
  pid=$("$1") || return 0
  kill "-$2" "$pid"
  while "$1" >/dev/null; do
    ((SECONDS <= deadline)) || return 1
    sleep 0.05
  done
}

# containerd follows its dockerd a moment later; an engine that is started before that waits for it in vain.
crash() {
  end daemon KILL 10 || die "dockerd $(daemon) of $name does not end"
  end containerd KILL 10 || die "containerd $(containerd) of $name does not end"
}

# What a crash leaves behind: the engine's own shims, known by their arguments, with the sockets that they have
# elsewhere, and everything in its containers.
kill_remains() {
  local pid group
  grep -rshoE '/run/containerd/s/[0-9a-f]+' "$dir/exec/containerd/daemon" --include=address --include=bootstrap.json |
    xargs -r rm -f || true
  for pid in $(ip netns pids "$space" 2>/dev/null); do
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir/exec/"; then kill -KILL "$pid" 2>/dev/null || true; fi
  done
  for group in $(cgroups); do
    for pid in $(cat "$group/cgroup.procs" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
  done
}

cgroups() { find /sys/fs/cgroup -depth -type d \( -path "*/$space" -o -path "*/$space/*" \) 2>/dev/null || true; }

down() {
  [[ -d $dir ]] || return 0
  if daemon >/dev/null; then
    docker_here ps --all --quiet 2>/dev/null | xargs -r timeout 60 docker --host "unix://$socket" rm --force --volumes >/dev/null 2>&1 || true
    end daemon TERM 20 || true
  fi
  crash
  kill_remains
  local held deadline=$((SECONDS + 10)) group
  for held in "$dir/mounts/space" "$dir/mounts"; do
    while mountpoint -q "$held"; do umount "$held"; done
  done
  for group in $(cgroups); do
    # A cgroup can be removed a moment after its last process has gone.
    until rmdir "$group" 2>/dev/null || [[ ! -d $group ]] || ((SECONDS > deadline)); do sleep 0.05; done
  done
  [[ ! -e /run/netns/$space ]] || ip netns delete "$space"
  rm -rf --one-file-system "$dir"
}

[[ ${2:-} ]] || usage
action=$1
select_engine "$2"
shift 2
case $action in
  up) up "$@" ;;
  kill) crash ;;
  down) down ;;
  netns) [[ -e $dir/settings ]] || die "the engine $name does not exist"; echo "$space" ;;
  *) usage ;;
esac
