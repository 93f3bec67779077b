"""Containers of dpl and of Docker Compose, compared field by field: each manifest of tests/corpus is created by both on one
engine, in turn, under the same names. Nothing is started: a proxy before the engine answers for it.

    compose_fields.py DPL CORPUS COMPOSE…        DOCKER_HOST names the engine (a Unix socket)

Prints every field that differs; ends with 1 where there is one. tests/engine/compose.rs runs it.
"""

import functools, json, os, re, socket, subprocess, sys, tempfile, threading

ENGINE = os.environ["DOCKER_HOST"]
IMAGE = "dpl-fields:1"


# --- The proxy

def proxy(path, engine):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)

    def serve():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=one, args=(client,), daemon=True).start()

    def one(client):
        server = socket.socket(socket.AF_UNIX)
        server.connect(engine)
        threading.Thread(target=copy, args=(server, client), daemon=True).start()
        pending = b""
        try:
            while True:
                while b"\r\n\r\n" not in pending:
                    more = client.recv(1 << 16)
                    if not more:
                        server.shutdown(socket.SHUT_WR)
                        return
                    pending += more
                head, pending = pending.split(b"\r\n\r\n", 1)
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                chunked = re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head)
                body = b""
                if length:
                    while len(pending) < int(length[1]):
                        pending += client.recv(1 << 16)
                    body, pending = pending[: int(length[1])], pending[int(length[1]):]
                elif chunked:
                    while b"\r\n0\r\n\r\n" not in b"\r\n" + pending:
                        pending += client.recv(1 << 16)
                    end = (b"\r\n" + pending).index(b"\r\n0\r\n\r\n") + 5
                    body, pending = pending[:end], pending[end:]
                if re.match(rb"POST \S*/containers/[^/ ]+/start[ ?]", head):
                    client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                else:
                    server.sendall(head + b"\r\n\r\n" + body)
        except OSError:
            pass

    def copy(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()


# --- What is run

def run(*command, cwd=None, host=ENGINE, check=True, **more):
    environment = {**os.environ, "DOCKER_HOST": host, "HOME": cwd or "/tmp", "DPL_ASSUME_YES": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, **more)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def forget(project):
    """Whatever both made, and what they said of it."""
    label = f"label=com.docker.compose.project={project}"
    for kind, remove in (("ps -aq", "rm -f -v"), ("network ls -q", "network rm"), ("volume ls -q", "volume rm")):
        found = run("docker", *kind.split(), "--filter", label).split()
        if found:
            run("docker", *remove.split(), *found)


def containers(project):
    found = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project}").split()
    text = run("docker", "inspect", *found) if found else "[]"
    # Where one names another, by its ID, the name says the same in both.
    for view in json.loads(text):
        text = text.replace(f"container:{view['Id']}", f"container:{view['Name']}")
    views = json.loads(text)
    return {view["Name"]: view for view in views if not view["Name"].endswith("-dpl-lock")}


# --- The manifests

@functools.cache
def of_engine():
    """The engine's runtimes, and the version of its API."""
    runtimes = json.loads(run("docker", "info", "--format", "{{json .Runtimes}}"))
    return runtimes, tuple(map(int, run("docker", "version", "--format", "{{.Server.APIVersion}}").split(".")))


def prepared(text, project, folder):
    """The manifest with what this machine or its engine lacks left out or made."""
    runtimes, api = of_engine()
    stack = json.loads(text)
    stack["project"] = project
    for kind in ("networks", "volumes"):
        for name, value in (stack.get(kind) or {}).items():
            if value and value.get("external"):
                stack[kind][name] = {}
    for name, service in stack["services"].items():
        service["image"] = IMAGE
        service.pop("depends_on", None)
        if service.get("runtime") not in runtimes:
            service.pop("runtime", None)
        # The name inside stays as it is.
        for place, device in enumerate(service.get("devices") or []):
            if isinstance(device, str) and device.startswith("/") and not os.path.exists(device.split(":")[0]):
                inside = device if ":" in device else f"{device}:{device}"
                service["devices"][place] = "/dev/null:" + inside.split(":", 1)[1]
            elif isinstance(device, dict) and not os.path.exists(device.get("source", "/")):
                device["source"] = "/dev/null"
        if "cpuset" in service:
            service["cpuset"] = "0"
        if api < (1, 44):
            (service.get("healthcheck") or {}).pop("start_interval", None)
            service.pop("annotations", None)
            service.pop("mac_address", None)
            service["devices"] = [device for device in service.get("devices", []) if "=" not in str(device)]
        for field in ("network_mode", "pid", "ipc"):
            if str(service.get(field, "")).startswith("container:"):
                del service[field]
    for kind in ("secrets", "configs"):
        for value in (stack.get(kind) or {}).values():
            write(os.path.join(folder, value["file"]), "x")
    return stack


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def profiles(stack):
    return sorted({profile for service in stack["services"].values() for profile in service.get("profiles", [])})


# --- What is compared

# Said in two ways that mean the same, or told by one of the two alone:
# - Compose names the image, dpl its ID, which `Image` has in both; Compose asks to attach to what it starts.
SAME = ("Config.Image", "Config.AttachStdout", "Config.AttachStderr")
OF_ITS_MAKER = re.compile(r"com\.docker\.compose\.|dpl\.|desktop\.docker\.io")


