# shellcheck shell=bash
# Two private hosts on a wire of their own, for benchmarks and demonstrations; sourced, never run. Each is a Docker Engine of
# engine.sh with its network namespace: a desk, and a site with an sshd. Nothing of either can reach any other machine.
#
#   hosts_up NAME FOLDER   starts them, and sets desk_engine and site_engine (DOCKER_HOST), on_desk and at_site (what a command
#                          is begun with to run in the network of one), site_address, and hosts (FOLDER, for what belongs to them)
#   hosts_rate MBIT|none   how much goes over the wire, each way
#   hosts_lose PERCENT     so many packets are lost, each way; 0 for none
#   hosts_cut              breaks every ssh connection between them: each side gets a reset
#   hosts_leave            ends the sshd; engines and wire stay for the next hosts_up
#   hosts_down             ends all that hosts_up began; what lies in FOLDER stays
#
# On the desk ssh is FOLDER/bin/ssh, which knows the site as `site` and keeps one connection for a minute. Source debian.sh first.

hosts_desk_address=10.213.7.1
site_address=10.213.7.2

hosts_up() { # NAME FOLDER
  need ip=iproute2 tc=iproute2 iptables sshd=openssh-server ssh=openssh-client nsenter=util-linux docker=docker.io dockerd=docker.io
  hosts_name=$1 hosts=$2
  local engine_sh=${BASH_SOURCE[0]%/*}/engine.sh key
  mkdir -p "$hosts/bin" "$hosts/run" "$hosts/there" /run/sshd
  desk_engine=$("$engine_sh" up "$1-desk"); desk_engine=${desk_engine#DOCKER_HOST=}
  site_engine=$("$engine_sh" up "$1-site"); site_engine=${site_engine#DOCKER_HOST=}
  desk_space=$("$engine_sh" netns "$1-desk") site_space=$("$engine_sh" netns "$1-site")
  on_desk=(nsenter "--net=/run/netns/$desk_space" env "PATH=$hosts/bin:$PATH" "XDG_RUNTIME_DIR=$hosts/run" "DOCKER_HOST=$desk_engine")
  at_site=(nsenter "--net=/run/netns/$site_space")
  if ! ip -n "$desk_space" link show wire >/dev/null 2>&1; then
    ip link add wire netns "$desk_space" type veth peer name wire netns "$site_space"
    ip -n "$desk_space" address add "$hosts_desk_address/30" dev wire
    ip -n "$site_space" address add "$site_address/30" dev wire
    ip -n "$desk_space" link set wire up
    ip -n "$site_space" link set wire up
  fi
  for key in host user; do
    [[ -e $hosts/$key ]] || ssh-keygen -q -t ed25519 -N '' -f "$hosts/$key"
  done
  cp "$hosts/user.pub" "$hosts/authorized_keys"
  printf '%s\n' "ListenAddress $site_address" 'Port 22' "HostKey $hosts/host" 'PidFile none' "AuthorizedKeysFile $hosts/authorized_keys" \
    'StrictModes no' 'UsePAM no' 'PasswordAuthentication no' 'PermitRootLogin yes' 'Subsystem sftp /usr/lib/openssh/sftp-server' "${hosts_sshd_config:-}" \
    "SetEnv DOCKER_HOST=$site_engine XDG_CACHE_HOME=$hosts/there/cache XDG_STATE_HOME=$hosts/there/state PATH=$PATH" >"$hosts/sshd_config"
  printf '%s\n' 'Host site' "  HostName $site_address" '  User root' "  IdentityFile $hosts/user" '  IdentitiesOnly yes' '  BatchMode yes' \
    "  UserKnownHostsFile $hosts/known_hosts" '  GlobalKnownHostsFile /dev/null' '  StrictHostKeyChecking accept-new' \
    '  ControlMaster auto' "  ControlPath $hosts/run/peer" '  ControlPersist 60' >"$hosts/ssh_config"
  printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$(PATH=${PATH#"$hosts/bin:"} command -v ssh)" "$hosts/ssh_config" >"$hosts/bin/ssh"
  printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$(command -v scp)" "$hosts/ssh_config" >"$hosts/bin/scp"
  chmod +x "$hosts/bin/ssh" "$hosts/bin/scp"
  "${at_site[@]}" "$(command -v sshd)" -D -e -f "$hosts/sshd_config" >"$hosts/sshd.log" 2>&1 </dev/null &
  hosts_sshd=$!
  local deadline=$((SECONDS + 20))
  until "${on_desk[@]}" bash -c "exec 3<>/dev/tcp/$site_address/22" 2>/dev/null; do
    kill -0 "$hosts_sshd" && ((SECONDS < deadline)) || { tail -n 3 "$hosts/sshd.log" >&2; die 'the sshd of the site does not answer'; }
    sleep 0.05
  done
}

hosts_rate() { # MBIT|none
  local space
  for space in "$desk_space" "$site_space"; do
    ip netns exec "$space" tc qdisc del dev wire root 2>/dev/null || true
    [[ $1 == none ]] || ip netns exec "$space" tc qdisc add dev wire root tbf rate "$1mbit" burst 64kb latency 50ms
  done
}

hosts_lose() { # PERCENT
  local space
  for space in "$desk_space" "$site_space"; do
    ip netns exec "$space" iptables -F INPUT
    [[ $1 == 0 ]] ||
      ip netns exec "$space" iptables -A INPUT -i wire -m statistic --mode random --probability "$(awk "BEGIN { print $1 / 100 }")" -j DROP
  done
}

hosts_cut() {
  local space
  for space in "$desk_space" "$site_space"; do
    ip netns exec "$space" ss --kill --tcp state established "( sport = 22 or dport = 22 )" >/dev/null
  done
}

hosts_leave() {
  [[ ! -S ${hosts:-}/run/peer ]] || "$hosts/bin/ssh" -O exit site 2>/dev/null || true
  [[ ! ${hosts_sshd:-} ]] || kill "$hosts_sshd" 2>/dev/null || true
  hosts_sshd=''
}

hosts_down() {
  local engine_sh=${BASH_SOURCE[0]%/*}/engine.sh
  hosts_leave
  "$engine_sh" down "$hosts_name-desk"
  "$engine_sh" down "$hosts_name-site"
}