def fields(view):
    config, host, networks = view["Config"], view["HostConfig"], view["NetworkSettings"]["Networks"]
    config["Labels"] = {name: value for name, value in (config["Labels"] or {}).items() if not OF_ITS_MAKER.match(name)}
    config["Env"] = sorted(config["Env"] or [])
    if config["Hostname"] == view["Id"][:12]:
        config["Hostname"] = ""
    mounts = []
    for mount in view["Mounts"]:
        # An anonymous volume has a name of its own.
        name = mount.get("Name", "")
        name = "" if re.fullmatch("[0-9a-f]{64}", name) else name
        source = "" if mount["Type"] == "volume" else mount.get("Source", "")
        mounts.append([mount["Type"], name, source, mount["Destination"], mount["RW"], mount.get("Propagation", "")])
    for field in ("Binds", "Mounts"):
        host.pop(field, None)
    # `no` is what an engine does without a policy.
    if host["RestartPolicy"]["Name"] == "no":
        host["RestartPolicy"]["Name"] = ""
    for field in ("CapAdd", "CapDrop"):
        host[field] = [word.removeprefix("CAP_") for word in host[field] or []]
    for request in host["DeviceRequests"] or []:
        request["Capabilities"] = [sorted(set(words)) for words in request["Capabilities"] or []]
    for network in networks.values():
        aliases = [alias for alias in network.get("Aliases") or [] if alias not in (view["Id"][:12],)]
        # Compose adds the container's own names to the alias of the manifest.
        network["Links"] = [link for link in network["Links"] or [] if not re.search(r":(.*-)?[^:]*-\d+$", link)]
        network["Aliases"] = sorted(set(aliases) - {view["Name"][1:]})
    found = {"Mounts": sorted(mounts), "Image": view["Image"], "Platform": view.get("Platform")}
    for place, values in (("Config", config), ("HostConfig", host)):
        found |= {f"{place}.{name}": value for name, value in values.items()}
    for name, network in networks.items():
        for field in ("Aliases", "IPAMConfig", "Links", "DriverOpts", "MacAddress"):
            found[f"Networks.{name}.{field}"] = network.get(field)
    return {name: plain(value) for name, value in found.items() if name not in SAME}


UNORDERED = ("CapAdd", "CapDrop", "Dns", "ExtraHosts", "SecurityOpt", "GroupAdd", "Ulimits", "Devices")


def plain(value):
    """What means nothing is nothing."""
    if isinstance(value, dict):
        values = {key: plain(item) for key, item in value.items()}
        return {key: item for key, item in values.items() if item is not None} or None
    if isinstance(value, list):
        return [plain(item) for item in value] or None
    return None if value in ("", 0, False) else value


def differences(ours, theirs):
    for name in sorted(set(ours) | set(theirs)):
        one, other = ours.get(name), theirs.get(name)
        if name.rsplit(".", 1)[-1] in UNORDERED and one and other:
            one, other = (sorted(map(json.dumps, value)) for value in (one, other))
        if one != other:
            yield f"{name}: dpl {json.dumps(one)}, Compose {json.dumps(other)}"


def main(dpl, corpus, *compose):
    outer = tempfile.mkdtemp(prefix="dpl-fields-")
    proxy(f"{outer}/docker.sock", ENGINE.removeprefix("unix://"))
    empty = subprocess.run(["tar", "-cf", "-", "-T", "/dev/null"], capture_output=True, check=True).stdout
    subprocess.run(["docker", "import", "--change", 'CMD ["/x"]', "-", IMAGE], input=empty, check=True, capture_output=True)
    assert list(differences({"a": 1}, {"a": 2})) and not list(differences({"CapAdd": ["x", "y"]}, {"CapAdd": ["y", "x"]}))
    found = 0
    for file in sorted(os.listdir(corpus)):
        project = f"f{os.getpid()}{file.removesuffix('.json').replace('-', '')}"
        folder = f"{outer}/{file.removesuffix('.json')}"
        os.makedirs(folder)
        write(f"{folder}/.env", "A=1\n")
        write(f"{folder}/db.env", "PASSWORD=pa$$word\nDERIVED=\"${PASSWORD}!\"\n")
        with open(os.path.join(corpus, file)) as text:
            stack = prepared(text.read(), project, folder)
        write(f"{folder}/stack.json", json.dumps(stack))
        resolved = json.loads(run(dpl, "config", "--show-values", "stack.json", cwd=folder))
        for service in resolved["services"].values():
            for mount in service.get("volumes", []):
                if mount["type"] == "bind" and not os.path.exists(mount["source"]) and mount["source"].startswith(outer):
                    os.makedirs(mount["source"])
        awake = [word for profile in profiles(stack) for word in ("--profile", profile)]
        try:
            run(dpl, "-f", "stack.json", "start", "--no-wait", *awake, cwd=folder, host=f"unix://{outer}/docker.sock")
            ours = {name: fields(view) for name, view in containers(project).items()}
            forget(project)
            stack["name"] = stack.pop("project")
            write(f"{folder}/compose.json", json.dumps(stack))
            run(*compose, "-f", "compose.json", "--profile", "*", "create", "--pull", "never", cwd=folder)
            theirs = {name: fields(view) for name, view in containers(project).items()}
        finally:
            forget(project)
        for name in sorted(set(ours) | set(theirs)):
            for line in differences(ours.get(name, {}), theirs.get(name, {})):
                found += 1
                print(f"{file} {name.removeprefix('/' + project)}: {line}")
        # What compares nothing finds nothing.
        assert ours and theirs and all(len(view) > 60 for view in theirs.values()), (file, ours, theirs)
        print(f"{file}: {len(ours)} containers", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
